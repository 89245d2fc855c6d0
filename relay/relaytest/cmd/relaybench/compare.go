package main

import "fmt"

// worseBy is by what factor a figure may be worse than its baseline: less is what a
// noisy machine does by itself.
const worseBy = 1.25

// change is what a figure is to its baseline; false if either has none. What depends on
// the machine is its ratio to plain loopback, of either run, and memory itself.
func change(now, old *report, f figure, way string) (float64, bool) {
	a, ok1 := now.comparable(f, way)
	b, ok2 := old.comparable(f, way)
	if !ok1 || !ok2 || b <= 0 {
		return 0, false
	}
	return a / b, true
}

func (r *report) comparable(f figure, way string) (value float64, ok bool) {
	if f.absolute {
		value, ok = r.Figures[f.name][way]
		return value, ok
	}
	return r.ratio(f, way)
}

// worse reports whether a change is too much for the worse.
func (f figure) worse(change float64) bool {
	if f.rate {
		return change*worseBy < 1
	}
	return change > worseBy
}

// compare is a table of the changes, and how many are for the worse.
func compare(now, old *report, figures []figure, ways []way) (t table, worse int) {
	t = newTable("new/old", ways[1:]) // loopback is what both are compared with
	for _, f := range figures {
		line := []string{f.label()}
		for _, w := range ways[1:] {
			c, ok := change(now, old, f, w.name)
			switch {
			case !ok:
				line = append(line, "")
			case f.worse(c):
				worse++
				line = append(line, fmt.Sprintf("%.2f WORSE", c))
			default:
				line = append(line, fmt.Sprintf("%.2f", c))
			}
		}
		t.add(line, 1)
	}
	return t, worse
}
