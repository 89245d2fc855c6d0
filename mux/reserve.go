package mux

import (
	"slices"
	"time"
)

// What exchanges that can wait leave of the slots to those that should not. Each is a
// number of slots of a deployment's account that pick leaves free.

func noReserve(*deployment) int { return 0 }

// reserveOf is what is left free of so many slots: a fifth, at least one, unless there is
// only one in all.
func reserveOf(slots int) int {
	if slots == 1 {
		return 0
	}
	return max(1, slots/5)
}

// holdReserve is what polls leave, and uploads beside others: of each account its
// reserveOf. One of a single slot keeps none, unless that is the last that is free of
// several. It goes by what other devices leave, for a fifth of all may be more than that: no
// poll would ever go. Of all, back more slots are about to come back, or if it is negative
// fewer are free than it seems.
func holdReserve(ds []*deployment, now time.Time, back int) func(*deployment) int {
	return func(d *deployment) int {
		if n := reserveOf(d.Account.most()); n > 0 {
			return n
		}
		working := slices.DeleteFunc(slices.Clone(ds), func(e *deployment) bool { return !e.usable(now) })
		if mostOf(working) > 1 && sumOf(working, (*Account).free)+back <= 1 {
			return 1
		}
		return 0
	}
}

// spares reports whether any of ds could be picked that has reserve slots free and one
// more, beside an exchange of d's that has taken one.
func spares(ds []*deployment, now time.Time, d *deployment, reserve func(*deployment) int) bool {
	return slices.ContainsFunc(ds, func(e *deployment) bool {
		free := e.Account.free() - reserve(e)
		if e.Account == d.Account {
			free--
		}
		return free > 0 && e.usable(now)
	})
}

// opsReserve is what a batch of ops leaves: nothing if it has any of a TCP flow; as much
// as polls do if it has datagrams only, so that a flood of those does not delay a
// keystroke by a round trip.
func (l *loop) opsReserve(now time.Time) func(*deployment) int {
	if l.streams > 0 {
		return noReserve
	}
	return holdReserve(l.ds, now, 0)
}

// pollReserve is what polls leave: less if the next comes in the place of a hold, for
// that one comes back.
func (l *loop) pollReserve(now time.Time) func(*deployment) int {
	by := now.Add(-l.adoptAge())
	i := slices.IndexFunc(l.heldNow, func(h *exchange) bool {
		return h.adoptable(by) && len(h.flows)+l.polls.due(now, l.pacing.maxOps) <= l.pacing.maxOps
	})
	if i < 0 {
		return holdReserve(l.ds, now, 0)
	}
	reserve, relieved, a := holdReserve(l.ds, now, 0), holdReserve(l.ds, now, 1), l.heldNow[i].d.Account
	return func(d *deployment) int {
		switch {
		case d.parkedFor != 0: // it only asks whether that works, and takes the place of none
			return reserve(d)
		case d.Account == a:
			return max(0, relieved(d)-1)
		}
		return relieved(d)
	}
}
