package link

import (
	"math/rand/v2"
	"testing"
)

func TestReplayEdges(t *testing.T) {
	var r Replay
	fresh := func(n uint64, want bool) {
		t.Helper()
		if r.Fresh(n) != want {
			t.Errorf("%d: %v", n, !want)
		}
	}
	fresh(0, true)
	fresh(0, false)
	const top = 1_000_000
	fresh(top, true)
	fresh(top, false)
	fresh(top-ReplayWindow, false) // below
	fresh(top-ReplayWindow+1, true)
	fresh(top-ReplayWindow+1, false)
	fresh(top-1, true)
	fresh(top+1, true)
	fresh(top-ReplayWindow+1, false) // has just fallen out
	fresh(top-ReplayWindow+2, true)
	fresh(0, false)
	fresh(top+1+ReplayWindow, true)
	fresh(top+1, false)
	fresh(top+2, true)
	fresh(MaxRecords-1, true)
	fresh(1<<64-1, true)
	fresh(1<<64-1, false)
	fresh(1<<64-ReplayWindow, true)
	fresh(1<<64-ReplayWindow-1, false)
}

// Every number of three windows once, in an order that is as wrong as it may
// be, and each again.
func TestReplayReordered(t *testing.T) {
	var r Replay
	const all, near = 3 * ReplayWindow, ReplayWindow / 2
	numbers := make([]uint64, all)
	for i := range numbers {
		numbers[i] = uint64(i)
	}
	for at := 0; at < all; at += near {
		part := numbers[at : at+near]
		rand.Shuffle(near, func(i, j int) { part[i], part[j] = part[j], part[i] })
	}
	for _, n := range numbers {
		if !r.Fresh(n) {
			t.Fatal(n, "is taken for a repeated one")
		}
		if r.Fresh(n) {
			t.Fatal(n, "is not remembered")
		}
	}
	for _, n := range numbers {
		if r.Fresh(n) {
			t.Fatal(n, "is forgotten")
		}
	}
}

// Against the plainest model, in small and large steps up and down.
func TestReplayModel(t *testing.T) {
	var r Replay
	seen := map[uint64]bool{}
	var top uint64
	for range 200_000 {
		n := top + rand.Uint64N(300)
		switch rand.IntN(20) {
		case 0:
			n = top + rand.Uint64N(2*ReplayWindow)
		case 1, 2, 3, 4, 5, 6, 7, 8:
			n = top - min(top, rand.Uint64N(ReplayWindow+100))
		}
		want := !seen[n] && (n > top || top-n < ReplayWindow)
		if got := r.Fresh(n); got != want {
			t.Fatalf("%d below %d: %v", n, top, got)
		}
		seen[n] = true
		top = max(top, n)
	}
}

func TestReplayMemory(t *testing.T) {
	var r Replay
	for n := range uint64(replayPageBits) {
		r.Fresh(1_000*replayPageBits + n)
	}
	pages := func() (n int) {
		for _, p := range r.pages {
			if p != nil {
				n++
			}
		}
		return n
	}
	if n := pages(); n != 1 {
		t.Error(n, "pages for one page of numbers")
	}
	for n := range uint64(100 * replayPageBits) {
		r.Fresh(2_000*replayPageBits + n)
	}
	if n := pages(); n != replayPages {
		t.Error(n, "pages")
	}
}

func BenchmarkReplay(b *testing.B) {
	var r Replay
	var n uint64
	for b.Loop() {
		n++
		r.Fresh(n)
	}
}
