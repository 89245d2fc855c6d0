package account

import (
	"testing"
	"time"
)

func TestRate(t *testing.T) {
	a, now := inMemory(30, 1000), noon()
	if a.Rate(now) != 0 || a.Lasts(now) != Window {
		t.Errorf("at rest: %v an hour, %v left", a.Rate(now), a.Lasts(now))
	}
	for range 360 { // an hour of one in 10 s
		now = now.Add(10 * time.Second)
		a.Spend(now)
	}
	if r := a.Rate(now); r < 350 || r > 370 {
		t.Errorf("%v an hour, want 360", r)
	}
	want := time.Duration(float64(640) / a.Rate(now) * float64(time.Hour))
	if got := a.Lasts(now); got != want || got < 100*time.Minute {
		t.Errorf("lasts for %v, want %v", got, want)
	}
	if r := a.Rate(now.Add(time.Hour)); r > 1 {
		t.Errorf("%v an hour after an hour of rest", r)
	}
	if a.Rate(now.Add(-time.Hour)) > 370 {
		t.Error("the clock went back and the rate is up")
	}
	if a.Exhausted(now, 0); a.Lasts(now) != 0 {
		t.Error("something lasts after a page")
	}
}
