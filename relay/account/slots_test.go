package account

import (
	"testing"
	"time"
)

func TestSlots(t *testing.T) {
	now := noon()
	const sameWave = -1 // begun before the one before was refused
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
		{"and one more", 30, []busy{{0, 20}}, 3*time.Minute - 1, 21},
		{"up to what is configured", 30, []busy{{0, 20}}, 11 * time.Minute, 30},
		{"and no further", 30, []busy{{0, 20}}, 1000 * time.Hour, 30},
		{"at least one", 30, []busy{{0, 1}}, 0, 1},
		{"none in flight", 30, []busy{{0, 0}}, 0, 1},
		{"a burst of refusals", 30, []busy{{0, 30}, {0, 29}, {0, 28}}, 0, 27},
		{"more in flight than known", 30, []busy{{0, 20}, {0, 30}}, 0, 19},
		{"far fewer than there were double", 30, []busy{{0, 2}}, 2 * time.Minute, 4},
		{"up to half of those", 30, []busy{{0, 2}}, 4 * time.Minute, 15},
		{"then by one", 30, []busy{{0, 2}}, 5 * time.Minute, 16},
		{"to all of them", 30, []busy{{0, 2}}, 19 * time.Minute, 30},
		{"a step too far", 30, []busy{{0, 11}, {5 * time.Minute, 15}}, 0, 18},
		{"a doubling too far", 30, []busy{{0, 5}, {time.Minute, 8}}, 0, 4},
		{"with all that it took along", 30, []busy{{0, 5}, {time.Minute, 8}, {sameWave, 7}, {sameWave, 1}}, 0, 4},
		{"once doubled too far, by one", 30, []busy{{0, 5}, {time.Minute, 8}}, 2 * time.Minute, 6},
		{"others take more after a step too far", 30, []busy{{0, 5}, {time.Minute, 8}, {time.Second, 3}}, 0, 2},
		{"others come when all were back for long", 30, []busy{{0, 10}, {240 * time.Hour, 30}, {sameWave, 20}, {sameWave, 6}}, 0, 5},
		{"the clock went back", 30, []busy{{0, 10}}, -time.Hour, 9},
	} {
		a, at := inMemory(c.most, 1000), now
		for _, b := range c.busy {
			began := at.Add(-time.Second)
			if b.after >= 0 {
				at = at.Add(b.after)
				began = at
			}
			a.Busy(at, began, b.inFlight)
		}
		if got := a.Slots(at.Add(c.after)); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
