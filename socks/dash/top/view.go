package top

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"relaymux/socks/dash"
)

// stateWide is how many columns the state of a deployment may take.
const stateWide = 32

// whyMost is how many reasons are shown.
const whyMost = 3

// A painter gives text its look. The terminal's own colours are readable on whatever
// ground it has; where it has none, or NO_COLOR is set, nothing is lost.
type painter struct{ title, head, good, slow, bad, dim lipgloss.Style }

func newPainter() painter {
	s := lipgloss.NewStyle
	return painter{
		title: s().Bold(true), head: s().Bold(true).Underline(true), dim: s().Faint(true),
		good: s().Foreground(lipgloss.Green), slow: s().Foreground(lipgloss.Yellow), bad: s().Foreground(lipgloss.Red).Bold(true),
	}
}

// reason is the look of a reason, that of what is bad if there is no such advice: it says
// then why the reasons cannot be told.
func (p painter) reason(list []dash.Advice, i int) lipgloss.Style {
	if i >= len(list) {
		return p.bad
	}
	return map[string]lipgloss.Style{"bad": p.bad, "slow": p.slow}[list[i].Level]
}

// View implements tea.Model.
func (m model) View() tea.View {
	v := tea.NewView(m.draw())
	v.AltScreen = true
	v.WindowTitle = "relaymux"
	return v
}

// draw is the screen, no wider and no higher than the terminal.
func (m model) draw() string {
	p := newPainter()
	lines := m.top(p)
	lines = append(lines, m.deployments(p)...)
	lines = append(lines, m.accounts(p)...)
	const foot = 2
	if room := m.height - len(lines) - foot; room > 2 {
		lines = append(lines, m.flows(p, room)...)
	}
	lines = lines[:min(len(lines), max(0, m.height-1))]
	keys := "q quit  p pause  sort: d down/s  u up/s  t bytes  e exchanges  a age  h host  ↑↓ scroll"
	lines = append(lines, p.dim.Render(keys))
	for i, l := range lines {
		lines[i] = lipgloss.NewStyle().MaxWidth(m.width).Render(l)
	}
	return strings.Join(lines, "\n")
}

// top is what is true of all.
func (m model) top(p painter) []string {
	st, t := &m.st, &m.st.Totals
	state := p.good
	if st.Link.State != dash.LinkUp && st.Link.State != dash.LinkNone {
		state = p.bad
	}
	first := p.title.Render("relaymux "+dash.Clean(st.Version)) + ", up " + dash.Span(seconds(st.Uptime)) + ", " + state.Render(dash.Clean(st.Link.Text()))
	switch {
	case m.err != nil:
		first += "  " + p.bad.Render(strings.ReplaceAll(dash.Clean(m.err.Error()), "\n", " "))
	case m.paused:
		first += "  " + p.slow.Render("paused")
	}
	lines := []string{
		first,
		fmt.Sprintf("down %10s/s %s  %s in all", dash.Size(m.rates.down), p.good.Render(spark(m.down, 20)), dash.Size(t.Down)),
		fmt.Sprintf("up   %10s/s %s  %s in all", dash.Size(m.rates.up), p.slow.Render(spark(m.up, 20)), dash.Size(t.Up)),
		fmt.Sprintf("%d exchanges, %.1f/s: %s", t.Exchanges, m.rates.exchanges, outcomes(st)),
	}
	why, err := st.Why()
	if err != nil {
		why = []string{err.Error()}
	}
	for i, reason := range why[:min(len(why), whyMost)] {
		style := p.reason(st.Advice, i)
		wrapped := strings.Split(lipgloss.Wrap("! "+dash.Clean(reason), max(m.width, 20), " "), "\n")
		for _, l := range wrapped[:min(len(wrapped), 2)] {
			lines = append(lines, style.Render(l))
		}
	}
	return append(lines, "")
}

// outcomes are the exchanges of all deployments by what has become of them, the most
// frequent first.
func outcomes(st *dash.Status) string {
	all := map[string]uint64{}
	for _, d := range st.Deployments {
		for outcome, n := range d.Exchanges {
			all[outcome] += n
		}
	}
	var list []string
	for _, outcome := range slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(cmp.Compare(all[b], all[a]), strings.Compare(a, b))
	}) {
		list = append(list, outcome+" "+strconv.FormatUint(all[outcome], 10))
	}
	return dash.Clean(strings.Join(list, ", "))
}

func (m model) deployments(p painter) []string {
	t := table{
		{{text: "DEPLOYMENT"}, {text: "STATE"}, {text: "HTTP"}, {text: "IN FLIGHT", right: true}, {text: "/S", right: true}, {text: "OK", right: true},
			{text: "FAILED", right: true}, {text: "P50", right: true}, {text: "P95", right: true}},
	}
	for i := range m.st.Deployments {
		d := &m.st.Deployments[i]
		state, p50, p95 := p.good, "-", "-"
		switch {
		case d.Rest != nil || d.State == dash.DeploymentFailing:
			state = p.bad
		case d.State == dash.DeploymentUntried:
			state = p.dim
		}
		if l := d.Latency; l != nil {
			p50, p95 = fmt.Sprintf("%.0f ms", l.P50), fmt.Sprintf("%.0f ms", l.P95)
		}
		t = append(t, []cell{{text: d.Name, most: 24}, {text: d.Text(m.st.Time, stateWide), style: state}, {text: cmp.Or(d.HTTP, "-")},
			number(d.InFlight), {text: fmt.Sprintf("%.1f", m.rates.deployments[d.Name]), right: true}, number(d.Exchanges["ok"]), number(d.Failed()),
			{text: p50, right: true}, {text: p95, right: true}})
	}
	return append(t.lines(p), "")
}

func (m model) accounts(p painter) []string {
	t := table{{{text: "ACCOUNT"}, {text: "SLOTS"}, {}, {text: "QUOTA USED"}, {}, {text: "LEFT", right: true}, {text: "RESETS IN", right: true}, {text: "LASTS", right: true}}}
	for i := range m.st.Accounts {
		a := &m.st.Accounts[i]
		row := []cell{{text: a.Name, most: 24}, {text: bar(a.InFlight, a.Slots, 10), style: load(p, a.InFlight, a.Slots)}, {text: fmt.Sprintf("%d of %d", a.InFlight, a.Slots)}}
		if a.Quota == 0 {
			t = append(t, append(row, cell{text: "no quota", style: p.dim}, number(a.Used)))
			continue
		}
		resets := "-"
		if !a.Resets.IsZero() {
			resets = dash.Span(a.Resets.Sub(m.st.Time))
		}
		t = append(t, append(row, cell{text: bar(a.Used, a.Quota, 10), style: load(p, a.Used, a.Quota)}, cell{text: fmt.Sprintf("%d of %d", a.Used, a.Quota)},
			number(a.Left), cell{text: resets, right: true}, cell{text: dash.Span(seconds(a.Lasts)), right: true}))
	}
	return append(t.lines(p), "")
}

// flows are as many as fit into so many lines.
func (m model) flows(p painter, room int) []string {
	t := table{{{text: "FLOW"}, {text: "KIND"}, {text: "AGE", right: true}, {text: "DOWN/S", right: true}, {text: "UP/S", right: true},
		{text: "DOWN", right: true}, {text: "UP", right: true}, {text: "EXCHANGES", right: true}}}
	list := m.order.sort(m.st.Flows, m.rates)
	list = list[min(m.first, len(list)):]
	for i := range list[:min(len(list), room-2)] {
		f := &list[i]
		kind, r := f.Network, m.rates.flows[f.ID]
		if !f.Connected {
			kind += ", connecting"
		}
		t = append(t, []cell{{text: net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port))), most: max(20, m.width-70)}, {text: kind}, {text: dash.Span(seconds(f.Age)), right: true},
			bytesCell(r.down), bytesCell(r.up), bytesCell(f.Down), bytesCell(f.Up), number(f.Exchanges)})
	}
	title := fmt.Sprintf("%d flows by %s", len(m.st.Flows)+m.st.FlowsMore, m.order.name())
	if m.first > 0 {
		title += fmt.Sprintf(", from the %d. on", m.first+1)
	}
	return append([]string{p.dim.Render(title)}, t.lines(p)...)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func number[N int | uint64](n N) cell { return cell{text: fmt.Sprint(n), right: true} }

func bytesCell(n uint64) cell { return cell{text: dash.Size(n), right: true} }
