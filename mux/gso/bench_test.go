package gso

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"relaymux/mux/stats"
)

// A way is one way to move a burst of datagrams from one socket to another.
type way struct {
	name             string
	send             func() // the burst
	r                Conn
	sent, wall, cost time.Duration // so far; sent is a part of wall, cost is processor time
}

const (
	benchSize  = 1200 // QUIC's least datagram
	benchBurst = 480
)

// bursts are trains of at most count datagrams each.
func bursts(to netip.AddrPort, count int) (ts []Train) {
	for left := benchBurst; left > 0; left -= count {
		ts = append(ts, trainOf(to, 0, same(min(left, count), benchSize)...))
	}
	return ts
}

// ways are those that the package has, and what it is measured against. pair
// returns two sockets and how the first reaches the second.
func ways(b *testing.B, pair func() (out, in *net.UDPConn, to netip.AddrPort)) []*way {
	all := func(name string, o, ro Options, count, calls int) *way {
		out, in, to := pair()
		o.Stats, o.Buffer, ro.Buffer = new(stats.UDP), BigBuffer, BigBuffer
		w, ts := New(out, o), bursts(to, count)
		return &way{name: name, r: New(in, ro), send: func() {
			for from := 0; from < len(ts); from += calls {
				if _, err := w.WriteTrains(ts[from:min(from+calls, len(ts))]); err != nil {
					b.Fatal(err)
				}
			}
			if n := o.Stats.Dropped[stats.DropSocket].Load(); n > 0 {
				b.Fatal(n, " not sent")
			}
		}}
	}
	out, in, to := pair()
	p := datagram(0, benchSize)
	plain := &way{name: "packet", r: newPortable(in, nil, Options{Buffer: BigBuffer, Stats: new(stats.UDP)}), send: func() {
		for range benchBurst {
			if _, err := out.WriteToUDPAddrPort(p, to); err != nil {
				b.Fatal(err)
			}
		}
	}}
	return []*way{
		plain,
		all("sendmsg", Options{}, Options{}, 1, 1),
		all("sendmmsg", Options{}, Options{}, 1, senderBatch),
		all("GSO", Options{GSO: true}, Options{}, 54, senderBatch),
		all("GSO+GRO", Options{GSO: true}, Options{GRO: true}, 54, senderBatch),
	}
}

// receive reads a whole burst.
func (w *way) receive(b *testing.B, ts []Train) {
	for left := benchBurst; left > 0; {
		n, err := w.r.ReadTrains(ts)
		if err != nil {
			b.Fatalf("%s: %d lost: %v", w.name, left, err)
		}
		for i := range ts[:n] {
			left -= ts[i].Count()
			ts[i].Buf.Release()
		}
	}
}

// compare moves bursts each way in turn, so that what else the machine does
// falls on all alike, and reports how much faster than packet by packet each is.
func compare(b *testing.B, ways []*way) {
	ts := make([]Train, 16)
	for b.Loop() {
		for _, w := range ways {
			start, used := time.Now(), processor(b)
			w.send()
			w.sent += time.Since(start)
			w.receive(b, ts)
			w.wall += time.Since(start)
			w.cost += processor(b) - used
		}
	}
	gigabytes := float64(b.N) * benchBurst * benchSize / 1e9
	b.ReportMetric(0, "ns/op") // of all ways together: no figure
	for _, w := range ways {
		b.ReportMetric(ways[0].wall.Seconds()/w.wall.Seconds(), w.name+":1")
		b.ReportMetric(ways[0].sent.Seconds()/w.sent.Seconds(), w.name+"-send:1")
		b.ReportMetric(w.cost.Seconds()/gigabytes, w.name+"-cpu-s/GB")
	}
}

// Both ends in one goroutine: the cost of sending and receiving together.
func BenchmarkLoopback(b *testing.B) {
	compare(b, ways(b, func() (out, in *net.UDPConn, to netip.AddrPort) {
		out, in = listen(b, "udp4"), listen(b, "udp4")
		_ = in.SetReadDeadline(time.Time{})
		return out, in, portOf(in, "udp4")
	}))
}

// What the queue costs per datagram.
func BenchmarkQueue(b *testing.B) {
	q := &queue{limit: 8 << 20}
	ts := make([]Train, senderBatch)
	b.SetBytes(benchSize)
	p := datagram(0, benchSize)
	i := 0
	for b.Loop() {
		copy(q.reserve(peers[i%3], benchSize, true), p)
		q.commit(benchSize)
		if i++; i%256 == 0 {
			for n := q.take(ts); n > 0; n = q.take(ts) {
				q.done(ts[:n])
			}
		}
	}
}

// Through the whole Sender to a Conn that costs nothing.
func BenchmarkSender(b *testing.B) {
	s := NewSender(nullConn{}, 8<<20, nil, nil)
	defer s.Close()
	p := datagram(0, benchSize)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		copy(s.Reserve(peers[0], benchSize), p)
		s.Commit(benchSize)
	}
}
