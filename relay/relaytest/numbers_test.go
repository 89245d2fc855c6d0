package relaytest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// numbersEnv set to "all" has TestNumbers do what takes long as well: the works
// that are marked so, and three seeds where chance takes part.
const numbersEnv = "RELAYMUX_NUMBERS"

// A carriage is a kind of relay: two deployments of it.
type carriage struct {
	name string
	set  func(*StackConfig)
}

var carriages = []carriage{
	{"script", func(c *StackConfig) { c.Scripts = 2 }},
	{"worker", func(c *StackConfig) { c.Workers = 2 }},
}

// The paths. A script runs thirty executions at once.
var (
	clean  = &roadworks{"clean", Knobs{}}
	faulty = &roadworks{"faulty", Knobs{Jitter: 500 * time.Millisecond, LoseAfter: 50}}
	harsh  = &roadworks{"harsh", Knobs{LoseAfter: 10, LoseBefore: 20, Duplicate: 15}}
)

// roadworks are what a path's relays do to exchanges.
type roadworks struct {
	name  string
	knobs Knobs
}

// seeds are of n runs, of which each meets a fault soon: works that take few
// exchanges would see none.
func (r *roadworks) seeds(n int) (seeds []uint64) {
	if *r == *clean {
		return []uint64{1}
	}
	for seed := uint64(1); len(seeds) < n; seed++ {
		if r.strikes(seed) {
			seeds = append(seeds, seed)
		}
	}
	return seeds
}

// strikes reports whether an answer gets lost of the first two exchanges of
// either deployment.
func (r *roadworks) strikes(seed uint64) bool {
	for i := range uint64(2) {
		rnd := rand.New(rand.NewPCG(seed, i))
		for range 2 {
			if r.knobs.draw(rnd).loseAfter {
				return true
			}
		}
	}
	return false
}

// begin makes the relays of s so. Chance begins anew, with seed.
func (r *roadworks) begin(s *Stack, seed uint64) {
	s.Relay.Set(func(k *Knobs) {
		*k = r.knobs
		k.RTT, k.Slots = rtt, 30
	})
	for i, d := range s.Relay.chosen(nil) {
		d.mu.Lock()
		d.rnd = rand.New(rand.NewPCG(seed, uint64(i)))
		d.mu.Unlock()
	}
}

// A work is something that users do, and what it may cost.
type work struct {
	name string
	unit string // of its value
	do   func(t *testing.T, s *Stack) result
	on   []bounds
	long bool // takes much real time
}

// A result is what a work came to.
type result struct {
	value     float64 // the worst, if there are many
	typical   float64 // half of them are no worse; 0 if there is one
	exchanges int
	wrong     []string // what must never happen
}

func (r *result) fault(format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

// bounds are those of a work on a path; 0 is none.
type bounds struct {
	path        *roadworks
	most, least float64 // of the value
	typical     float64 // likewise, at most
	exchanges   int
}

// no is a bound of none at all.
const no = -1

// The floor of a page is an exchange for each object of a connection: its
// opening rides with the first request.
const (
	trip  = float64(rtt) / float64(time.Second)
	floor = pageObjects / pageConns * trip
)

var works = []work{
	{name: "page", unit: "s", do: page(atOnce), on: []bounds{
		{path: clean, most: floor + 0.15*trip, exchanges: 8},
		{path: faulty, most: floor + 3*trip, exchanges: 40},
		{path: harsh},
	}},
	{name: "page, slow origins", unit: "s", do: page(spread), on: []bounds{
		{path: clean, most: floor + 0.7*trip, exchanges: 20},
	}},
	{name: "think", unit: "s", do: asks(500 * time.Millisecond), on: []bounds{{path: clean, most: 1.01 * trip}}},
	{name: "ask", unit: "s", do: asks(0, 2*time.Second, 0, 20*time.Second), on: []bounds{{path: clean, most: 1.506}}},
	{name: "keystrokes", unit: "s", do: keystrokes, on: []bounds{{path: clean, most: 1.3 * trip, exchanges: 200}}},
	{name: "download 50 MB", unit: "MB/s", do: download(50e6), on: []bounds{
		{path: clean, least: 10.5},
		{path: faulty, least: 6},
		{path: harsh},
	}},
	{name: "download 300 MB", unit: "MB/s", do: download(300e6), long: true, on: []bounds{{path: clean, least: 20}}},
	{name: "upload 20 MB", unit: "MB/s", do: upload(20e6), on: []bounds{
		{path: clean, least: 5},
		{path: faulty, least: 3},
		{path: harsh},
	}},
	{name: "page, slow line", unit: "s", do: onSlowLine(page(atOnce), pageObjects*objectSize), on: []bounds{{path: clean}}},
	{name: "download 2 MB, slow line", unit: "MB/s", do: onSlowLine(download(2e6), 2e6), on: []bounds{{path: clean}}},
	{name: "push", unit: "s", do: push(false), on: []bounds{{path: clean, most: 0.760}}},
	{name: "push beside pages", unit: "s", do: push(true), on: []bounds{{path: clean, typical: 0.760, most: 0.9}}},
	{name: "50 idle", unit: "min", do: idle(50), on: []bounds{{path: clean, exchanges: 25}}},
	{name: "none open", unit: "min", do: idle(0), on: []bounds{{path: clean, exchanges: no}}},
	{name: "UDP echo", unit: "/s", do: udpEcho, on: []bounds{{path: clean, least: 41, exchanges: udpEchoes / 20}}},
	{name: "100 both ways", unit: "s", do: bothWays(crowd(100)), on: []bounds{{path: faulty}, {path: harsh}}},
}

// TestNumbers is the table of what the program is to be like for its users, 1.5 s
// away from the node by two deployments. With -v it prints what it is like.
func TestNumbers(t *testing.T) {
	all, runs := os.Getenv(numbersEnv) == "all", 1
	if all {
		runs = 3
	}
	for _, w := range works {
		for _, b := range w.on {
			for _, c := range raced(w.name+b.path.name, carriages) {
				for _, seed := range b.path.seeds(runs) {
					t.Run(fmt.Sprintf("%s/%s/%s/%d", c.name, w.name, b.path.name, seed), func(t *testing.T) {
						if w.long && !all {
							t.Skip("set " + numbersEnv + " to all")
						}
						t.Parallel()
						w.run(t, c, b, seed)
					})
				}
			}
		}
	}
}

// run does the work, and reports it.
func (w *work) run(t *testing.T, c carriage, b bounds, seed uint64) {
	began := time.Now()
	config := StackConfig{Link: true}
	c.set(&config)
	virtual(t, config, func(t *testing.T, s *Stack) {
		s.warmUp(t)
		b.path.begin(s, seed)
		got := w.do(t, s)
		clean.begin(s, seed) // what was begun must end
		s.wantAllCounted(t)
		w.report(t, b, &got)
		t.Logf("relays: %v", s.Relay.Stats().Exchanges)
	})
	t.Logf("took %v of real time", time.Since(began).Round(time.Millisecond))
}

// warmUp has the program know its relays, as it does but for the first seconds
// of a day.
func (s *Stack) warmUp(t *testing.T) {
	c := open(t, s.Connect, s.serve(t, Echo))
	ask(t, c, "hello")
	c.Close()
	s.wantQuiet(t)
}

// wantAllCounted checks that the exchanges that the client counts are those that
// the relays saw.
func (s *Stack) wantAllCounted(t *testing.T) {
	t.Helper()
	time.Sleep(time.Minute)
	synctest.Wait()
	relays := s.Relay.Stats()
	if n := s.Stats.Exchanges.Load(); int(n) != relays.Total()+relays.InFlight {
		t.Errorf("the client counts %d exchanges, the relays %v and %d under way", n, relays.Exchanges, relays.InFlight)
	}
}

// report prints a line, and says whether it is a failure.
func (w *work) report(t *testing.T, b bounds, got *result) {
	t.Helper()
	line := fmt.Sprintf("%-24s %-6s %8.3f %-4s %-12s", w.name, b.path.name, got.value, w.unit, b.value())
	if got.typical > 0 {
		line += fmt.Sprintf(" typical %.3f", got.typical)
	}
	line += fmt.Sprintf(" %5d exchanges%s", got.exchanges, b.cost())
	missed := append(got.wrong, b.missed(got)...)
	if len(missed) > 0 {
		t.Error(line + "; " + strings.Join(missed, ", "))
		return
	}
	t.Log(line)
}

func (b *bounds) value() string {
	switch {
	case b.most > 0:
		return fmt.Sprintf("(<= %.3f)", b.most)
	case b.least > 0:
		return fmt.Sprintf("(>= %.1f)", b.least)
	}
	return ""
}

func (b *bounds) cost() string {
	if b.exchanges == 0 {
		return ""
	}
	return fmt.Sprintf(" (<= %d)", max(b.exchanges, 0))
}

// missed are the bounds that got is not within.
func (b *bounds) missed(got *result) (what []string) {
	for name, over := range map[string]bool{
		"value":     b.most > 0 && got.value > b.most || got.value < b.least,
		"typical":   b.typical > 0 && got.typical > b.typical,
		"exchanges": b.exchanges != 0 && got.exchanges > max(b.exchanges, 0),
	} {
		if over {
			what = append(what, name+" missed")
		}
	}
	return what
}
