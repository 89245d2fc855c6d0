package tune

import (
	"math"
	"slices"
	"time"
)

// When one settings is clearly better than another. Relays vary, so each is tried in
// turns with the other, and medians are compared; and what the medians say every pair of
// trials must say too.
const (
	clearlyFaster  = 1.10 // a tenth faster (what is r times as fast may cost r^2 times the exchanges),
	clearlyCheaper = 1.25 // or a fifth fewer exchanges,
	fewerAtLeast   = 2    // and two of them, for one is chance,
	asFast         = 0.96 // at about the same speed;
	muchSlower     = 0.80 // and nothing of it takes a quarter longer
)

// A Verdict is how one settings did against another. Above 1 it is better.
type Verdict struct {
	Faster  float64 `json:"faster"`  // the mean of its parts
	Cheaper float64 `json:"cheaper"` // in exchanges
	Pairs   int     `json:"pairs"`

	// Parts are those of the former: of a bulk the upload and the download.
	Parts []float64 `json:"parts"`

	Better bool `json:"better"` // clearly
	Worse  bool `json:"worse"`  // clearly
}

// judge compares pairs of trials of one part: with the settings in use, and with others.
func judge(with, without []sample) (v Verdict) {
	v.Pairs = min(len(with), len(without))
	if v.Pairs == 0 {
		return v
	}
	var a, b []float64
	for i := range with[0].took {
		a, b = a[:0], b[:0]
		for k := range v.Pairs {
			a, b = append(a, with[k].took[i].Seconds()), append(b, without[k].took[i].Seconds())
		}
		v.Parts = append(v.Parts, median(b)/max(median(a), 1e-6))
	}
	v.Faster = mean(v.Parts)
	a, b = a[:0], b[:0]
	for k := range v.Pairs {
		a, b = append(a, float64(with[k].exchanges)), append(b, float64(without[k].exchanges))
	}
	v.Cheaper = median(b) / max(median(a), 1)
	fewer := median(b) - median(a)
	agree := func(yes func(faster, cheaper float64) bool) bool {
		for k := range v.Pairs {
			if !yes(pair(with[k], without[k])) {
				return false
			}
		}
		return v.Pairs > 1
	}
	faster := v.Faster >= clearlyFaster && v.Faster*v.Faster*v.Cheaper >= 1 && slices.Min(v.Parts) >= muchSlower &&
		agree(func(faster, _ float64) bool { return faster > 1 })
	cheaper := v.Cheaper >= clearlyCheaper && fewer >= fewerAtLeast && v.Faster >= asFast && slices.Min(v.Parts) >= muchSlower &&
		agree(func(_, cheaper float64) bool { return cheaper > 1 })
	v.Better = faster || cheaper
	v.Worse = v.Faster*clearlyFaster <= 1 && agree(func(faster, _ float64) bool { return faster < 1 })
	return v
}

// pair compares two trials.
func pair(with, without sample) (faster, cheaper float64) {
	var parts []float64
	for i := range with.took {
		parts = append(parts, without.took[i].Seconds()/max(with.took[i], time.Microsecond).Seconds())
	}
	return mean(parts), float64(without.exchanges) / max(float64(with.exchanges), 1)
}

// median is the middle one, of two the mean.
func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// mean is the geometric one, as ratios want it.
func mean(ratios []float64) float64 {
	sum := 0.0
	for _, r := range ratios {
		sum += math.Log(max(r, 1e-6))
	}
	return math.Exp(sum / float64(len(ratios)))
}
