package account

import (
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is when the tests begin.
func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// inMemory returns an account that no file keeps.
func inMemory(slots, daily int) *Account {
	return Open("", slog.New(slog.DiscardHandler)).Account("me", slots, daily)
}

func spend(a *Account, now time.Time, times int) {
	for range times {
		a.Spend(now)
	}
}

func TestWindow(t *testing.T) {
	a, now := inMemory(30, 1000), noon()
	if a.Used(now) != 0 || a.Left(now) != 1000 || !a.Resets(now).IsZero() {
		t.Error("something was used before the first attempt")
	}
	spend(a, now, 3)
	spend(a, now.Add(23*time.Hour), 2)
	end := now.Add(Window)
	if got := a.Resets(now); !got.Equal(end) {
		t.Errorf("resets at %v, want %v: a day after the first attempt", got, end)
	}
	if last := end.Add(-time.Second); a.Used(last) != 5 || a.Left(last) != 995 || a.Share(last) != 0.995 {
		t.Errorf("a second before the end: %d used, %d left", a.Used(last), a.Left(last))
	}
	if a.Used(end) != 0 || a.Left(end) != 1000 || !a.Resets(end).IsZero() {
		t.Errorf("at the end: %d used, %d left", a.Used(end), a.Left(end))
	}
	later := end.Add(5 * time.Hour)
	a.Spend(later)
	if got, want := a.Resets(later), later.Add(Window); !got.Equal(want) {
		t.Errorf("the next window ends at %v, want %v", got, want)
	}
	spend(a, later, 1500)
	if a.Left(later) != 0 || !a.Allowed(later) {
		t.Error("what is left went below 0, or forbids attempts although no page came")
	}
}

// A clock that was ahead neither loses the count nor keeps it for ever.
func TestHostile63_WindowOfAClockThatWasAhead(t *testing.T) {
	a, now := inMemory(30, 1000), noon()
	spend(a, now.AddDate(10, 0, 0), 7)
	a.Exhausted(now.AddDate(10, 0, 0), 0)
	if a.Used(now) != 7 || !a.Resets(now).Equal(now.Add(Window)) {
		t.Errorf("%d used, until %v", a.Used(now), a.Resets(now))
	}
	if now = now.Add(Window); a.Used(now) != 0 || !a.Allowed(now) {
		t.Error("the window goes on")
	}
}

func TestReserve(t *testing.T) {
	for quota, want := range map[int]int{0: 0, 1: 0, 2: 1, 199: 99, 200: 100, 2000: 100, 2020: 101, 20000: 1000, 100000: 5000} {
		if got := reserveOf(quota); got != want {
			t.Errorf("of %d: %d, want %d", quota, got, want)
		}
	}
	now := noon()
	for _, c := range []struct {
		quota, used int
		bulk, hedge bool
	}{
		{20000, 0, true, true},
		{20000, 17999, true, true},
		{20000, 18000, true, false},
		{20000, 18999, true, false},
		{20000, 19000, false, false},
		{20000, 20001, false, false},
		{0, 1 << 20, true, true},
		{1, 0, true, true},
		{1, 1, false, false},
	} {
		a := inMemory(30, c.quota)
		a.Told(now, c.used)
		if a.MayBulk(now) != c.bulk || a.MayHedge(now) != c.hedge {
			t.Errorf("%d of %d: bulk %v, hedge %v", c.used, c.quota, a.MayBulk(now), a.MayHedge(now))
		}
	}
}

func TestTold(t *testing.T) {
	a, now := inMemory(30, 1000), noon()
	spend(a, now, 10)
	for _, c := range []struct{ total, want int }{{9, 10}, {10, 10}, {0, 10}, {-1, 10}, {25, 25}, {24, 25}, {math.MaxInt, maxCount}} {
		if a.Told(now, c.total); a.Used(now) != c.want {
			t.Errorf("told %d: %d used, want %d", c.total, a.Used(now), c.want)
		}
	}
	b := inMemory(30, 1000)
	if b.Told(now, 5); !b.Resets(now).Equal(now.Add(Window)) {
		t.Error("others' attempts begin no window")
	}
	b.Spend(now)
	if b.Used(now) != 6 {
		t.Errorf("%d used, want what others did and one", b.Used(now))
	}
}

// After a page nothing leaves but a probe now and then, until the window ends.
func TestHostile72_Page(t *testing.T) {
	for _, c := range []struct{ hint, wait time.Duration }{
		{0, time.Hour}, {time.Second, time.Minute}, {time.Minute, time.Minute}, {10 * time.Minute, 10 * time.Minute},
		{5 * time.Hour, 5 * time.Hour}, {Window - time.Second, Window - time.Second},
	} {
		a, now := inMemory(30, 1000), noon()
		spend(a, now, 800)
		a.Exhausted(now, c.hint)
		if a.Allowed(now) || a.Left(now) != 0 || a.Share(now) != 0 || a.MayBulk(now) || a.MayHedge(now) {
			t.Errorf("hint %v: something is left after a page", c.hint)
		}
		if a.Allowed(now.Add(c.wait - time.Second)) {
			t.Errorf("hint %v: a probe too early", c.hint)
		}
		now = now.Add(c.wait)
		if !a.Allowed(now) {
			t.Fatalf("hint %v: no probe after %v", c.hint, c.wait)
		}
		if a.Spend(now); a.Allowed(now) || a.Used(now) != 801 {
			t.Errorf("hint %v: a second probe at once, or %d used", c.hint, a.Used(now))
		}
		if end := noon().Add(Window); !a.Allowed(end) || a.Left(end) != 1000 {
			t.Errorf("hint %v: the page outlives its window", c.hint)
		}
	}
	a, now := inMemory(30, 0), noon()
	a.Exhausted(now, 100*Window)
	if a.Left(now) != 0 || a.Share(now) != 0 || a.Allowed(now) || !a.Allowed(now.Add(Window)) {
		t.Error("a page without a quota and without an attempt")
	}
}

// A probe that comes back well ends a page. Was it a true one, then a window
// has begun with the probe.
func TestHostile72_Probe(t *testing.T) {
	for _, c := range []struct {
		name       string
		spent      int
		want, left int
		reset      time.Duration // after noon
	}{
		{"near the quota", 990, 1, 999, 2*time.Hour + Window},
		{"at half of it", 500, 1, 999, 2*time.Hour + Window},
		{"below half", 499, 500, 500, Window},
	} {
		a, now := inMemory(30, 1000), noon()
		spend(a, now, c.spent)
		before, page := now.Add(time.Second), now.Add(2*time.Second)
		a.Exhausted(page, 0)
		if a.Served(page.Add(time.Second), before); a.Allowed(page.Add(time.Minute)) {
			t.Errorf("%s: an answer to what left before the page ended it", c.name)
		}
		now = now.Add(2 * time.Hour)
		a.Spend(now)
		a.Served(now.Add(time.Second), now)
		if !a.Allowed(now) || a.Used(now) != c.want || a.Left(now) != c.left || !a.Resets(now).Equal(noon().Add(c.reset)) {
			t.Errorf("%s: %d used, %d left, until %v", c.name, a.Used(now), a.Left(now), a.Resets(now))
		}
	}
}

func TestSnapshot(t *testing.T) {
	a, now := inMemory(30, 1000), noon()
	spend(a, now, 400)
	a.Busy(now, now, 21)
	got := a.Snapshot(now)
	want := Snapshot{
		Name: "me", Slots: 20, MostSlots: 30, Quota: 1000, Used: 400, Left: 600, Reserve: 100,
		Resets: time.Unix(noon().Add(Window).Unix(), 0), PerHour: a.Rate(now), Lasts: a.Lasts(now),
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	a.Exhausted(now, 0)
	if s := a.Snapshot(now); !s.Exhausted || s.Left != 0 || !s.Probe.Equal(now.Add(time.Hour)) {
		t.Errorf("after a page: %+v", s)
	}
	if s := inMemory(30, 0).Snapshot(now); s.Left != 0 || s.Quota != 0 || !s.Resets.IsZero() || s.Lasts != Window {
		t.Errorf("without a quota: %+v", s)
	}
}

// Asked for again, an account has the new numbers and the old count.
func TestReload(t *testing.T) {
	l, now := Open("", slog.New(slog.DiscardHandler)), noon()
	a := l.Account("me", 30, 1000)
	spend(a, now, 10)
	a.Busy(now, now, 10)
	if b := l.Account("me", 5, 50); b != a || a.Left(now) != 40 || a.Slots(now) != 5 {
		t.Errorf("%d left, %d slots", a.Left(now), a.Slots(now))
	}
	if l.Account("you", 1, 1).Used(now) != 0 {
		t.Error("two accounts share a count")
	}
}

func TestNoAllocs(t *testing.T) {
	a, now := inMemory(30, 20000), noon()
	calls := func() {
		now = now.Add(time.Millisecond)
		if a.Allowed(now) && a.MayBulk(now) && a.MayHedge(now) && a.Slots(now) > 0 && a.Share(now) > 0 {
			a.Spend(now)
			a.Served(now, now)
			a.Busy(now, now, 20)
		}
	}
	if n := testing.AllocsPerRun(1000, calls); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// For the race detector.
func TestConcurrentUse(t *testing.T) {
	l, start := Open(t.TempDir(), slog.New(slog.DiscardHandler)), time.Now()
	defer l.Close()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 200 {
				a, now := l.Account("me", 30, 20000), start.Add(time.Duration(i)*time.Millisecond)
				a.Spend(now)
				a.Served(now, now)
				a.Told(now, i)
				a.Busy(now, now, i)
				_ = a.Snapshot(now)
				_ = a.MayBulk(now) && a.Allowed(now)
			}
		})
	}
	all.Wait()
	if got := l.Account("me", 30, 20000).Used(time.Now()); got != 1600 {
		t.Errorf("%d of 1600 counted", got)
	}
}

func BenchmarkSpend(b *testing.B) {
	a, now := inMemory(30, 20000), noon()
	b.ReportAllocs()
	for b.Loop() {
		if a.Allowed(now) {
			a.Spend(now)
		}
	}
}
