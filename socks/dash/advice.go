package dash

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"relaymux/relay"
)

// Advice is a reason why it is slow, or soon will be. Its words are in the table of
// texts, as "advice." and the code, with the arguments in braces.
type Advice struct {
	Code  string            `json:"code"`
	Level string            `json:"level"` // bad: nothing goes, or soon will not; slow; note
	Args  map[string]string `json:"args,omitempty"`
}

// The levels of advice.
const (
	levelBad  = "bad"
	levelSlow = "slow"
	levelNote = "note"
)

// From where on something is worth a word.
const (
	slowRelay   = 1000.0 // ms, of half of the exchanges; or of the latest words of a stream
	unevenRelay = 3.0    // one of twenty takes so many times as long as half of them,
	unevenLeast = 500.0  // and so many ms longer
	lossesLeast = 20     // exchanges before which a share of them says little
	lossesShare = 0.05
	dropsLeast  = 20
	quotaNearly = 0.9    // of the quota is used
	recentLeast = 5      // exchanges of late before which half of them say little
	slowQueue   = 500.0  // ms that half of what is sent has waited for its turn
	slowTarget  = 1000.0 // ms that half of the targets take to be reached
)

// advise says what is wrong with st. Pure.
func advise(st *Status) []Advice {
	list := []Advice{}
	say := func(level, code string, args ...string) {
		a := Advice{Code: code, Level: level, Args: map[string]string{}}
		for pair := range slices.Chunk(args, 2) {
			a.Args[pair[0]] = pair[1]
		}
		list = append(list, a)
	}
	if st.Refused != "" {
		say(levelBad, "config_refused", "why", st.Refused)
	}
	if st.Unkept != "" {
		say(levelNote, "state_unkept", "why", st.Unkept)
	}
	resting := 0
	for i := range st.Deployments {
		d := &st.Deployments[i]
		if d.Rest != nil {
			resting++
			say(levelSlow, "rests", "deployment", d.Name, "seconds", seconds(d.Rest.Until.Sub(st.Time)), "why", d.Rest.Why, "said", d.Said)
		}
		adviseOn(d, d.Pipe || st.Link.Pipe == "" && d.State == DeploymentWorks, say)
	}
	switch {
	case len(st.Deployments) > 0 && resting == len(st.Deployments):
		say(levelBad, allRest(st.Deployments))
	case st.Link.State == LinkMaking:
		say(levelBad, "no_link")
	case st.Link.State == LinkFailing:
		say(levelBad, "link_failing", "seconds", seconds(st.Time.Sub(st.Link.Since)))
	}
	for i := range st.Accounts {
		adviseOnAccount(&st.Accounts[i], st, say)
	}
	if st.Link.Pipe != "" && st.Link.Lag >= slowRelay {
		say(levelSlow, "slow_pipe", "deployment", st.Link.Pipe, "ms", milli(st.Link.Lag))
	}
	adviseOnRecent(st, say)
	for _, why := range []string{"queue", "stale", "overflow", "relay"} {
		if n := st.UDP.Dropped[why]; n >= dropsLeast {
			say(levelNote, "dropped_"+why, "count", count(n))
		}
	}
	if n := st.UDP.Dropped["quic"]; n > 0 {
		say(levelNote, "dropped_quic", "count", count(n))
	}
	if st.Totals.Forged > 0 {
		say(levelNote, "forged", "count", count(st.Totals.Forged))
	}
	order := []string{levelBad, levelSlow, levelNote}
	slices.SortStableFunc(list, func(a, b Advice) int {
		return cmp.Compare(slices.Index(order, a.Level), slices.Index(order, b.Level))
	})
	return list
}

// allRest is the code for why no deployment works, all of which rest: what they have
// in common tells which leg is broken.
func allRest(list []Deployment) string {
	for code, kinds := range map[string][]relay.Kind{
		"no_relay": {relay.Unreachable, relay.Timeout},
		"no_node":  {relay.ServerError, relay.Rejected},
		"no_entry": {relay.Decoy, relay.SignIn, relay.Refused, relay.Redirected},
		"no_quota": {relay.Quota},
	} {
		if !slices.ContainsFunc(list, func(d Deployment) bool {
			return !slices.ContainsFunc(kinds, func(k relay.Kind) bool { return k.String() == d.Rest.Why })
		}) {
			return code
		}
	}
	return "all_rest"
}

// adviseOnRecent says where the time of the latest exchanges went, if not at a relay.
func adviseOnRecent(st *Status, say func(level, code string, args ...string)) {
	var queued, dials []float64
	for i := range st.Exchanges {
		x := &st.Exchanges[i]
		if x.Kind == "data" {
			queued = append(queued, x.Queued)
		}
		if x.Reached > 0 && x.Wire == "link" {
			dials = append(dials, x.Dial)
		}
	}
	if ms := half(queued); len(queued) >= recentLeast && ms >= slowQueue {
		say(levelSlow, "queued", "ms", milli(ms))
	}
	if ms := half(dials); len(dials) >= recentLeast && ms >= slowTarget {
		say(levelSlow, "slow_target", "ms", milli(ms))
	}
	if t := &st.Totals; t.Exchanges >= lossesLeast && float64(t.Suspected) >= lossesShare*float64(t.Exchanges) {
		say(levelSlow, "silent", "count", count(t.Suspected), "percent", count(100*t.Suspected/t.Exchanges))
	}
}

// half is what half of the values do not exceed, 0 of none.
func half(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// adviseOn says what is wrong with a deployment that does not rest. carries is set of
// one by which things go: how others would carry them concerns nobody.
func adviseOn(d *Deployment, carries bool, say func(level, code string, args ...string)) {
	if l := d.Latency; l != nil && !d.Pipe {
		switch {
		case l.P50 >= slowRelay:
			say(levelSlow, "slow_relay", "deployment", d.Name, "p50", milli(l.P50))
		case l.P95 >= unevenRelay*l.P50 && l.P95-l.P50 >= unevenLeast:
			say(levelSlow, "uneven_relay", "deployment", d.Name, "p50", milli(l.P50), "p95", milli(l.P95))
		}
	}
	switch {
	case d.Losses > 0 && d.HTTP != "3":
		say(levelNote, "over_tcp", "deployment", d.Name, "count", count(d.Losses))
	case d.NoUDP && carries:
		say(levelNote, "no_udp", "deployment", d.Name)
	}
	all, worst, most := uint64(0), "", uint64(0)
	for _, outcome := range sortedKeys(d.Exchanges) {
		n := d.Exchanges[outcome]
		if outcome == "cancelled" {
			continue
		}
		all += n
		if outcome != "ok" && n > most {
			worst, most = outcome, n
		}
	}
	if failed := all - d.Exchanges["ok"]; all >= lossesLeast && float64(failed) >= lossesShare*float64(all) {
		say(levelSlow, "losses", "deployment", d.Name, "percent", count(100*failed/all), "why", worst)
	}
}

func adviseOnAccount(a *Account, st *Status, say func(level, code string, args ...string)) {
	resets := seconds(a.Resets.Sub(st.Time))
	switch {
	case a.Exhausted:
		say(levelBad, "quota_exhausted", "account", a.Name, "seconds", resets)
	case a.Quota > 0 && a.Lasts < a.Resets.Sub(st.Time).Seconds():
		say(levelSlow, "quota_fast", "account", a.Name, "left", strconv.Itoa(a.Left), "lasts", seconds(time.Duration(a.Lasts*float64(time.Second))), "seconds", resets)
	case a.Quota > 0 && float64(a.Used) >= quotaNearly*float64(a.Quota):
		say(levelNote, "quota_low", "account", a.Name, "left", strconv.Itoa(a.Left), "seconds", resets)
	}
	if a.Slots < a.MostSlots {
		say(levelSlow, "slots_shared", "account", a.Name, "slots", strconv.Itoa(a.Slots), "most", strconv.Itoa(a.MostSlots))
	}
	if a.Slots > 1 && a.InFlight >= a.Slots {
		say(levelSlow, "slots_full", "account", a.Name, "slots", strconv.Itoa(a.Slots))
	}
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }

func seconds(d time.Duration) string { return strconv.Itoa(int(max(0, d).Seconds())) }

func milli(ms float64) string { return strconv.Itoa(int(ms)) }
