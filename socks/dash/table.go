package dash

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// tableFlows is how many flows the table shows.
const tableFlows = 20

// WriteTable writes st for a person who reads it on a terminal. before is the state of
// a moment ago, for the throughput, or nil.
func WriteTable(w io.Writer, st, before *Status) error {
	why, err := st.Why()
	if err != nil {
		return err
	}
	var page strings.Builder
	tw := tabwriter.NewWriter(&page, 0, 0, 2, ' ', 0)
	f := func(format string, args ...any) { fmt.Fprintf(tw, format, args...) }
	f("relaymux %s, up %s, %s\n", st.Version, Span(time.Duration(st.Uptime*float64(time.Second))), st.Link.Text())
	f("%s down, %s up, %d exchanges%s\n", Size(st.Totals.Down), Size(st.Totals.Up), st.Totals.Exchanges, rateText(st, before))
	if q := &st.QUIC; q.Sent.Datagrams > 0 {
		f("HTTP/3: %d datagrams sent in %d trains, %d received in %d\n", q.Sent.Datagrams, q.Sent.Trains, q.Received.Datagrams, q.Received.Trains)
	}
	for _, reason := range why {
		f("! %s\n", reason)
	}
	f("\nDEPLOYMENT\tSTATE\tHTTP\tIN FLIGHT\tOK\tFAILED\tP50\tP95\n")
	for i := range st.Deployments {
		deploymentRow(f, &st.Deployments[i], st.Time)
	}
	f("\nACCOUNT\tSLOTS\tUSED\tLEFT\tRESETS IN\tLASTS\n")
	for i := range st.Accounts {
		accountRow(f, &st.Accounts[i], st.Time)
	}
	all := len(st.Flows) + st.FlowsMore
	f("\nFLOW\tKIND\tAGE\tUP\tDOWN\tEXCHANGES\n")
	for i := range st.Flows[:min(len(st.Flows), tableFlows)] {
		flowRow(f, &st.Flows[i])
	}
	if all > tableFlows {
		f("%d more\n", all-tableFlows)
	}
	tw.Flush() // into memory: it does not fail
	_, err = io.WriteString(w, Clean(page.String()))
	return err
}

// Why is the advice in words.
func (st *Status) Why() (list []string, err error) {
	t, err := newTexts(english)
	if err != nil {
		return nil, err
	}
	for _, a := range st.Advice {
		list = append(list, t.fill("advice."+a.Code, a.Args))
	}
	return list, nil
}

// Text is how the link is, in words.
func (l *Link) Text() string {
	switch {
	case l.Pipe != "":
		return "link is up, streams by " + l.Pipe
	case l.State == LinkNone:
		return "JSON wire"
	}
	return "link is " + map[string]string{LinkMaking: "being made", LinkUp: "up", LinkFailing: "failing"}[l.State]
}

func rateText(st, before *Status) string {
	if before == nil || !st.Time.After(before.Time) {
		return ""
	}
	took := st.Time.Sub(before.Time).Seconds()
	rate := func(now, then uint64) string { return Size(uint64(float64(max(now, then)-then) / took)) }
	return fmt.Sprintf("; now %s/s down, %s/s up", rate(st.Totals.Down, before.Totals.Down), rate(st.Totals.Up, before.Totals.Up))
}

func deploymentRow(f func(string, ...any), d *Deployment, now time.Time) {
	p50, p95 := "-", "-"
	if d.Latency != nil {
		p50, p95 = milli(d.Latency.P50)+" ms", milli(d.Latency.P95)+" ms"
	}
	f("%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", d.Name, d.Text(now, stateWide), cmp.Or(d.HTTP, "-"), d.InFlight, d.Exchanges["ok"], d.Failed(), p50, p95)
}

// stateWide is how many letters the table has for a state.
const stateWide = 60

// Text is how d is at that moment, in at most so many letters.
func (d *Deployment) Text(now time.Time, most int) string {
	switch {
	case d.Rest != nil:
		return "rests " + Span(d.Rest.Until.Sub(now)) + ": " + d.Rest.Why
	case d.Pipe:
		return "streams"
	case d.State == DeploymentUntried:
		return "not tried yet"
	case d.State == DeploymentFailing:
		text := []rune("failing: " + strings.TrimPrefix(d.Said, d.Name+": "))
		if len(text) > most {
			text = append(text[:most-1], '…')
		}
		return string(text)
	}
	return "works"
}

// Failed is how many of its exchanges have failed, those left out that were given up.
func (d *Deployment) Failed() (n uint64) {
	for outcome, count := range d.Exchanges {
		if outcome != "ok" && outcome != "cancelled" {
			n += count
		}
	}
	return n
}

func accountRow(f func(string, ...any), a *Account, now time.Time) {
	left, resets, lasts := "-", "-", "-"
	if a.Quota > 0 {
		left = fmt.Sprintf("%d of %d", a.Left, a.Quota)
		lasts = Span(time.Duration(a.Lasts * float64(time.Second)))
		if !a.Resets.IsZero() {
			resets = Span(a.Resets.Sub(now))
		}
	}
	f("%s\t%d of %d\t%d\t%s\t%s\t%s\n", a.Name, a.InFlight, a.Slots, a.Used, left, resets, lasts)
}

func flowRow(f func(string, ...any), fl *Flow) {
	kind := fl.Network
	if !fl.Connected {
		kind += ", connecting"
	}
	f("%s\t%s\t%s\t%s\t%s\t%d\n", net.JoinHostPort(fl.Host, strconv.Itoa(int(fl.Port))), kind,
		Span(time.Duration(fl.Age*float64(time.Second))), Size(fl.Up), Size(fl.Down), fl.Exchanges)
}

// Size is so many bytes as a person would tell them.
func Size(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	v, units := float64(n)/1000, []string{"kB", "MB", "GB", "TB"}
	i := 0
	for ; v >= 1000 && i < len(units)-1; i++ {
		v /= 1000
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + units[i]
}

// Clean is text that does no more to a terminal than to show: names and errors have
// come from the network.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
