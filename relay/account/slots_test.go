package account

import (
	"testing"
	"time"
)

func TestSlots(t *testing.T) {
	now := noon()
	type busy struct {
		after    time.Duration
		inFlight int
	}
	for _, c := range []struct {
		name  string
		most  int
		busy  []busy
		after time.Duration
		want  int
	}{
		{"none refused", 30, nil, 0, 30},
		{"fewer than 1", 0, nil, 0, 1},
		{"one is refused at 20", 30, []busy{{0, 20}}, 0, 19},
		{"for a minute", 30, []busy{{0, 20}}, time.Minute - 1, 19},
		{"then one more", 30, []busy{{0, 20}}, time.Minute, 20},
		{"then two", 30, []busy{{0, 20}}, 2 * time.Minute, 22},
		{"then four", 30, []busy{{0, 20}}, 4*time.Minute - 1, 26},
		{"up to what is configured", 30, []busy{{0, 20}}, 4 * time.Minute, 30},
		{"all of them", 30, []busy{{0, 1}}, 5 * time.Minute, 30},
		{"and no further", 30, []busy{{0, 20}}, 1000 * time.Hour, 30},
		{"at least one", 30, []busy{{0, 1}}, 0, 1},
		{"none in flight", 30, []busy{{0, 0}}, 0, 1},
		{"a burst of refusals", 30, []busy{{0, 30}, {0, 29}, {0, 28}}, 0, 27},
		{"more in flight than known", 30, []busy{{0, 20}, {0, 30}}, 0, 19},
		{"again while growing", 30, []busy{{0, 10}, {5 * time.Minute, 15}}, 0, 14},
		{"the clock went back", 30, []busy{{0, 10}}, -time.Hour, 9},
	} {
		a, at := inMemory(c.most, 1000), now
		for _, b := range c.busy {
			at = at.Add(b.after)
			a.Busy(at, b.inFlight)
		}
		if got := a.Slots(at.Add(c.after)); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
