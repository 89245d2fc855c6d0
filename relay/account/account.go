// Package account holds what the deployments of one account share: the slots,
// and the daily quota with the ledger in which it outlives the program.
//
// Words: an attempt is an exchange that left, whatever becomes of it, for the
// platform counts it then; a window is the 24 hours of a quota; a page is the
// relay's answer that the quota is used up.
//
// All times are handed in, as time.Now returned them.
package account

import (
	"sync"
	"time"
)

// An Account counts. It is safe for concurrent use, and no method allocates.
type Account struct {
	name   string
	ledger *Ledger

	mu     sync.Mutex
	walls  time.Time // the latest time that was handed in, by the wall clock, and
	monos  time.Time // by the other; zero: none was
	behind int64     // seconds that the wall clock was set back by, and not forth again
	quota  int       // attempts per window; 0: no quota
	window window
	slots  slots
	rate   rate
	wait   time.Duration // between probes
	paged  time.Time     // the latest page of this run

	written int  // the count in the file, which is ahead of the window's (ledger.go)
	still   bool // no attempt since the ledger looked
}

// Name returns the account's name.
func (a *Account) Name() string { return a.name }

// configure sets what the user may change while the program runs.
func (a *Account) configure(slots, quota int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.slots.most, a.quota = max(1, slots), max(0, quota)
}

// lock makes the window that of now. Who calls it unlocks a.mu.
func (a *Account) lock(now time.Time) {
	a.mu.Lock()
	wall := now.Round(0)
	if !a.monos.IsZero() {
		a.follow(int64((wall.Sub(a.walls) - now.Sub(a.monos)) / time.Second))
	}
	a.walls, a.monos = wall, now
	if a.window.begin > now.Unix() { // by the file's clock, of which the same is true
		a.follow(now.Unix() - a.window.begin)
	}
	if a.window.roll(now.Unix()) {
		a.written = 0 // the file has another window
	}
}

// follow moves the window with the wall clock, which was set forth by so many seconds, or
// back: what is left of it, and until the next probe, stays the same. Only a clock that is
// ahead of all that was seen of it looks like a machine that slept. So that of a router without
// a battery, which is years behind until the network tells the time, loses no count.
func (a *Account) follow(by int64) {
	by = min(by, a.behind)
	a.behind -= by
	a.window.shift(by)
}

// Spend counts an attempt, at the moment that it leaves.
func (a *Account) Spend(now time.Time) {
	a.lock(now)
	a.window.open(now.Unix())
	a.window.used++
	if a.window.limit > 0 {
		a.window.probe = now.Add(a.wait).Unix()
	}
	a.rate.note(now)
	a.still = false
	behind := a.window.used+block(a.quota)/2 > a.written
	a.mu.Unlock()
	if behind {
		a.ledger.nudge()
	}
}

// Told notes that the node counted so many attempts in this window, of all
// devices that share the account.
func (a *Account) Told(now time.Time, total int) {
	a.lock(now)
	defer a.mu.Unlock()
	total = min(total, maxCount)
	if total <= a.window.used {
		return
	}
	a.window.open(now.Unix())
	a.window.used = total
	if total > a.written {
		a.ledger.nudge()
	}
}

// How long an account rests between probes after a page.
const (
	probeEvery = time.Hour   // 24 attempts of a day, if pages tell the truth
	minProbe   = time.Minute // some relays say "in 0 seconds"
)

// Exhausted notes a page: what was used is all that there is, until the window
// ends or a probe says otherwise. hint is when the relay says to come back, 0
// if it does not say.
func (a *Account) Exhausted(now time.Time, hint time.Duration) {
	a.lock(now)
	defer a.mu.Unlock()
	a.wait = probeEvery
	if hint > 0 {
		a.wait = min(max(hint, minProbe), Window)
	}
	a.paged = now
	a.window.exhaust(now.Unix(), now.Add(a.wait).Unix())
	a.ledger.nudge()
}

// Served notes that an attempt sent at that time came back well. Only after a
// page does it say anything, and only if it left after it.
func (a *Account) Served(now, sent time.Time) {
	a.lock(now)
	defer a.mu.Unlock()
	if a.window.limit == 0 || !sent.After(a.paged) {
		return
	}
	a.window.revive(sent.Unix(), a.quota)
	a.ledger.nudge()
}

// Allowed reports whether an attempt may leave: always, but after a page only
// as a probe, one at a time. Having no quota left is no reason against one: the
// configured number may be wrong, and the page will say.
func (a *Account) Allowed(now time.Time) bool {
	a.lock(now)
	defer a.mu.Unlock()
	return a.window.limit == 0 || now.Unix() >= a.window.probe
}

// Rests returns how long it is until Allowed.
func (a *Account) Rests(now time.Time) time.Duration {
	a.lock(now)
	defer a.mu.Unlock()
	if a.window.limit == 0 {
		return 0
	}
	until := min(a.window.probe, a.window.begin+windowSeconds)
	return max(0, time.Unix(until, 0).Sub(now))
}

// Used returns the attempts of this window.
func (a *Account) Used(now time.Time) int {
	a.lock(now)
	defer a.mu.Unlock()
	return a.window.used
}

// Left returns the attempts that are left in this window, 0 after a page, and
// math.MaxInt where there is no quota.
func (a *Account) Left(now time.Time) int {
	a.lock(now)
	defer a.mu.Unlock()
	return a.window.left(a.quota)
}

// Share returns how much of the quota is left, 0 to 1: by it accounts of
// different sizes compare. Without a quota it is 1.
func (a *Account) Share(now time.Time) float64 {
	a.lock(now)
	defer a.mu.Unlock()
	left := a.window.left(a.quota)
	if a.quota == 0 {
		return float64(min(left, 1))
	}
	return float64(left) / float64(a.quota)
}

// Resets returns when the window ends, the zero Time if none has begun.
func (a *Account) Resets(now time.Time) time.Time {
	a.lock(now)
	defer a.mu.Unlock()
	return a.resets()
}

func (a *Account) resets() time.Time {
	if a.window.begin == 0 {
		return time.Time{}
	}
	return time.Unix(a.window.begin+windowSeconds, 0)
}

// MayBulk reports whether more is left than the reserve, which is for clicks
// and key strokes.
func (a *Account) MayBulk(now time.Time) bool { return a.leaves(now, 1) }

// MayHedge reports whether an exchange may be sent twice. That ends at twice
// the reserve: it gains time, where bulk gains what somebody asked for, and so
// it goes first.
func (a *Account) MayHedge(now time.Time) bool { return a.leaves(now, 2) }

// leaves reports whether an attempt leaves so many reserves.
func (a *Account) leaves(now time.Time, reserves int) bool {
	a.lock(now)
	defer a.mu.Unlock()
	return a.window.left(a.quota) > reserves*reserveOf(a.quota)
}

// Slots returns how many exchanges may be in flight now, at least 1.
func (a *Account) Slots(now time.Time) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.slots.now(now)
}

// Busy notes a 429 to an exchange that began then, which came while so many were in
// flight, itself included. Other devices have the rest of the slots.
func (a *Account) Busy(now, began time.Time, inFlight int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.slots.busy(now, began, inFlight)
}

// Rate returns the attempts per hour, if it goes on as in the last minutes.
func (a *Account) Rate(now time.Time) float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rate.perHour(now)
}

// Lasts returns how long the quota lasts at the present rate, at most Window:
// by then there is a new one.
func (a *Account) Lasts(now time.Time) time.Duration {
	a.lock(now)
	defer a.mu.Unlock()
	return a.lasts(now)
}

func (a *Account) lasts(now time.Time) time.Duration {
	left := a.window.left(a.quota)
	if left == 0 {
		return 0
	}
	hours := float64(left) / a.rate.perHour(now) // +Inf at rest
	if hours >= Window.Hours() {
		return Window
	}
	return time.Duration(hours * float64(time.Hour))
}
