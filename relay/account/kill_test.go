package account

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// afterKill is what another run finds if the program is killed now: the file
// alone.
func afterKill(t testing.TB, dir string) *Ledger {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "quota"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	copied := t.TempDir()
	if err == nil {
		put(t, copied, string(text))
	}
	l, _ := open(copied)
	return l
}

// A kill costs at most half a percent of the quota too much, and at up to 250
// attempts a second at most one percent too little.
func TestHostile87_KillCostsLessThanAPercent(t *testing.T) {
	for _, c := range []struct{ perSecond, seconds, over, under int }{
		{1, 900, 100, 0},
		{20, 600, 100, 0}, // 30 slots at 1.5 s
		{50, 120, 100, 0},
		{250, 40, 100, 200},
	} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			l, _ := open(dir)
			defer l.Close()
			a := l.Account("me", 30, 20000)
			for i := range c.perSecond * c.seconds {
				a.Spend(time.Now())
				if i%1009 == 0 {
					synctest.Wait() // what is written by itself, ends
					off := killed(t, dir) - a.Used(time.Now())
					if off > c.over || off < -c.under {
						t.Errorf("%d a second: off by %d after %d", c.perSecond, off, i+1)
					}
				}
				time.Sleep(time.Second / time.Duration(c.perSecond))
			}
			time.Sleep(2*settleEvery + writeEvery)
			synctest.Wait()
			if got, want := killed(t, dir), c.perSecond*c.seconds; got != want {
				t.Errorf("%d a second: %d counted of %d, after two minutes of rest", c.perSecond, got, want)
			}
		})
	}
}

// killed is what the next run finds used after a kill.
func killed(t *testing.T, dir string) int {
	l := afterKill(t, dir)
	defer l.Close()
	return l.Account("me", 30, 20000).Used(time.Now())
}

// A new window is in the file as soon as it begins.
func TestHostile87_KillInANewWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, _ := open(dir)
		defer l.Close()
		a := l.Account("me", 30, 20000)
		spend(a, time.Now(), 5000)
		time.Sleep(Window - time.Second)
		spend(a, time.Now(), 1)
		time.Sleep(time.Second)
		spend(a, time.Now(), 7)
		time.Sleep(writeEvery)
		synctest.Wait()
		if got := killed(t, dir); got < 7 || got > 107 {
			t.Errorf("%d counted of 7 in the new window", got)
		}
	})
}
