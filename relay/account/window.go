package account

import (
	"math"
	"time"
)

// Window is how long a quota counts from the first attempt: that of Apps Script
// is reset 24 hours after the first request
// (developers.google.com/apps-script/guides/services/quotas).
const Window = 24 * time.Hour

const windowSeconds = int64(Window / time.Second)

// A window is the count of one quota. Its times are Unix seconds, of the wall
// clock: it goes on while the machine sleeps, and is stored.
type window struct {
	begin int64 // 0: there was no attempt yet
	used  int
	limit int   // what was used when a page said that it was all; 0: none came
	probe int64 // with a limit: from then on one attempt may see whether it still holds
}

// roll ends the window whose time is over, and reports whether it did.
func (w *window) roll(now int64) bool {
	if w.begin == 0 {
		return false
	}
	if now-w.begin < windowSeconds {
		return false
	}
	*w = window{}
	return true
}

// shift sets the window's times forth by so many seconds, or back.
func (w *window) shift(by int64) {
	if w.begin > 0 {
		w.begin = max(1, w.begin+by)
	}
	if w.probe > 0 {
		w.probe = max(1, w.probe+by)
	}
}

// open begins a window, if there is none.
func (w *window) open(now int64) {
	if w.begin == 0 {
		w.begin = now
	}
}

// left is what is left of a quota, math.MaxInt of none.
func (w *window) left(quota int) int {
	switch {
	case w.limit > 0:
		return 0
	case quota == 0:
		return math.MaxInt
	}
	return max(0, quota-w.used)
}

// exhaust notes a page. What was used by the first of several is the limit: what
// came after it were probes.
func (w *window) exhaust(now, probe int64) {
	w.open(now)
	if w.limit == 0 {
		w.limit = max(1, w.used)
	}
	w.probe = probe
}

// revive notes that an attempt of that time came back well after a page. Where
// the page came near the quota it was true, and a new window has begun. Where
// not even half was used, others share the account or the page meant something
// else: the count stays as it is.
func (w *window) revive(sent int64, quota int) {
	if w.limit >= quota/2 {
		*w = window{begin: sent, used: 1}
		return
	}
	w.limit, w.probe = 0, 0
}

// reserveOf is what bulk leaves of a quota. Of 20,000 it leaves 1,000: 8 hours
// of one exchange each 30 s, which is a mail program that waits, or the clicks
// of an evening at 6 to 40 exchanges a page. Below 100 it would be no help, and
// more than half would be the rule and not the reserve.
func reserveOf(quota int) int {
	return min(max(quota/20, 100), quota/2)
}
