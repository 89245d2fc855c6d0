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
	return median(all), true
}

// mostSlope are what slopes may be in any case: descriptors and goroutines a minute. Memory
// under load has no bound: it goes by what is on its way, and up and down for a quarter of
// an hour with the weather. What leaks is there at rest, after two collections (mostMore).
var mostSlope = [figures]float64{heap: math.Inf(1), memory: math.Inf(1), descriptors: 0.5, goroutines: 1}

// bound is how much the slope of these points may be: mostSlope, or four times what it is
// by chance, as the values vary, if they do not grow.
func bound(figure int, points []point, slope float64) float64 {
	return max(mostSlope[figure], 4*chance(points, slope))
}

// chance is the standard error of a slope: of n points a minute apart, whose values are so
// far from its line, spread * sqrt(12) / n^1.5. The spread is the median of the distances
// from their median, for the normal distribution (times 1.4826), which outliers do not move.
func chance(points []point, slope float64) float64 {
	if len(points) < 2 {
		return 0
	}
	off := make([]float64, len(points))
	for i, p := range points {
		off[i] = p.value - slope*p.minute
	}
	middle := median(off)
	for i := range off {
		off[i] = math.Abs(off[i] - middle)
	}
	return 1.4826 * median(off) * math.Sqrt(12) / math.Pow(float64(len(points)), 1.5)
}

// median sorts values, of which there is one at least.
func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
