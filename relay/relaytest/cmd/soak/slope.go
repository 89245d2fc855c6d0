package main

import (
	"math"
	"slices"
	"time"
)

// minima are the least values of a figure in each minute of a life, without the first of
// it: what a process takes at least, under a load that comes and goes, is what it keeps.
func minima(samples []sample, figure int, from, to time.Time, young time.Duration) (points []point) {
	last := point{}
	for _, s := range samples {
		if s.at.Before(from) || s.at.After(to) || s.age < young {
			continue
		}
		minute := math.Floor(s.at.Sub(from).Minutes())
		if len(points) == 0 || last.minute != minute || last.life != s.life {
			points = append(points, point{minute, s.values[figure], s.life})
		}
		p := &points[len(points)-1]
		p.value = min(p.value, s.values[figure])
		last = *p
	}
	return points
}

// A point is a value at a time.
type point struct {
	minute, value float64
	life          int
}

// slope is by how much values grow in a minute: the median of what any two of the same
// life say (Theil and Sen), which a few outliers do not move. It is not known of too few.
func slope(points []point) (perMinute float64, ok bool) {
	var all []float64
	for i, a := range points {
		for _, b := range points[i+1:] {
			if a.life == b.life && b.minute > a.minute {
				all = append(all, (b.value-a.value)/(b.minute-a.minute))
			}
		}
	}
	if len(all) < 6 {
		return 0, false
	}
	slices.Sort(all)
	return all[len(all)/2], true
}

// mostSlope are the bounds of an hour's slopes: KB, descriptors and goroutines a minute.
// A bound is about three times what the slope of a process that does not grow is by
// chance, with minima that vary by 5 MB, 10 and 30. What is resident has none: it goes up
// with each peak of the heap, and down for minutes after it.
var mostSlope = [figures]float64{heap: 100, memory: math.Inf(1), descriptors: 0.5, goroutines: 1}

// bound is mostSlope for a soak of so many minutes; chance is larger in a short one, as
// the number of points to the power of 1.5.
func bound(figure int, minutes float64) float64 {
	return mostSlope[figure] * max(1, math.Pow(60/max(minutes, 1), 1.5))
}
