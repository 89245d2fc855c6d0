package tune

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"relaymux/config"
	"relaymux/mux"
)

// A candidate is a change that is tried.
type candidate struct {
	change func(*Settings)
	parts  []part // by which
	why    string // what single exchanges say for it

	// found: they have shown that what is in use is more than the relays take. It is
	// recommended unless it is clearly worse, tried or not.
	found bool
}

// Pairs of trials by which settings are compared, as the budget has room.
const (
	pairsLeast = 2
	pairsMost  = 3
)

// compareAll tries one change after the other, on top of those that were good.
func (t *tuner) compareAll(ctx context.Context) error {
	if err := t.atNode(ctx); err != nil {
		return err
	}
	for _, next := range []func(context.Context) (*candidate, error){
		t.fewerSlots, t.smallerBodies, t.otherStep, t.moreOps, t.moreSlots, t.largerBodies, t.shorterWait,
	} {
		c, err := next(ctx)
		if err == nil && c != nil {
			err = t.compare(ctx, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// atNode finds out whether the node has a yardstick. Where it has not, single exchanges
// are all that is known.
func (t *tuner) atNode(ctx context.Context) error {
	err := t.trial(ctx, t.inUse, func(ctx context.Context, m *mux.Mux) error {
		ctx, cancel := context.WithTimeout(ctx, partLimit)
		defer cancel()
		return move(ctx, m, 1, 1)
	})
	switch {
	case err == nil, isEnd(err), ctx.Err() != nil:
		return err
	}
	t.bare = true
	t.note("the node has nothing to try loads with, as relaymux of this version has (%v)", err)
	return nil
}

// compare has trials of a change and of the best so far take turns.
func (t *tuner) compare(ctx context.Context, c *candidate) error {
	s := t.best.clone()
	c.change(&s)
	for _, key := range changed(t.best, s) {
		t.considered[key] = true
	}
	row := &Comparison{Change: difference(t.best, s)}
	cost := 0
	for _, p := range c.parts {
		cost += 2 * t.cost[p]
	}
	most := pairsMost
	if c.found {
		most = pairsLeast
	}
	pairs := min(t.tally.left()/cost, most)
	switch {
	case t.bare && !c.found:
		return nil
	case t.bare:
	case pairs < pairsLeast:
		row.Untried = "the budget is too small"
	default:
		if err := t.turns(ctx, row, c.parts, s, pairs); err != nil {
			if c.found {
				t.take(row, s, c.why)
			}
			return err
		}
	}
	if c.found && !row.worse() || row.better() {
		t.take(row, s, c.why)
	}
	t.report.Comparisons = append(t.report.Comparisons, row)
	return nil
}

// adopt takes what single exchanges have shown and nothing has tried, for want of time
// or exchanges.
func (t *tuner) adopt() {
	for _, next := range []func(context.Context) (*candidate, error){t.fewerSlots, t.smallerBodies} {
		c, err := next(context.Background())
		if err != nil || c == nil || !c.found {
			continue
		}
		s := t.best.clone()
		c.change(&s)
		if keys := changed(t.best, s); len(keys) > 0 && !slices.ContainsFunc(keys, func(key string) bool { return t.considered[key] }) {
			t.take(new(Comparison), s, c.why)
		}
	}
}

// turns tries both: A B, B A, and so on, so that what changes by and by does to both
// the same.
func (t *tuner) turns(ctx context.Context, row *Comparison, parts []part, s Settings, pairs int) error {
	for _, p := range parts {
		var with, without []sample
		for k := range pairs {
			both := []Settings{t.best, s}
			got := make([]sample, 2)
			for i := range both {
				which := (i + k) % 2
				var err error
				if got[which], err = t.once(ctx, p, both[which], uint64(k)); err != nil {
					return err
				}
			}
			without, with = append(without, got[0]), append(with, got[1])
		}
		row.Parts = append(row.Parts, Outcome{Part: string(p), Verdict: judge(with, without), With: show(with), Without: show(without)})
	}
	return nil
}

// take makes s the best, for a reason.
func (t *tuner) take(row *Comparison, s Settings, why string) {
	row.Taken = true
	row.Why = strings.Join(slices.DeleteFunc([]string{why, row.gain()}, func(s string) bool { return s == "" }), "; ")
	for _, key := range changed(t.best, s) {
		t.reasons[key] = row.Why
	}
	t.best = s
}

func (t *tuner) fewerSlots(context.Context) (*candidate, error) {
	c := &candidate{parts: []part{page, bulk}, found: true}
	slots := make(map[string]int)
	for _, w := range t.ways {
		s := w.found.Slots
		if s == nil || !s.few() || s.Served >= w.account.Slots {
			continue
		}
		slots[w.Account] = s.Served
		how := "wait"
		if s.Refused >= s.Late {
			how = "are refused"
		}
		c.why = fmt.Sprintf("of %d exchanges at once %d are served, others %s", s.Asked, s.Served, how)
	}
	if len(slots) == 0 {
		return nil, nil
	}
	c.change = setSlots(slots)
	return c, nil
}

func setSlots(slots map[string]int) func(*Settings) {
	return func(s *Settings) {
		for name, n := range slots {
			s.Slots[name] = n
		}
	}
}

// moreSlots is where the relays serve more than is in use.
func (t *tuner) moreSlots(context.Context) (*candidate, error) {
	slots := make(map[string]int)
	for _, w := range t.ways {
		if s := w.found.Slots; s != nil && !s.few() && s.Served > w.account.Slots {
			slots[w.Account] = s.Served
		}
	}
	if len(slots) == 0 {
		return nil, nil
	}
	return &candidate{parts: []part{page, bulk}, change: setSlots(slots)}, nil
}

// smallerBodies is where less than max_bytes gets through. What only some of the relays
// refuse is not for all of them, unless that is faster: a proxy learns it by itself.
func (t *tuner) smallerBodies(context.Context) (*candidate, error) {
	c := &candidate{parts: []part{bulk}, found: true}
	least := t.best.MaxBytes
	for _, w := range t.ways {
		b := w.found.Body
		if !b.few() {
			c.found = false
			continue
		}
		if b.Passed < least {
			least = b.Passed
			c.why = fmt.Sprintf("a request of %v does not get through (%s), one of %v does", config.Size(b.Failed), b.Why, config.Size(b.Passed))
		}
	}
	if least == t.best.MaxBytes {
		return nil, nil
	}
	c.change = func(s *Settings) { s.MaxBytes = least }
	return c, nil
}

// lineTime is about the longest that the mux has one request take on the line: where
// it has less than max_bytes in that, larger ones are never sent.
const lineTime = 2 * time.Second

// largerBodies is where the line carries more than max_bytes at a time.
func (t *tuner) largerBodies(ctx context.Context) (*candidate, error) {
	n := min(4*t.inUse.MaxBytes, bodyMost)
	capped := slices.ContainsFunc(t.ways, func(w *way) bool { return w.found.Body == nil || w.found.Body.Passed < t.inUse.MaxBytes })
	if capped || n <= t.inUse.MaxBytes || t.up*lineTime.Seconds() < float64(t.inUse.MaxBytes) {
		return nil, nil
	}
	for _, w := range t.ways {
		b, err := w.size(ctx, n)
		if err != nil {
			return nil, err
		}
		n = min(n, b.Passed)
	}
	if n <= t.inUse.MaxBytes {
		return nil, nil
	}
	return &candidate{parts: []part{bulk}, change: func(s *Settings) { s.MaxBytes = n }}, nil
}

// The mux waits for an eighth of the round trip at most, whatever coalesce_step says. A
// third of that is hardly noticed; and more than stepMost would be, by itself.
const (
	waitShare = 8
	stepShare = 24
	stepMost  = 100 * time.Millisecond
)

// otherStep is what the round trip leaves room for. A longer wait saves exchanges.
func (t *tuner) otherStep(context.Context) (*candidate, error) {
	rtt, now := t.fastest(), t.best.CoalesceStep
	room := min(rtt/stepShare, stepMost, t.best.CoalesceMax)
	step := room - room%(5*time.Millisecond)
	switch {
	case now > rtt/waitShare || now > stepMost: // it is longer than can be or should
		step = room - room%time.Millisecond
	case step < 2*now:
		t.note("coalesce_step %v is kept: more would be noticed at a round trip of %v, less saves nothing.", now, rtt.Round(time.Millisecond))
		return nil, nil
	}
	return &candidate{parts: []part{page}, change: func(s *Settings) { s.CoalesceStep = step }}, nil
}

// opsMost is what config allows.
const opsMost = 500

// moreOps is for many connections that speak at once.
func (t *tuner) moreOps(context.Context) (*candidate, error) {
	n := min(3*t.best.MaxOps, opsMost)
	if t.best.MaxOps >= crowdConns {
		return nil, nil
	}
	return &candidate{parts: []part{crowd}, change: func(s *Settings) { s.MaxOps = n }}, nil
}

// fewSlots is where coalesce_max comes into effect with what a page needs: the mux
// waits for longer when more than a quarter of the slots are busy.
const fewSlots = 12

// shorterWait is for where slots are scarce.
func (t *tuner) shorterWait(context.Context) (*candidate, error) {
	all := 0
	for _, n := range t.best.Slots {
		all += n
	}
	most := t.slowest() / 4
	most -= most % (10 * time.Millisecond)
	if all > fewSlots || most < t.best.CoalesceStep || most > t.best.CoalesceMax/2 {
		return nil, nil
	}
	return &candidate{parts: []part{page}, change: func(s *Settings) { s.CoalesceMax = most }}, nil
}
