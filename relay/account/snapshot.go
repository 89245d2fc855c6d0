package account

import "time"

// A Snapshot is an account at one moment, for a person to read.
type Snapshot struct {
	Name      string
	Slots     int           // exchanges that may be in flight now
	MostSlots int           // as configured
	Quota     int           // attempts per window as configured; 0: no quota
	Used      int           // attempts of this window
	Left      int           // 0 also without a quota
	Reserve   int           // what bulk leaves
	Exhausted bool          // a page came
	Probe     time.Time     // if so, when the next attempt may leave
	Resets    time.Time     // when the window ends; zero: none has begun
	PerHour   float64       // attempts, if it goes on like this
	Lasts     time.Duration // how long the quota then lasts, at most Window
}

// Snapshot returns the account as it is now.
func (a *Account) Snapshot(now time.Time) Snapshot {
	a.lock(now)
	defer a.mu.Unlock()
	s := Snapshot{
		Name: a.name, Slots: a.slots.now(now), MostSlots: a.slots.most,
		Quota: a.quota, Used: a.window.used, Reserve: reserveOf(a.quota),
		Exhausted: a.window.limit > 0, Resets: a.resets(),
		PerHour: a.rate.perHour(now), Lasts: a.lasts(now),
	}
	if a.quota > 0 {
		s.Left = a.window.left(a.quota)
	}
	if s.Exhausted {
		s.Probe = time.Unix(a.window.probe, 0)
	}
	return s
}
