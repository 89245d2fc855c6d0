package link

import "slices"

// A span is the numbers lo <= n < hi.
type span struct{ lo, hi uint64 }

// ranges is a set of numbers: spans in order, which neither overlap nor touch.
// Numbers that arrive nearly in order make very few of them.
type ranges []span

// add puts lo <= n < hi into the set, and returns how many of these were new.
func (r *ranges) add(lo, hi uint64) (fresh uint64) {
	if lo >= hi {
		return 0
	}
	s := *r
	// The spans from i to j overlap or touch the new one.
	i, _ := slices.BinarySearchFunc(s, lo, func(e span, lo uint64) int {
		if e.hi < lo {
			return -1
		}
		return 1
	})
	j, fresh := i, hi-lo
	for ; j < len(s) && s[j].lo <= hi; j++ {
		fresh -= min(hi, s[j].hi) - max(lo, s[j].lo)
	}
	if i == j {
		*r = slices.Insert(s, i, span{lo, hi})
		return fresh
	}
	s[i] = span{min(lo, s[i].lo), max(hi, s[j-1].hi)}
	*r = slices.Delete(s, i+1, j)
	return fresh
}

// has reports whether n is in the set.
func (r ranges) has(n uint64) bool {
	i, found := slices.BinarySearchFunc(r, n, func(e span, n uint64) int {
		switch {
		case e.hi <= n:
			return -1
		case e.lo > n:
			return 1
		}
		return 0
	})
	return found && i < len(r)
}

// covers reports whether all of lo <= n < hi is in the set.
func (r ranges) covers(lo, hi uint64) bool {
	for _, e := range r {
		if e.lo <= lo && hi <= e.hi {
			return true
		}
	}
	return lo >= hi
}

// trim takes out what is below n.
func (r *ranges) trim(n uint64) {
	s := *r
	i := 0
	for i < len(s) && s[i].hi <= n {
		i++
	}
	s = s[:copy(s, s[i:])]
	if len(s) > 0 && s[0].lo < n {
		s[0].lo = n
	}
	*r = s
}

// remove takes lo <= n < hi out.
func (r *ranges) remove(lo, hi uint64) {
	if lo >= hi {
		return
	}
	var out ranges
	for _, e := range *r {
		if e.hi <= lo || e.lo >= hi {
			out = append(out, e)
			continue
		}
		if e.lo < lo {
			out = append(out, span{e.lo, lo})
		}
		if e.hi > hi {
			out = append(out, span{hi, e.hi})
		}
	}
	*r = out
}

// size is how many numbers are in the set.
func (r ranges) size() (n uint64) {
	for _, e := range r {
		n += e.hi - e.lo
	}
	return n
}
