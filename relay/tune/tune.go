// Package tune is `relaymux tune`: it measures what the user's own relays do, by
// exchanges with the user's own node, and says which settings suit them better than
// those in use.
//
// What is measured, and what of it a setting follows from:
//
//	reach.go  the way to the node, by single exchanges: the round trip
//	slots.go  how many exchanges at once a relay serves, before it refuses them or has
//	          them wait: slots of the [[account]]
//	body.go   the largest request that gets through: max_bytes. (Of answers a proxy
//	          learns that by itself, and no key says it.)
//	work.go   loads, which the proxy's own mux carries to the node's yardstick
//	          (wire.YardstickHost) with one settings and the other, in turns:
//	          coalescing, max_ops, and whether the above really helps
//
// Single exchanges are made by probe.go. tally.go counts all that leaves, and lets no
// more leave than was asked for. judge.go says what is clearly better, plan.go what is
// tried, print.go shows it.
//
// Where everything goes by a pipe, as straight to a node, none of the settings matters,
// and nothing more is measured.
package tune

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode"

	"relaymux/mux"
	"relaymux/relay"
	"relaymux/relay/account"
)

// A Deployment is one to be measured.
type Deployment struct {
	mux.Deployment        // but for its Account, of which each trial has its own
	Account        string // the name of its account
}

// An Account is one of those that the deployments use.
type Account struct {
	Name  string
	Slots int              // in use
	Daily int              // exchanges of a day; 0: no quota
	Label string           // as mux.NewAccount takes it
	Quota *account.Account // is charged for each exchange, when it leaves; nil: nobody counts
}

// Settings are what is tuned.
type Settings struct {
	MaxOps       int            `json:"max_ops"`
	MaxBytes     int            `json:"max_bytes"`
	CoalesceStep time.Duration  `json:"coalesce_step_ns"`
	CoalesceMax  time.Duration  `json:"coalesce_max_ns"`
	Slots        map[string]int `json:"slots"` // by account
}

func (s Settings) clone() Settings {
	s.Slots = maps.Clone(s.Slots)
	return s
}

// Config is what is measured, and how much of it.
type Config struct {
	Deployments []Deployment // at least one
	Accounts    []Account

	// Mux is what the proxy has, with the settings in use. Its Deployments, Stats and
	// UDP are not used.
	Mux mux.Config

	// Budget is how many exchanges may leave, of all deployments together, at least
	// LeastBudget.
	Budget int

	// Progress hears of each exchange that leaves, from any goroutine; nil: nobody does.
	Progress func(used int)
}

// Budgets. The usual one is 2.5 % of a script's day, and enough for one deployment of which
// everything has to be changed; with the least something is learned of one.
const (
	UsualBudget = 500
	LeastBudget = 20
)

// Run measures until it knows, the budget is used up, or ctx ends; what is known by
// then is in the report, which is never nil. An error says that no deployment works.
func Run(ctx context.Context, c Config) (*Report, error) {
	t := newTuner(c)
	began := time.Now()
	err := t.run(ctx)
	t.adopt()
	t.report.Took = time.Since(began)
	t.report.Used = t.tally.count()
	t.report.InUse, t.report.Best = t.inUse, t.best
	t.report.Advice = advice(t.inUse, t.best, t.reasons)
	for _, w := range t.ways {
		w.found.Answer = w.meter.largest()
	}
	switch {
	case errors.Is(err, errNoWay):
		return t.report, err
	case ctx.Err() != nil:
		t.report.Stopped = "interrupted"
	case err != nil:
		t.report.Stopped = err.Error()
	}
	return t.report, nil
}

// isEnd reports whether err says that no more may leave.
func isEnd(err error) bool { return errors.Is(err, errSpent) || errors.Is(err, errQuota) }

var errNoWay = errors.New("no deployment works: relaymux doctor says why")

// A tuner is one run.
type tuner struct {
	Config
	tally  *tally
	ways   []*way // that work
	link   *linkProbe
	inUse  Settings
	best   Settings // of those tried
	cost   map[part]int
	up     float64 // bytes a second, of the fastest deployment
	bare   bool    // the node has no yardstick
	report *Report

	considered map[string]bool   // keys of which a change was tried, or was to be
	reasons    map[string]string // of what is in best and not in use, by key
}

func newTuner(c Config) *tuner {
	slots := make(map[string]int)
	for _, a := range c.Accounts {
		slots[a.Name] = a.Slots
	}
	s := Settings{MaxOps: c.Mux.MaxOps, MaxBytes: c.Mux.MaxBytes, CoalesceStep: c.Mux.CoalesceStep, CoalesceMax: c.Mux.CoalesceMax, Slots: slots}
	return &tuner{
		Config: c, tally: newTally(c.Budget, c.Progress), inUse: s, best: s.clone(),
		cost: map[part]int{page: 30, bulk: 30, crowd: 10}, report: &Report{Budget: c.Budget},
		considered: make(map[string]bool), reasons: make(map[string]string),
	}
}

func (t *tuner) run(ctx context.Context) error {
	if err := t.reach(ctx); err != nil {
		return err
	}
	piped, err := t.piped(ctx)
	if err != nil || piped {
		return err
	}
	if err := t.countSlots(ctx); err != nil {
		return err
	}
	if err := t.sizeBodies(ctx); err != nil {
		return err
	}
	return t.compareAll(ctx)
}

// account is that of a deployment.
func (t *tuner) account(name string) *Account {
	for i := range t.Accounts {
		if t.Accounts[i].Name == name {
			return &t.Accounts[i]
		}
	}
	return &Account{Name: name, Slots: 1}
}

// note puts a line below the table.
func (t *tuner) note(format string, args ...any) {
	t.report.Notes = append(t.report.Notes, fmt.Sprintf(format, args...))
}

// words are what a failure says, for a person, on one line.
func words(f *relay.Failure) string {
	s := f.Kind.String()
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}
