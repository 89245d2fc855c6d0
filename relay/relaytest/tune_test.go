package relaytest

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/mux"
	"relaymux/relay/account"
	"relaymux/relay/tune"
)

// A relayShape is how a relay is.
type relayShape struct {
	rtt    time.Duration // two thirds of it an execution has its slot
	jitter time.Duration
	slots  int
	queue  bool // beyond slots they wait
	body   int  // bytes of a request; 0: any
	line   int  // bytes a second of the client's own line up; down it is four times as many
}

// relayShapes are those that tune has to tell apart.
var relayShapes = map[string]relayShape{
	"narrow": {rtt: 1500 * time.Millisecond, jitter: 100 * time.Millisecond, slots: 5, body: 1 << 20, line: 1e6},
	"wide":   {rtt: 4 * time.Second, jitter: 250 * time.Millisecond, slots: 30, line: 1e6},
	"fast":   {rtt: 300 * time.Millisecond, jitter: 20 * time.Millisecond, slots: 30, line: 1e6},
}

func (h relayShape) set(s *Stack) {
	s.Relay.Set(func(k *Knobs) {
		k.RTT, k.Run, k.Jitter = h.rtt/3, h.rtt*2/3, h.jitter
		k.Slots, k.MaxBody, k.Queue = h.slots, h.body, h.queue
	})
	s.Relay.SetLine(h.line, 4*h.line)
}

// tuneCarriages are those that go by exchanges.
var tuneCarriages = []struct {
	name   string
	config StackConfig
}{
	{"link by a script", StackConfig{Link: true, Scripts: 1}},
	{"link by a Worker", StackConfig{Link: true, Workers: 1}},
	{"JSON by a script", StackConfig{Scripts: 1}},
}

// A tuning is a run of tune.
type tuning struct {
	*tune.Report
	err  error
	left int // of the first account's day
}

// tuned runs tune on a fresh stack, and checks that what leaves is within the budget,
// and counted. prepare, unless it is nil, may change the relay, and the context.
func tuned(t *testing.T, c StackConfig, h relayShape, budget int, prepare func(s *Stack, cancel func())) (got tuning) {
	t.Helper()
	virtual(t, c, func(t *testing.T, s *Stack) {
		settle(10 * time.Second) // its own handshake
		if s.Relay != nil {
			h.set(s)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if prepare != nil {
			prepare(s, cancel)
		}
		before := 0
		if s.Relay != nil {
			before = s.Relay.Stats().Total()
		}
		ledger := account.Open("", slog.New(slog.DiscardHandler))
		defer ledger.Close()
		tc := tuneConfig(s, ledger, budget)
		last := 0
		tc.Progress = func(used int) { last = used }
		got.Report, got.err = tune.Run(ctx, tc)
		settle(time.Minute) // what the relay still does
		counted := 0
		for _, a := range tc.Accounts {
			counted += a.Quota.Used(time.Now())
		}
		got.left = tc.Accounts[0].Quota.Left(time.Now())
		if got.Used > budget || counted != got.Used || last != got.Used {
			t.Errorf("the budget is %d, used are %d, counted %d, shown %d", budget, got.Used, counted, last)
		}
		if s.Relay != nil {
			if n := s.Relay.Stats().Total() - before; n != got.Used {
				t.Errorf("used are %d, the relay saw %d", got.Used, n)
			}
		}
		var text strings.Builder
		check(t, got.WriteText(&text))
		t.Logf("\n%s\n%s", tc.Statement(), text.String())
	})
	return got
}

func tuneConfig(s *Stack, ledger *account.Ledger, budget int) tune.Config {
	c := tune.Config{Mux: s.settings, Budget: budget}
	for _, d := range s.ds {
		c.Deployments = append(c.Deployments, tune.Deployment{Deployment: d, Account: d.Name})
		c.Accounts = append(c.Accounts, tune.Account{
			Name: d.Name, Slots: s.config.Slots, Daily: 20_000, Label: d.Name, Quota: ledger.Account(d.Name, s.config.Slots, 20_000)})
	}
	return c
}

// TestTune_Shapes: what differently shaped relays want is found out, within the budget,
// and is better than the defaults with loads of another kind than tune's own.
func TestTune_Shapes(t *testing.T) {
	for name, h := range relayShapes {
		for _, by := range raced(t.Name(), tuneCarriages) {
			t.Run(name+"/"+by.name, func(t *testing.T) {
				t.Parallel()
				r := tuned(t, by.config, h, tune.UsualBudget, nil)
				check(t, r.err)
				wantFound(t, r.Ways[0], h)
				if n := r.Best.Slots[r.Ways[0].Account]; n != min(30, h.slots) {
					t.Errorf("%d slots are recommended, the relay has %d", n, h.slots)
				}
				if h.body > 0 && (r.Best.MaxBytes > h.body || r.Best.MaxBytes < h.body*3/4) {
					t.Errorf("max_bytes %d is recommended, the relay takes %d", r.Best.MaxBytes, h.body)
				}
				wantBetter(t, name, by.config, h, r.Report)
			})
		}
	}
}

// wantFound checks what was measured.
func wantFound(t *testing.T, w *tune.Way, h relayShape) {
	t.Helper()
	if w.RTT < h.rtt-h.jitter || w.RTT > h.rtt+h.jitter+50*time.Millisecond {
		t.Errorf("the round trip is %v, found is %v", h.rtt, w.RTT)
	}
	if w.Slots == nil || w.Slots.Served != h.slots || w.Slots.Asked != 30 {
		t.Errorf("the relay has %d slots, found is %+v", h.slots, w.Slots)
	}
	switch b := w.Body; {
	case b == nil:
		t.Error("bodies were not measured")
	case h.body == 0 && (b.Failed != 0 || b.Passed != b.Asked):
		t.Errorf("any body gets through, found is %+v", b)
	case h.body > 0 && (b.Passed > h.body || b.Failed <= h.body || b.Failed-b.Passed > h.body/4):
		t.Errorf("bodies of %d get through, found is %+v", h.body, b)
	}
}

// A performance is what a stack did with a load.
type performance struct {
	page, asks, up, down []time.Duration // of several runs
	exchanges            []int
	failed               atomic.Int64
}

// timed is what do takes, or ten minutes and a failure: where a script's slots are too
// few for it, the JSON wire cuts connections.
func (p *performance) timed(do func() error) time.Duration {
	var err error
	took := elapsed(func() { err = do() })
	if err != nil {
		p.failed.Add(1)
		return 10 * time.Minute
	}
	return took
}

// performed measures fresh stacks with these settings.
func performed(t *testing.T, c StackConfig, h relayShape, set tune.Settings) (p *performance) {
	t.Helper()
	p = new(performance)
	for _, n := range set.Slots {
		c.Slots = n
	}
	for seed := range uint64(5) {
		ledger := account.Open("", slog.New(slog.DiscardHandler))
		c.Mux = func(m *mux.Config) {
			m.MaxOps, m.MaxBytes, m.CoalesceStep, m.CoalesceMax = set.MaxOps, set.MaxBytes, set.CoalesceStep, set.CoalesceMax
			for _, d := range m.Deployments {
				d.Account.Quota = ledger.Account(d.Name, c.Slots, 20_000)
			}
		}
		c.Relay = func(c *RelayConfig) { c.Seed = seed + 100 }
		virtual(t, c, func(t *testing.T, s *Stack) {
			s.warmUp(t)
			h.set(s)
			count := s.exchanges()
			p.asks = append(p.asks, elapsed(func() { askByAndBy(t, s, seed) }))
			b := s.browser(6)
			defer b.CloseIdleConnections()
			p.page = append(p.page, elapsed(func() { loadPage(t, b, s.origin(t, Origin()), 40, 20_000) }))
			up, down := s.serve(t, Count), s.serve(t, Pour)
			var both sync.WaitGroup
			both.Go(func() { p.up = append(p.up, p.timed(func() error { return Push(t.Context(), s.Connect, up, 6e6) })) })
			both.Go(func() {
				p.down = append(p.down, p.timed(func() error { return Pull(t.Context(), s.Connect, down, 12e6) }))
			})
			both.Wait()
			p.exchanges = append(p.exchanges, count())
		})
		ledger.Close()
	}
	return p
}

// askByAndBy opens connections as a person's programs do, each of which asks once.
func askByAndBy(t *testing.T, s *Stack, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	target := s.serve(t, Answer)
	var all sync.WaitGroup
	for range 30 {
		time.Sleep(time.Duration(rnd.ExpFloat64() * float64(40*time.Millisecond)))
		all.Go(func() {
			if err := AskOnce(t.Context(), s.Connect, target); err != nil {
				t.Errorf("asking: %v", err)
			}
		})
	}
	all.Wait()
}

// wantBetter compares what is recommended with the defaults.
func wantBetter(t *testing.T, name string, c StackConfig, h relayShape, r *tune.Report) {
	t.Helper()
	if len(r.Advice) == 0 {
		t.Logf("RATIO %s: 1, what is in use is best", name)
		return
	}
	if raceEnabled {
		return // numbers have no races
	}
	was, is := performed(t, c, h, r.InUse), performed(t, c, h, r.Best)
	mid := func(list []time.Duration) (sum float64) { // the mean, for downloads by the link are fast or slow and nothing between
		for _, d := range list {
			sum += d.Seconds() / float64(len(list))
		}
		return sum
	}
	product := 1.0
	var parts []any
	for _, p := range []struct {
		name    string
		was, is []time.Duration
	}{{"asks", was.asks, is.asks}, {"page", was.page, is.page}, {"up", was.up, is.up}, {"down", was.down, is.down}} {
		ratio := mid(p.was) / mid(p.is)
		product *= ratio
		parts = append(parts, p.name, math.Round(ratio*100)/100)
		if ratio < 0.65 {
			t.Errorf("%s is slower than with the defaults: %v against %v", p.name, p.is, p.was)
		}
	}
	all := math.Pow(product, 0.25)
	a, b := slices.Sorted(slices.Values(was.exchanges)), slices.Sorted(slices.Values(is.exchanges))
	fewer := float64(a[2]) / float64(b[2])
	t.Logf("RATIO %s: %.2f times as fast (%v), %.2f times fewer exchanges, %d loads failed, with the defaults %d",
		name, all, parts, fewer, is.failed.Load(), was.failed.Load())
	if all < 0.88 || fewer < 0.9 || is.failed.Load() > 0 {
		t.Errorf("what is recommended is worse than the defaults: %+v against %+v", is, was)
	}
	// With the defaults the narrow one learns its slots by itself; tune spares it that.
	if name == "narrow" && all*fewer < 1.5 || name == "wide" && fewer < 1.4 {
		t.Errorf("what is recommended is hardly better than the defaults: %+v against %+v", is, was)
	}
}
