package relaytest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"relaymux/mux"
	"relaymux/relay/tune"
)

var fastShape = relayShape{rtt: 300 * time.Millisecond, jitter: 20 * time.Millisecond, slots: 30, line: 1e6}

// TestTune_Budget: however little it is, no more leaves (tuned checks that), and what
// was learned is told.
func TestTune_Budget(t *testing.T) {
	for _, by := range raced(t.Name(), tuneCarriages) {
		for _, budget := range raced(t.Name(), []int{1, 5, tune.LeastBudget, 21, 45, 70, 150, 300}) {
			r := tuned(t, by.config, relayShapes["narrow"], budget, nil)
			if budget >= 70 && r.Best.Slots[r.Ways[0].Account] != 5 {
				t.Errorf("%s, budget %d: %+v", by.name, budget, r.Best)
			}
			if budget < tune.LeastBudget {
				continue // which the command refuses
			}
			check(t, r.err)
			if r.Ways[0].RTT == 0 {
				t.Errorf("%s, budget %d: %+v", by.name, budget, r.Ways[0])
			}
		}
	}
}

// TestTune_LittleBudget: that less was asked for is not taken for a limit of the relay.
func TestTune_LittleBudget(t *testing.T) {
	for _, by := range raced(t.Name(), tuneCarriages) {
		for _, budget := range []int{tune.LeastBudget, 40, 80} {
			r := tuned(t, by.config, fastShape, budget, nil)
			if r.Best.Slots[r.Ways[0].Account] != 30 || r.Best.MaxBytes != r.InUse.MaxBytes {
				t.Errorf("%s, budget %d: %+v", by.name, budget, r.Advice)
			}
		}
	}
}

// TestTune_Interrupted: what is known by then is in the report.
func TestTune_Interrupted(t *testing.T) {
	for _, by := range raced(t.Name(), tuneCarriages) {
		for _, after := range raced(by.name, []time.Duration{time.Millisecond, 4 * time.Second, 40 * time.Second, 2 * time.Minute}) {
			r := tuned(t, by.config, relayShapes["narrow"], tune.UsualBudget, func(_ *Stack, cancel func()) {
				time.AfterFunc(after, cancel)
			})
			check(t, r.err)
			if r.Stopped != "interrupted" || r.Took > after+40*time.Second {
				t.Errorf("%s: interrupted after %v of %v: %+v", by.name, after, r.Took, r.Report)
			}
			if after > 10*time.Second && (r.Ways[0].Slots == nil || r.Ways[0].Slots.Served != 5) {
				t.Errorf("%s: after %v: %+v", by.name, after, r.Ways[0].Slots)
			}
		}
	}
}

// TestTune_QuotaPage ends it, and the ledger knows.
func TestTune_QuotaPage(t *testing.T) {
	for _, by := range raced(t.Name(), tuneCarriages) {
		for _, after := range []time.Duration{4 * time.Second, time.Minute} {
			r := tuned(t, by.config, fastShape, tune.UsualBudget, func(s *Stack, _ func()) {
				if after > 10*time.Second {
					relayShapes["narrow"].set(s) // so that it lasts
				}
				time.AfterFunc(after, func() { s.Relay.Set(func(k *Knobs) { k.QuotaPage = true }) })
			})
			check(t, r.err)
			if !strings.Contains(r.Stopped, "quota") || r.left != 0 {
				t.Errorf("%s: after %v: stopped: %q, %d left", by.name, after, r.Stopped, r.left)
			}
		}
	}
}

// TestTune_Queue: a relay that has others wait is found out as one that refuses them.
func TestTune_Queue(t *testing.T) {
	h := relayShapes["narrow"]
	h.queue = true
	for _, by := range raced(t.Name(), tuneCarriages) {
		r := tuned(t, by.config, h, 120, nil)
		if s := r.Ways[0].Slots; s == nil || s.Served < 4 || s.Served > 6 || s.Late == 0 || s.Refused > 0 {
			t.Errorf("%s: the relay has 5 slots: %+v", by.name, s)
		}
	}
}

// TestTune_Losses: what a relay loses by chance is not taken for a limit.
func TestTune_Losses(t *testing.T) {
	for _, by := range raced(t.Name(), tuneCarriages) {
		h := relayShapes["wide"]
		h.rtt, h.jitter = 1500*time.Millisecond, 500*time.Millisecond
		r := tuned(t, by.config, h, tune.UsualBudget, func(s *Stack, _ func()) {
			s.Relay.Set(func(k *Knobs) { k.LoseBefore, k.LoseAfter = 60, 60 })
		})
		check(t, r.err)
		if n := r.Best.Slots[r.Ways[0].Account]; n != 30 {
			t.Errorf("%s: %d slots are recommended", by.name, n)
		}
		if r.Best.MaxBytes != r.InUse.MaxBytes {
			t.Errorf("%s: max_bytes %d is recommended", by.name, r.Best.MaxBytes)
		}
	}
}

// TestTune_MoreSlots: where the relay serves more than is in use, that is tried. With a
// relay that takes long it is worth the exchanges that it costs.
func TestTune_MoreSlots(t *testing.T) {
	c := StackConfig{Link: true, Workers: 1, Slots: 1}
	h := relayShapes["wide"]
	h.line = 5e5 // by a faster one what bulk gains is about what it costs
	r := tuned(t, c, h, tune.UsualBudget, nil)
	check(t, r.err)
	if n := r.Best.Slots["w0"]; n != 30 {
		t.Errorf("%d slots are recommended, the relay has 30: %+v", n, r.Ways[0].Slots)
	}
}

// TestTune_Bare: of another program's node single exchanges are all there is.
func TestTune_Bare(t *testing.T) {
	node := &stockNode{t: t, sessions: make(map[string]*stockSession)}
	c := StackConfig{Scripts: 1, Foreign: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { node.ServeHTTP(w, r) })}
	r := tuned(t, c, relayShapes["narrow"], 100, func(s *Stack, _ func()) { node.dial = s.Dial })
	check(t, r.err)
	if r.Best.Slots["d0"] != 5 || r.Best.MaxBytes != 1<<20 || len(r.Notes) != 1 {
		t.Errorf("%+v", r.Report)
	}
}

// TestTune_Pipe: where everything goes by one there is nothing to be tuned.
func TestTune_Pipe(t *testing.T) {
	r := tuned(t, StackConfig{Link: true}, relayShape{}, 60, nil)
	check(t, r.err)
	if r.Pipe != "direct" || len(r.Advice) > 0 || r.Used > 15 {
		t.Errorf("%+v", r.Report)
	}
}

// TestTune_NoneWorks is an error, and each says why.
func TestTune_NoneWorks(t *testing.T) {
	for _, by := range raced(t.Name(), tuneCarriages) {
		r := tuned(t, by.config, fastShape, 60, func(s *Stack, _ func()) { s.Relay.Set(func(k *Knobs) { k.Decoy = true }) })
		if r.err == nil || !strings.Contains(r.Ways[0].Error, "decoy") || r.Used > 10 {
			t.Errorf("%s: %v, %+v", by.name, r.err, r.Ways[0])
		}
	}
}

// TestTune_Unlike: of two relays with accounts of their own each has its slots, and what
// one refuses is not for both, for the proxy learns that. (These are two runs: how long an
// upload takes of which a part was refused varies more than what slots are judged by.)
func TestTune_Unlike(t *testing.T) {
	unlike := func(set func(*Knobs)) tuning {
		h := relayShape{rtt: 900 * time.Millisecond, jitter: 50 * time.Millisecond, slots: 30, line: 1e6}
		r := tuned(t, StackConfig{Link: true, Workers: 2}, h, 600, func(s *Stack, _ func()) { s.Relay.Set(set, "w1") })
		check(t, r.err)
		for _, a := range r.Advice {
			if a.Why == "" {
				t.Errorf("%+v has no reason", a)
			}
		}
		return r
	}
	r := unlike(func(k *Knobs) { k.Slots = 4 })
	if s := r.Best.Slots; s["w0"] != 30 || s["w1"] != 4 {
		t.Errorf("slots %v are recommended: %+v", s, r.Comparisons)
	}
	r = unlike(func(k *Knobs) { k.MaxBody = 512 << 10 })
	if s := r.Best.Slots; s["w0"] != 30 || s["w1"] != 30 {
		t.Errorf("slots %v are recommended: %+v", s, r.Comparisons)
	}
	if b := r.Ways[1].Body; !(b.Passed <= 512<<10 && b.Failed > 512<<10) || r.Ways[0].Body.Failed != 0 {
		t.Errorf("bodies %+v and %+v", r.Ways[0].Body, b)
	}
}

// TestTune_BrokenBeside: one that does not work is told, and the other measured.
func TestTune_BrokenBeside(t *testing.T) {
	c := StackConfig{Link: true, Scripts: 2, Mux: func(c *mux.Config) { c.CoalesceStep = 0 }}
	r := tuned(t, c, fastShape, 60, func(s *Stack, _ func()) { s.Relay.Set(func(k *Knobs) { k.Decoy = true }, "d0") })
	check(t, r.err)
	if r.Ways[0].Error == "" || r.Ways[1].Error != "" || r.Ways[1].Slots == nil {
		t.Errorf("%+v, %+v", r.Ways[0], r.Ways[1])
	}
}
