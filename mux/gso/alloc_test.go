package gso

import (
	"net/netip"
	"testing"

	"relaymux/mux/stats"
)

// The race detector makes sync.Pool forget at random, so that nothing can be
// said of allocations.
func noAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(200, f); n != 0 && !raceEnabled {
		t.Errorf("%s: %v allocations", what, n)
	}
}

func TestAllocsQueue(t *testing.T) {
	q := &queue{limit: 1 << 20}
	ts := make([]Train, senderBatch)
	noAllocs(t, "plan, three peers in turn", func() {
		for i := range 60 {
			p := q.reserve(peers[i%3], 1200, true)
			p[0] = 1
			q.commit(1200 - i%7)
		}
		for n := q.take(ts); n > 0; n = q.take(ts) {
			q.done(ts[:n])
		}
	})
	noAllocs(t, "overflow", func() {
		for range 2000 {
			q.reserve(peers[0], 1200, true)
			q.commit(1200)
			q.overflow()
		}
	})
}

// A nullConn takes everything.
type nullConn struct{ Conn }

func (nullConn) WriteTrains(ts []Train) (int, error) { return len(ts), nil }

func TestAllocsSender(t *testing.T) {
	s := NewSender(nullConn{}, 1<<20, nil, nil)
	defer s.Close()
	noAllocs(t, "Reserve, Commit and the goroutine that comes and goes", func() {
		s.Reserve(peers[0], 1200)
		s.Commit(1200)
		s.done.Wait()
	})
}

func TestAllocsConn(t *testing.T) {
	for _, network := range []string{"udp4", "udp6", "mapped"} {
		for _, connected := range []bool{false, true} {
			for _, o := range []Options{{}, {GSO: true, GRO: true}} {
				family := network
				if network == "mapped" {
					family = "udp"
				}
				o.Stats = new(stats.UDP)
				in := listen(t, family)
				r := New(in, o)
				to := portOf(in, network)
				w, named := New(listen(t, family), o), to
				if connected {
					w, named = NewConnected(dial(t, to), o), netip.AddrPort{}
				}
				ts := []Train{trainOf(named, 0, same(10, 1200)...), trainOf(named, 0, 90)}
				got := make([]Train, 4)
				noAllocs(t, network+" send and receive", func() {
					if _, err := w.WriteTrains(ts); err != nil {
						t.Fatal(err)
					}
					for left := 11; left > 0; {
						n, err := r.ReadTrains(got)
						if err != nil {
							t.Fatal(err)
						}
						for i := range got[:n] {
							left -= got[i].Count()
							got[i].Buf.Release()
						}
					}
				})
				for i := range ts {
					ts[i].Buf.Release()
				}
			}
		}
	}
}
