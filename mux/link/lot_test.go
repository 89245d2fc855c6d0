package link

import (
	"testing"
	"time"
)

// A lot fits the line, and follows it, also where a buffer takes most of the writes
// at once and makes the others wait; what is little tells nothing of a fast line.
func TestLot(t *testing.T) {
	const buffer = 64 << 10
	for _, c := range []struct {
		name  string
		write func(l *Lot, perSecond int)
	}{
		{"evenly", func(l *Lot, perSecond int) {
			for sum := 0; sum < 2*lotSure; sum += l.Size() {
				l.Wrote(l.Size(), time.Duration(l.Size())*time.Second/time.Duration(perSecond))
			}
		}},
		{"in a buffer", func(l *Lot, perSecond int) {
			waiting := 0
			for sum := 0; sum < 2*lotSure; sum += l.Size() {
				n := l.Size()
				if waiting += n; waiting < buffer {
					l.Wrote(n, 0)
					continue
				}
				l.Wrote(n, time.Duration(waiting)*time.Second/time.Duration(perSecond))
				waiting = 0
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l Lot
			for _, line := range []struct{ perSecond, most, least int }{
				{1 << 30, lotMost, lotMost}, {500_000, 150_000, 90_000}, {1 << 20, lotMost, 160_000}, {1000, LotLeast, LotLeast}, {1 << 30, lotMost, lotMost},
			} {
				c.write(&l, line.perSecond)
				if l.Size() > line.most || l.Size() < line.least {
					t.Errorf("%d bytes at %d a second", l.Size(), line.perSecond)
				}
			}
			c.write(&l, 500_000)
			for range 10 {
				l.Wrote(100, 0)
			}
			if l.Size() > 150_000 {
				t.Errorf("%d bytes after some that were little", l.Size())
			}
		})
	}
}
