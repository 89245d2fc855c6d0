package gso

import "testing"

// TestLoss: a sender that fills a queue loses many at first, and few now and then.
func TestLoss(t *testing.T) {
	for _, c := range []struct {
		name string
		lost []uint64 // of each window
		at   int      // the window that is one too many; 0: none
	}{
		{"none", []uint64{0, 0, 0, 0, 0, 0}, 0},
		{"the start fills a queue", []uint64{300, 0, 0, 0}, 0},
		{"now and then", []uint64{0, 9, 0, 9, 3, 9, 0}, 0},
		{"just below", []uint64{3, 3, 3, 3, 3, 3, 3}, 0},
		{"just above", []uint64{4, 4, 4}, 3},
		{"later", []uint64{0, 0, 0, 0, 9, 9}, 6},
	} {
		var l Loss
		var sent, lost uint64
		at := 0
		for i, n := range c.lost {
			for k := range 10 {
				sent += lossWindow / 10
				if k == 4 {
					lost += n
				}
				if l.Lossy(sent, lost) && at == 0 {
					at = i + 1
				}
			}
		}
		if at != c.at {
			t.Errorf("%s: lossy after %d windows, want %d", c.name, at, c.at)
		}
	}
	var l Loss
	l.Lossy(lossWindow, 50)
	if l.Lossy(2*lossWindow, 40) { // what was taken for lost has come
		t.Error("lossy, though less is lost than before")
	}
}
