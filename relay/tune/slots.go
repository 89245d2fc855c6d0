package tune

import (
	"context"
	"fmt"
	"time"

	"relaymux/relay"
)

// How slots are counted: so many exchanges are sent at once as are in use, or usual. A
// tenth of them may fail or be late for other reasons than their number. If more do,
// those that were served are how many may be, which as many at once have to confirm.
const (
	usualSlots = 30 // of an Apps Script account, and the default of [[account]]
	waveTries  = 4
	waveBreak  = time.Second // before the next, for what the relay has not noticed the end of
	lateShare  = 5           // of a wave's share of the budget, one in this many exchanges
)

// A Slots is what an account's relays serve at once.
type Slots struct {
	Asked   int    `json:"asked"`             // at once
	Served  int    `json:"served"`            // without refusing any, or having them wait
	Refused int    `json:"refused,omitempty"` // of the first wave
	Late    int    `json:"late,omitempty"`    // likewise: had to wait for others
	Why     string `json:"why,omitempty"`     // they were refused
}

// few reports whether the account has fewer slots than were asked for.
func (s *Slots) few() bool { return s.Served < s.Asked }

// countSlots measures each account, by its first deployment that works.
func (t *tuner) countSlots(ctx context.Context) error {
	done := make(map[string]bool)
	for _, w := range t.ways {
		if done[w.Account] {
			continue
		}
		done[w.Account] = true
		if err := t.countOf(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

func (t *tuner) countOf(ctx context.Context, w *way) error {
	n := min(max(w.account.Slots, usualSlots), t.tally.left()/lateShare)
	s := &Slots{Asked: n, Served: n}
	for try := range waveTries {
		got, err := w.wave(ctx, n)
		if err != nil {
			return err
		}
		if try == 0 {
			s.Refused, s.Late, s.Why = got.refused, got.late, got.why
		}
		if got.served*10 >= n*9 {
			s.Served = n
			break
		}
		n = max(1, got.served)
		s.Served = n
		if n == 1 || !pause(ctx, waveBreak+w.found.Most) {
			break
		}
	}
	w.found.Slots = s
	return ctx.Err()
}

// A crest is what became of a wave.
type crest struct {
	served, refused, late int
	why                   string
}

// wave sends n exchanges at once, which the node holds for as long as their way takes,
// so that they are all at the relay together.
func (w *way) wave(ctx context.Context, n int) (c crest, err error) {
	hold := time.Duration(0)
	if w.found.Wire != wireJSON {
		hold = max(w.found.RTT, time.Second)
	}
	list, err := w.together(ctx, n, request{hold: hold, keep: n})
	if err != nil {
		return c, err
	}
	for _, r := range list {
		switch {
		case r.failure != nil:
			c.refused++
			if c.why == "" || r.failure.Kind == relay.RetryAfter {
				c.why = words(r.failure)
			}
		case r.took > w.latest(hold):
			c.late++
		default:
			c.served++
		}
	}
	return c, nil
}

// latest is how long an exchange takes at most that waits for no other: one that does
// takes twice as long.
func (w *way) latest(hold time.Duration) time.Duration {
	whole := w.found.RTT + hold
	return whole + whole*2/5 + (w.found.Most - w.found.RTT)
}

func (s *Slots) String() string {
	switch {
	case s == nil:
		return "-"
	case !s.few():
		return fmt.Sprintf("%d of %d", s.Served, s.Asked)
	case s.Late > s.Refused:
		return fmt.Sprintf("%d of %d, others wait", s.Served, s.Asked)
	}
	return fmt.Sprintf("%d of %d, others are refused", s.Served, s.Asked)
}
