package gso

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"relaymux/mux/stats"
)

// trainsHere: this system sends and receives trains.
const trainsHere = true

var _ quic.OOBCapablePacketConn = (*quicConn)(nil)

// refuseSends has the system refuse each third message that picky says, trains or
// single datagrams, with errno.
func (c *quicConn) refuseSends(trains bool, errno unix.Errno) (refused *atomic.Int64) {
	send, refused, turn := c.send, new(atomic.Int64), new(atomic.Int64)
	c.send = func(b, oob []byte, to *net.UDPAddr) (int, int, error) {
		_, size := findSegment(oob)
		if (size > 0) == trains && turn.Add(1)%3 == 0 {
			refused.Add(1)
			return 0, 0, &net.OpError{Op: "write", Err: os.NewSyscallError("sendmsg", errno)}
		}
		return send(b, oob, to)
	}
	return refused
}

// Whatever the system answers to trains, the connection goes on and the bytes are
// the same.
func TestQUICErrno(t *testing.T) {
	for _, c := range []struct {
		errno  unix.Errno
		trains bool
		why    stats.Fallback
	}{
		{unix.EINVAL, true, stats.FallbackInvalid},
		{unix.EMSGSIZE, true, stats.FallbackSize},
		{unix.EIO, true, stats.FallbackDevice},
		{unix.ENOBUFS, true, stats.Fallbacks},
		{unix.ENOBUFS, false, stats.Fallbacks},
		{unix.EIO, false, stats.Fallbacks}, // of which quic-go must not hear
	} {
		t.Run(c.errno.Error(), func(t *testing.T) {
			st := new(stats.UDP)
			in, u := quicSocket(t, "udp4", Options{GSO: true, GRO: true, Stats: st})
			out, _ := quicSocket(t, "udp4", Options{GSO: true, GRO: true})
			refused := in.(*quicConn).refuseSends(c.trains, c.errno)
			newQUICRig(t, in, out, net.UDPAddrFromAddrPort(portOf(u, "udp4"))).fetch(quicBytes)
			t.Logf("refused %d, sent %d datagrams in %d", refused.Load(), st.Sent.Datagrams.Load(), st.Sent.Trains.Load())
			if refused.Load() == 0 {
				t.Error("nothing was refused")
			}
			if c.why < stats.Fallbacks && st.Fallback[c.why].Load() == 0 {
				t.Errorf("no train is counted as %v", c.why)
			}
		})
	}
}

// A quicEnd is a quicConn with one train to send, and where it goes.
type quicEnd struct {
	*quicConn
	st    *stats.UDP
	r     Conn
	to    *net.UDPAddr
	train []byte
	oob   []byte
	calls []int // of segments asked for, each send in turn
}

func newQUICEnd(t *testing.T) *quicEnd {
	e := &quicEnd{st: new(stats.UDP)}
	out, _ := quicSocket(t, "udp4", Options{GSO: true, Stats: e.st})
	in := listen(t, "udp4")
	e.quicConn, e.r, e.to = out.(*quicConn), New(in, Options{}), net.UDPAddrFromAddrPort(portOf(in, "udp4"))
	for i, n := range []int{90, 90, 90, 9} {
		e.train = append(e.train, datagram(i, n)...)
	}
	// The size stands between others, as in what quic-go says.
	e.oob = append(segmentOf(90), (&ipv4.ControlMessage{Src: net.IPv4(127, 0, 0, 1)}).Marshal()...)
	return e
}

// segmentOf asks for segments of that size.
func segmentOf(size int) []byte {
	b := new(batch)
	return slices.Clone(b.oob(0)[:b.segment(0, size)])
}

// refuse answers with each errno in turn, as long as the message is a train if
// trains, or a single datagram.
func (e *quicEnd) refuse(trains bool, errnos ...unix.Errno) {
	send := e.udpConn.UDPConn.WriteMsgUDP
	e.calls = nil
	e.send = func(b, oob []byte, to *net.UDPAddr) (int, int, error) {
		_, size := findSegment(oob)
		if len(errnos) > 0 && (size > 0) == trains {
			errno := errnos[0]
			errnos = errnos[1:]
			if errno != 0 {
				return 0, 0, os.NewSyscallError("sendmsg", errno)
			}
		}
		e.calls = append(e.calls, size)
		return send(b, oob, to)
	}
}

func (e *quicEnd) write(t *testing.T, want error) {
	t.Helper()
	n, oobn, err := e.WriteMsgUDP(e.train, e.oob, e.to)
	if !errors.Is(err, want) || want == nil && (err != nil || n != len(e.train) || oobn != len(e.oob)) {
		t.Errorf("%d, %d, %v, want %v", n, oobn, err, want)
	}
}

func (e *quicEnd) arrive(t *testing.T, sizes ...int) {
	t.Helper()
	expect(t, e.r, portOf(e.UDPConn, "udp4"), sizes...)
}

// A refused train goes as single datagrams, marked as it was, once and in order;
// and after a few a destination gets none, while others do.
func TestQUICSingles(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.EMSGSIZE} {
		e := newQUICEnd(t)
		for range 2 {
			e.refuse(true, errno)
			e.write(t, nil)
			if !slices.Equal(e.calls, []int{0, 0, 0, 0}) {
				t.Errorf("%v: %v", errno, e.calls)
			}
			e.arrive(t, 90, 90, 90, 9)
		}
		e.refuse(true)
		e.write(t, nil) // it takes it: not in a row
		e.arrive(t, 90, 90, 90, 9)
		for range enough {
			e.refuse(true, errno)
			e.write(t, nil)
			e.arrive(t, 90, 90, 90, 9)
		}
		e.refuse(true)
		if errno == unix.EINVAL {
			e.write(t, nil)
			if !slices.Equal(e.calls, []int{0, 0, 0, 0}) {
				t.Errorf("after %d refusals: %v", enough, e.calls)
			}
			e.calls = nil
			e.to = net.UDPAddrFromAddrPort(portOf(listen(t, "udp4"), "udp4"))
		}
		e.write(t, nil)
		if !slices.Equal(e.calls, []int{90}) {
			t.Errorf("%v: at last %v", errno, e.calls)
		}
	}
}

// A single datagram that asks for segments too is refused like a train.
func TestQUICTrainOfOne(t *testing.T) {
	e := newQUICEnd(t)
	e.train = e.train[:90]
	e.refuse(true, unix.EINVAL)
	e.write(t, nil)
	if !slices.Equal(e.calls, []int{0}) {
		t.Error(e.calls)
	}
	e.arrive(t, 90)
}

// EIO means that none will ever leave.
func TestQUICDevice(t *testing.T) {
	e := newQUICEnd(t)
	e.refuse(true, unix.EIO)
	for i := range 3 {
		e.write(t, nil)
		e.arrive(t, 90, 90, 90, 9)
		if n := e.st.Fallback[stats.FallbackDevice].Load(); len(e.calls) != 4*(i+1) || n != uint64(i+1) {
			t.Errorf("%v, %d counted", e.calls, n)
		}
	}
}

// A datagram that is too large keeps none of its train back, and is told of.
func TestQUICTooLarge(t *testing.T) {
	e := newQUICEnd(t)
	e.refuse(true, unix.EMSGSIZE)
	send := e.send
	singles := 0
	e.send = func(b, oob []byte, to *net.UDPAddr) (int, int, error) {
		if _, size := findSegment(oob); size == 0 {
			if singles++; singles == 1 {
				return 0, 0, os.NewSyscallError("sendmsg", unix.EMSGSIZE)
			}
		}
		return send(b, oob, to)
	}
	e.write(t, unix.EMSGSIZE)
	if n := e.st.Dropped[stats.DropTooLarge].Load(); n != 1 || len(e.calls) != 3 {
		t.Errorf("%d dropped, %v", n, e.calls)
	}
	// A probe of the MTU is a datagram of its own, and dropped by nobody.
	e.refuse(false, unix.EMSGSIZE)
	if _, _, err := e.WriteMsgUDP(e.train[:90], nil, e.to); !errors.Is(err, unix.EMSGSIZE) {
		t.Error(err)
	}
	if n := e.st.Dropped[stats.DropTooLarge].Load(); n != 1 {
		t.Errorf("%d dropped", n)
	}
}

// What the system has no buffer for in the end is lost, and no error; what it
// refuses for other reasons is the connection's matter.
func TestQUICErrors(t *testing.T) {
	e := newQUICEnd(t)
	e.refuse(true, always(unix.ENOBUFS, buffersTries)...)
	e.write(t, nil)
	e.arrive(t, 90, 90, 90, 9)
	e.refuse(true, always(unix.ENOBUFS, buffersTries+1)...)
	e.write(t, nil)
	if n := e.st.Dropped[stats.DropSocket].Load(); n != 4 || len(e.calls) > 0 {
		t.Errorf("%d dropped, %v", n, e.calls)
	}
	for _, errno := range []unix.Errno{unix.EPERM, unix.ENETUNREACH, unix.EBADF} {
		e.refuse(true, errno)
		e.write(t, errno)
		if len(e.calls) > 0 {
			t.Errorf("%v: %v", errno, e.calls)
		}
	}
}

// A server's connection outlives what the system refuses to send, all or some of it;
// not the end of its socket.
func TestHostile76_QUICServerOutlivesRefusals(t *testing.T) {
	e := newQUICEnd(t)
	e.o.Serves = true
	dropped := func(want uint64) {
		t.Helper()
		if n := e.st.Dropped[stats.DropSocket].Load(); n != want {
			t.Errorf("%d dropped, want %d", n, want)
		}
	}
	errnos := []unix.Errno{unix.ECONNREFUSED, unix.EPERM, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN}
	e.refuse(true, errnos...)
	for i := range errnos {
		e.write(t, nil)
		dropped(4 * uint64(i+1))
	}
	e.write(t, nil)
	e.arrive(t, 90, 90, 90, 9)

	e.refuse(false, unix.EPERM)
	if _, _, err := e.WriteMsgUDP(e.train[:90], nil, e.to); err != nil {
		t.Error(err)
	}
	dropped(21)

	e.refuse(true, unix.EBADF)
	e.write(t, unix.EBADF)
	e.refuse(false, unix.EMSGSIZE) // a probe of the MTU
	if _, _, err := e.WriteMsgUDP(e.train[:90], nil, e.to); !errors.Is(err, unix.EMSGSIZE) {
		t.Error(err)
	}
	dropped(21)
}

// An operator's no is obeyed, and is no fallback.
func TestQUICOff(t *testing.T) {
	e := newQUICEnd(t)
	out, _ := quicSocket(t, "udp4", Options{Stats: e.st})
	e.quicConn = out.(*quicConn)
	e.refuse(true)
	e.write(t, nil)
	e.arrive(t, 90, 90, 90, 9)
	for i := range e.st.Fallback {
		if n := e.st.Fallback[i].Load(); n > 0 {
			t.Errorf("%d counted as %v", n, stats.Fallback(i))
		}
	}
	// A kernel that corrupts trains gets them only for its own machine.
	e.out.off.Store(false)
	e.out.faulty = true
	e.refuse(true)
	e.write(t, nil)
	if !slices.Equal(e.calls, []int{90}) {
		t.Error(e.calls)
	}
	e.send = func(b, oob []byte, _ *net.UDPAddr) (int, int, error) {
		if _, size := findSegment(oob); size > 0 {
			t.Error("a train leaves the machine")
		}
		return len(b), len(oob), nil
	}
	e.to = &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9}
	e.write(t, nil)
	if n := e.st.Fallback[stats.FallbackKernel].Load(); n != 1 {
		t.Errorf("%d counted", n)
	}
}

// messages are as quic-go has them.
func messages(n int) []ipv4.Message {
	ms := make([]ipv4.Message, n)
	for i := range ms {
		ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, 1452)}, make([]byte, 128)
	}
	return ms
}

// readAll reads datagrams 0, 1 and so on, of these sizes, but none of size 0.
func readAll(t *testing.T, c *quicConn, from string, room int, sizes ...int) {
	t.Helper()
	ms := messages(room)
	for i := 0; i < len(sizes); {
		n, err := c.ReadBatch(ms, 0)
		if err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
		for k := range ms[:n] {
			m := &ms[k]
			want := datagram(i, sizes[i])
			if sizes[i] > 1452 {
				want = nil
			}
			if !slices.Equal(m.Buffers[0][:m.N], want) || m.Addr.String() != from {
				t.Fatalf("datagram %d: %d bytes from %v, want %d from %v", i, m.N, m.Addr, len(want), from)
			}
			i++
		}
	}
}

// Trains of all shapes come out as their datagrams, however many are asked for.
func TestQUICReadBatch(t *testing.T) {
	for _, gro := range []bool{true, false} {
		for _, room := range []int{1, 3, 8, 30} {
			st := new(stats.UDP)
			in, u := quicSocket(t, "udp4", Options{GRO: gro, Stats: st})
			sock := listen(t, "udp4")
			w := New(sock, Options{GSO: true})
			var sizes []int
			for _, part := range [][]int{same(20, 100), {100}, {1200, 1200, 7}, {1452}, {1453}, {0}, same(40, 1452), {5}} {
				tr := trainOf(portOf(u, "udp4"), len(sizes), part...)
				if sent, err := w.WriteTrains([]Train{tr}); sent != len(part) || err != nil {
					t.Fatal(sent, err)
				}
				tr.Buf.Release()
				sizes = append(sizes, part...)
			}
			readAll(t, in.(*quicConn), portOf(sock, "udp4").String(), room, sizes...)
			if n := st.Received.Datagrams.Load(); n != uint64(len(sizes)) || (st.Received.Trains.Load() < n) != gro {
				t.Errorf("%d datagrams in %d trains counted of %d", n, st.Received.Trains.Load(), len(sizes))
			}
			if n := st.Dropped[stats.DropCut].Load(); n != 1 {
				t.Errorf("%d counted as cut", n)
			}
		}
	}
}

// What quic-go asks of the system comes with each datagram of a train.
func TestQUICControl(t *testing.T) {
	for _, network := range []string{"udp4", "mapped", "any6"} {
		in, u := quicSocket(t, "udp", Options{GRO: true})
		c := in.(*quicConn)
		at, level, kind := portOf(u, "udp4"), unix.IPPROTO_IP, unix.IP_TOS
		if network == "any6" {
			at, level, kind = portOf(u, "udp6"), unix.IPPROTO_IPV6, unix.IPV6_TCLASS
		}
		if err := c.raw.Control(func(fd uintptr) {
			for _, o := range [][2]int{{unix.IPPROTO_IP, unix.IP_RECVTOS}, {unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS},
				{unix.IPPROTO_IP, unix.IP_PKTINFO}, {unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO}} {
				if err := unix.SetsockoptInt(int(fd), o[0], o[1], 1); err != nil {
					t.Error(err)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		sock := dial(t, at)
		raw, err := sock.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			if err := unix.SetsockoptInt(int(fd), level, kind, 2); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		w := NewConnected(sock, Options{GSO: true})
		tr := trainOf(at, 0, same(5, 500)...)
		defer tr.Buf.Release()
		if _, err := w.WriteTrains([]Train{tr}); err != nil {
			t.Fatal(err)
		}
		ms := messages(8)
		n, err := c.ReadBatch(ms, 0)
		if n != 5 || err != nil {
			t.Fatal(n, err)
		}
		for i := range ms[:n] {
			marked, addressed := false, false
			for p := ms[i].OOB[:ms[i].NN]; len(p) > 0; {
				h, data, rest, err := unix.ParseOneSocketControlMessage(p)
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case h.Level == unix.IPPROTO_UDP, h.Level == unix.SOL_SOCKET:
					t.Error("it says more than it was asked")
				case h.Level == int32(level) && h.Type == int32(kind):
					marked = data[0]&3 == 2
				case h.Type == unix.IP_PKTINFO, h.Type == unix.IPV6_PKTINFO:
					addressed = true
				}
				p = rest
			}
			if !marked || !addressed {
				t.Errorf("%s: datagram %d: mark %v, address %v", network, i, marked, addressed)
			}
		}
	}
}

// The reader goes on after what ICMP says of one peer, and ends with the socket and
// its deadline.
func TestQUICReadErrors(t *testing.T) {
	for _, gro := range []bool{true, false} {
		in, u := quicSocket(t, "udp4", Options{GRO: gro})
		c := in.(*quicConn)
		w := listen(t, "udp4")
		if _, err := w.WriteToUDPAddrPort([]byte("x"), portOf(u, "udp4")); err != nil {
			t.Fatal(err)
		}
		failed := false
		c.sys.recv = func(fd uintptr, ms []unix.Mmsghdr) (int, unix.Errno) {
			if !failed {
				failed = true
				return 0, unix.EHOSTUNREACH
			}
			return recvmmsg(fd, ms)
		}
		b := make([]byte, 10)
		if n, addr, err := c.ReadFrom(b); n != 1 || err != nil || addr.String() != w.LocalAddr().String() {
			t.Error(n, addr, err)
		}
		if err := c.SetReadDeadline(time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.ReadBatch(messages(8), 0); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		_ = c.SetReadDeadline(time.Time{})
		c.Close()
		if _, err := c.ReadBatch(messages(8), 0); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if sock, ok := NewQUIC(u, Options{}).(*net.UDPConn); !ok || sock != u {
			t.Error("a closed socket became something else")
		}
	}
}

func TestAllocsQUIC(t *testing.T) {
	for _, network := range []string{"udp4", "udp6", "mapped"} {
		for _, gro := range []bool{true, false} {
			family := network
			if network == "mapped" {
				family = "udp"
			}
			in, u := quicSocket(t, family, Options{GRO: gro})
			w := New(listen(t, family), Options{GSO: true})
			ts := []Train{trainOf(portOf(u, network), 0, same(30, 1200)...), trainOf(portOf(u, network), 0, 9)}
			ms := messages(8)
			noAllocs(t, network+" read", func() {
				if _, err := w.WriteTrains(ts); err != nil {
					t.Fatal(err)
				}
				for left := 31; left > 0; {
					n, err := in.(*quicConn).ReadBatch(ms, 0)
					if err != nil {
						t.Fatal(err)
					}
					left -= n
				}
			})
			for i := range ts {
				ts[i].Buf.Release()
			}
		}
	}
}

// Many peers at a time get their own addresses.
func TestQUICHeard(t *testing.T) {
	var h heard
	for range 2 {
		for i := range 1000 {
			at := netip.AddrPortFrom(far4, uint16(i))
			if got := h.addr(at); got.String() != at.String() {
				t.Fatalf("%v became %v", at, got)
			}
		}
	}
}
