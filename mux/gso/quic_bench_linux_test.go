package gso

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"relaymux/mux/stats"
)

const benchStream = 64 << 20

// A quicWay is a connection over one kind of sockets.
type quicWay struct {
	name       string
	conn       *quic.Conn
	st         stats.UDP
	wall, cost time.Duration
}

// quicWays are connections over plain sockets, as quic-go reads them, and over
// ours. pair returns two sockets and how the second reaches the first.
func quicWays(b *testing.B, pair func() (in, out *net.UDPConn, to netip.AddrPort)) []*quicWay {
	var ways []*quicWay
	for _, x := range []struct {
		name string
		o    *Options
	}{{"quic-go", nil}, {"no-GRO", &Options{GSO: true}}, {"GRO", &Options{GSO: true, GRO: true}}} {
		in, out, to := pair()
		w := &quicWay{name: x.name}
		var far, near net.PacketConn = in, out
		if x.o != nil {
			x.o.Buffer, x.o.Stats = BigBuffer, &w.st
			far, near = NewQUIC(in, *x.o), NewQUIC(out, *x.o)
		}
		w.conn = benchEnds(b, far, near, net.UDPAddrFromAddrPort(to))
		ways = append(ways, w)
	}
	return ways
}

// benchEnds connects two ends, of which the far one sends benchStream bytes on each
// stream.
func benchEnds(b *testing.B, far, near net.PacketConn, to net.Addr) *quic.Conn {
	serverTLS, clientTLS := quicTLS(b)
	config := &quic.Config{
		InitialStreamReceiveWindow: 8 << 20, InitialConnectionReceiveWindow: 8 << 20,
		MaxStreamReceiveWindow: 16 << 20, MaxConnectionReceiveWindow: 16 << 20,
	}
	ft, nt := &quic.Transport{Conn: far}, &quic.Transport{Conn: near}
	ln, err := ft.Listen(serverTLS, config)
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		conn, err := ln.Accept(context.Background())
		if err != nil {
			return
		}
		block := make([]byte, 1<<20)
		for {
			s, err := conn.AcceptStream(context.Background())
			if err != nil {
				return
			}
			for range benchStream / len(block) {
				if _, err := s.Write(block); err != nil {
					return
				}
			}
			s.Close()
		}
	}()
	conn, err := nt.Dial(context.Background(), to, clientTLS, config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = conn.CloseWithError(0, "")
		nt.Close()
		ln.Close()
		ft.Close()
	})
	return conn
}

func (w *quicWay) fetch(b *testing.B, block []byte) {
	s, err := w.conn.OpenStreamSync(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	_, _ = s.Write([]byte("go"))
	s.Close()
	for n := 0; n < benchStream; {
		k, err := s.Read(block)
		if n += k; err != nil && (err != io.EOF || n != benchStream) {
			b.Fatal(n, err)
		}
	}
}

// compareQUIC moves a stream each way in turn.
func compareQUIC(b *testing.B, ways []*quicWay) {
	block := make([]byte, 256<<10)
	for _, w := range ways {
		w.fetch(b, block) // the congestion window grows
	}
	for b.Loop() {
		for _, w := range ways {
			start, used := time.Now(), processor(b)
			w.fetch(b, block)
			w.wall += time.Since(start)
			w.cost += processor(b) - used
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, w := range ways {
		bytes := float64(b.N) * benchStream
		b.ReportMetric(bytes/1e6/w.wall.Seconds(), w.name+"-MB/s")
		b.ReportMetric(w.cost.Seconds()*1e9/bytes, w.name+"-cpu-s/GB")
		if n := w.st.Received.Trains.Load(); n > 0 {
			b.Logf("%s: %.1f datagrams a train sent, %.1f read, %d overflown, %.3f bytes sent for one", w.name,
				float64(w.st.Sent.Datagrams.Load())/float64(w.st.Sent.Trains.Load()), float64(w.st.Received.Datagrams.Load())/float64(n),
				w.st.Dropped[stats.DropOverflow].Load(), float64(w.st.Sent.Bytes.Load())/float64((b.N+1)*benchStream))
		}
	}
}

func BenchmarkQUICLoopback(b *testing.B) {
	compareQUIC(b, quicWays(b, func() (in, out *net.UDPConn, to netip.AddrPort) {
		in, out = listen(b, "udp4"), listen(b, "udp4")
		_, _ = in.SetReadDeadline(time.Time{}), out.SetReadDeadline(time.Time{})
		return in, out, portOf(in, "udp4")
	}))
}

// Over a veth whose trains the kernel cuts before the device, and puts together
// behind it.
func BenchmarkQUICVeth(b *testing.B) {
	for _, regroup := range []bool{true, false} {
		b.Run(map[bool]string{true: "regrouped", false: "single"}[regroup], func(b *testing.B) {
			w := newWire(b)
			w.run("ip -n " + w.far + " link set vb gso_max_segs 1")
			w.software()
			if regroup {
				w.regroup()
			}
			compareQUIC(b, quicWays(b, func() (in, out *net.UDPConn, to netip.AddrPort) {
				in, out = w.listen(w.near, near4), w.listen(w.far, far4)
				_, _ = in.SetReadDeadline(time.Time{}), out.SetReadDeadline(time.Time{})
				return in, out, netip.AddrPortFrom(near4, portOf(in, "udp4").Port())
			}))
		})
	}
}
