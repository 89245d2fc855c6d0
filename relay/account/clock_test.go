package account

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const day = 24 * time.Hour

// setBack makes it so that until now the wall clock was ahead by so much.
func (a *Account) setBack(by time.Duration) {
	a.walls = a.walls.Add(by)
	a.window.shift(int64(by / time.Second))
}

// TestHostile63_ClockSetBack: by seconds, a day, or ten years, in the middle of a window
// and of the rest after a page: what was used stays used, and both end when they would
// have ended.
func TestHostile63_ClockSetBack(t *testing.T) {
	for _, by := range []time.Duration{5 * time.Second, time.Hour, day, 3650 * day} {
		synctest.Test(t, func(t *testing.T) {
			a, began := inMemory(30, 1000), time.Now()
			spend(a, began, 700)
			time.Sleep(10 * time.Hour)
			a.Exhausted(time.Now(), 0)
			time.Sleep(10 * time.Minute)
			a.setBack(by)
			if n, end := a.Used(time.Now()), a.Resets(time.Now()); n != 700 || end.Sub(began.Add(Window)).Abs() > time.Second {
				t.Errorf("by %v: %d used, until %v after the beginning", by, n, end.Sub(began))
			}
			time.Sleep(50*time.Minute - 2*time.Second)
			if a.Allowed(time.Now()) {
				t.Errorf("by %v: the rest after the page is too short", by)
			}
			time.Sleep(4 * time.Second)
			if !a.Allowed(time.Now()) {
				t.Errorf("by %v: the rest after the page is too long", by)
			}
			time.Sleep(13*time.Hour - 4*time.Second)
			if a.Used(time.Now()) != 700 {
				t.Errorf("by %v: the window is too short", by)
			}
			time.Sleep(6 * time.Second)
			if a.Used(time.Now()) != 0 || !a.Allowed(time.Now()) {
				t.Errorf("by %v: the window is too long", by)
			}
		})
	}
}

// TestHostile63_ClockSetForward looks like a day that was slept through: the window is
// over, and what is wrong about that the next page says. Set back again, what came after
// it counts on.
func TestHostile63_ClockSetForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := inMemory(30, 1000)
		spend(a, time.Now(), 900)
		a.Exhausted(time.Now(), 0)
		a.setBack(-day)
		if now := time.Now(); a.Used(now) != 0 || !a.Allowed(now) {
			t.Error("a day later by the clock, the window goes on")
		}
		spend(a, time.Now(), 5)
		a.Exhausted(time.Now(), 0)
		a.setBack(day)
		time.Sleep(probeEvery + time.Second)
		if now := time.Now(); a.Used(now) != 5 || !a.Allowed(now) {
			t.Errorf("%d used, or no probe", a.Used(now))
		}
	})
}

// TestHostile63_ClockSetBackAndForth: what was counted before, and meanwhile, counts until
// the window ends, as if nothing had been; also where the clock of a machine that has just
// started is behind that of the file.
func TestHostile63_ClockSetBackAndForth(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, day, 3650 * day} {
		synctest.Test(t, func(t *testing.T) {
			a, began := inMemory(30, 1000), time.Now()
			spend(a, began, 300)
			time.Sleep(time.Hour)
			a.setBack(by)
			spend(a, time.Now(), 10)
			_, text, _ := strings.Cut(a.ledger.text(time.Now(), false), "\n")
			again := inMemory(30, 1000)
			again.ledger.parse(text) // a program that is started while the clock is behind
			if n, end := again.Used(time.Now()), again.Resets(time.Now()); n != 310 || end.Sub(began.Add(Window)).Abs() > time.Second {
				t.Errorf("%v back, started anew: %d used, until %v", by, n, end)
			}
			a.setBack(-by)
			if n, end := a.Used(time.Now()), a.Resets(time.Now()); n != 310 || end.Sub(began.Add(Window)).Abs() > time.Second {
				t.Errorf("%v back and forth: %d used, until %v", by, n, end)
			}
			a.setBack(-by) // further forth than it ever was
			if n := a.Used(time.Now()); (n == 0) != (by >= Window) {
				t.Errorf("%v forth: %d used", by, n)
			}

			b := inMemory(30, 1000)
			b.window = window{begin: time.Now().Add(by).Unix(), used: 7}
			if n, end := b.Used(time.Now()), b.Resets(time.Now()); n != 7 || end.Sub(time.Now().Add(Window)).Abs() > time.Second {
				t.Errorf("%v behind at the start: %d used, until %v", by, n, end)
			}
			time.Sleep(time.Hour)
			b.setBack(-by)
			if n, end := b.Used(time.Now()), b.Resets(time.Now()); n != 7 || end.Sub(time.Now().Add(Window-time.Hour)).Abs() > time.Second {
				t.Errorf("%v behind at the start, set right: %d used, until %v", by, n, end)
			}
		})
	}
}

// TestHostile63_ClockOfTheFile: what was written by a clock that was ahead by a day, with
// a page, is in the way of the next run for no longer than it said.
func TestHostile63_ClockOfTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		w := window{begin: now.Add(day).Unix(), used: 500, limit: 500, probe: now.Add(day + time.Hour).Unix()}
		a := inMemory(30, 1000)
		a.window = w
		if a.Allowed(now) || a.Used(now) != 500 {
			t.Error("the page is forgotten, or the count")
		}
		if at := now.Add(time.Hour); !a.Allowed(at) {
			t.Errorf("no probe an hour later: %+v", a.Snapshot(at))
		}
	})
}

// TestHostile63_DaysTurn: a quota's day begins with its first attempt, and no midnight of
// any zone, nor a day of 23 or 25 hours, ends it.
func TestHostile63_DaysTurn(t *testing.T) {
	for _, zone := range []string{"UTC", "Asia/Tehran", "Europe/Berlin", "America/Los_Angeles"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Skip("no time zones here:", err)
		}
		for _, date := range []string{"2026-03-28 23:59:59", "2026-10-24 23:59:59", "2026-03-08 01:30:00", "2026-12-31 23:59:59"} {
			first, err := time.ParseInLocation(time.DateTime, date, loc)
			if err != nil {
				t.Fatal(err)
			}
			a := inMemory(30, 1000)
			spend(a, first, 3)
			spend(a, first.Add(2*time.Second), 4)
			if last := first.Add(Window - time.Second); a.Used(last) != 7 {
				t.Errorf("%s of %s: %d used a second before the end", date, zone, a.Used(last))
			}
			if end := first.Add(Window); a.Used(end) != 0 {
				t.Errorf("%s of %s: %d used at the end", date, zone, a.Used(end))
			}
		}
	}
}
