package gso

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"relaymux/mux/buf"
	"relaymux/mux/stats"
)

// A rig is two sockets, and a system between them that answers as the test
// wants.
type rig struct {
	t     *testing.T
	r     Conn
	w     *udpConn
	st    *stats.UDP
	to    netip.AddrPort // as trains name it
	from  netip.AddrPort
	calls []string // each send, as far as it got to the system: t(rain) or s(ingle) per message
	next  int      // number of the next datagram
	sizes []int    // of those that are to arrive
}

func newRig(t *testing.T, connected bool) *rig {
	in := listen(t, "udp4")
	g := &rig{t: t, st: new(stats.UDP), r: New(in, Options{})}
	o := Options{GSO: true, Stats: g.st}
	if connected {
		sock := dial(t, portOf(in, "udp4"))
		g.w, g.from = NewConnected(sock, o).(*udpConn), portOf(sock, "udp4")
	} else {
		sock := listen(t, "udp4")
		g.w, g.from, g.to = New(sock, o).(*udpConn), portOf(sock, "udp4"), portOf(in, "udp4")
	}
	return g
}

func isTrain(m *unix.Mmsghdr) bool { return m.Hdr.Controllen > 0 }

// answer lets f answer for the system: how many of ms are to be sent really, and
// the errno if that is none.
func (g *rig) answer(f func(ms []unix.Mmsghdr) (int, unix.Errno)) {
	g.calls = nil
	g.w.sys.send = func(fd uintptr, ms []unix.Mmsghdr) (int, unix.Errno) {
		n, errno := f(ms)
		if n == 0 {
			return 0, errno
		}
		kinds := ""
		for i := range ms[:n] {
			kinds += map[bool]string{true: "t", false: "s"}[isTrain(&ms[i])]
		}
		g.calls = append(g.calls, kinds)
		return sendmmsg(fd, ms[:n])
	}
}

// refuse answers with each errno in turn, as long as the first message is one
// that picky says, and with what the system says from then on.
func (g *rig) refuse(picky func(*unix.Mmsghdr) bool, errnos ...unix.Errno) {
	g.answer(func(ms []unix.Mmsghdr) (int, unix.Errno) {
		for i := range ms {
			if len(errnos) > 0 && picky(&ms[i]) {
				if i > 0 {
					return i, 0
				}
				errno := errnos[0]
				errnos = errnos[1:]
				return 0, errno
			}
		}
		return len(ms), 0
	})
}

func always(errno unix.Errno, n int) []unix.Errno {
	return slices.Repeat([]unix.Errno{errno}, n)
}

func anyMessage(*unix.Mmsghdr) bool { return true }

// write sends a train to the rig's reader, whose datagrams are numbered on, and
// checks how many of them are said to be sent. All of those are to arrive.
func (g *rig) write(sent int, sizes ...int) error {
	g.t.Helper()
	tr := trainOf(g.to, g.next, sizes...)
	defer tr.Buf.Release()
	n, err := g.w.WriteTrains([]Train{tr})
	if n != sent {
		g.t.Errorf("sent %d of %d, want %d (%v)", n, len(sizes), sent, err)
	}
	if sent > 0 {
		g.next += len(sizes)
		g.sizes = append(g.sizes, sizes...)
	}
	return err
}

func (g *rig) arrive() {
	g.t.Helper()
	expect(g.t, g.r, g.from, g.sizes...)
	for i := range g.st.Fallback {
		if n := g.st.Fallback[i].Load(); n > 0 {
			g.t.Logf("fallback %v: %d", stats.Fallback(i), n)
		}
	}
}

func (g *rig) counted(f stats.Fallback, fallbacks uint64, d stats.Drop, drops uint64) {
	g.t.Helper()
	if n := g.st.Fallback[f].Load(); n != fallbacks {
		g.t.Errorf("%d trains fell back for %v, want %d", n, f, fallbacks)
	}
	if n := g.st.Dropped[d].Load(); n != drops {
		g.t.Errorf("%d datagrams dropped for %v, want %d", n, d, drops)
	}
}

func (g *rig) called(want ...string) {
	g.t.Helper()
	if !slices.Equal(g.calls, want) {
		g.t.Errorf("sends %q, want %q", g.calls, want)
	}
	g.calls = nil
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// EMSGSIZE is about this train: the next one is a train again.
func TestErrnoEMSGSIZE(t *testing.T) {
	g := newRig(t, false)
	for range 2 * enough {
		g.refuse(isTrain, unix.EMSGSIZE)
		noError(t, g.write(4, 90, 90, 90, 9))
		g.called("ssss")
	}
	noError(t, g.write(2, 90, 90))
	g.called("t")
	g.counted(stats.FallbackSize, 2*enough, stats.DropTooLarge, 0)
	g.arrive()
}

// A single datagram that is too large is counted, and the next goes on.
func TestErrnoEMSGSIZESingle(t *testing.T) {
	g := newRig(t, false)
	g.refuse(anyMessage, unix.EMSGSIZE)
	noError(t, g.write(0, 90))
	g.refuse(anyMessage, unix.EMSGSIZE, unix.EMSGSIZE) // the train, and then its first
	tr := trainOf(g.to, 7, 90, 90, 90)
	defer tr.Buf.Release()
	sent, err := g.w.WriteTrains([]Train{tr})
	if sent != 2 || err != nil {
		t.Errorf("sent %d, %v", sent, err)
	}
	g.counted(stats.FallbackSize, 1, stats.DropTooLarge, 2)
	ts := make([]Train, 2)
	for i := 0; i < 2; {
		n, err := g.r.ReadTrains(ts)
		if err != nil {
			t.Fatal(err)
		}
		for k := range ts[:n] {
			if !slices.Equal(ts[k].Buf.B, datagram(8+i, 90)) {
				t.Errorf("the %dth to arrive is %x", i, ts[k].Buf.B[:4])
			}
			ts[k].Buf.Release()
			i++
		}
	}
}

// EINVAL is about the destination, if it comes a few times in a row.
func TestErrnoEINVAL(t *testing.T) {
	g := newRig(t, false)
	g.refuse(isTrain, unix.EINVAL, unix.EINVAL)
	for range 2 {
		noError(t, g.write(3, 90, 90, 90))
		g.called("sss")
	}
	noError(t, g.write(2, 90, 90)) // not in a row
	g.called("t")
	g.refuse(isTrain, unix.EINVAL)
	noError(t, g.write(2, 90, 90))
	g.called("ss")
	noError(t, g.write(2, 90, 90))
	g.called("t")
	g.refuse(isTrain, always(unix.EINVAL, 100)...)
	for range enough {
		noError(t, g.write(2, 90, 90))
	}
	g.counted(stats.FallbackInvalid, 3+enough, stats.DropSocket, 0)
	g.answer(func(ms []unix.Mmsghdr) (int, unix.Errno) { return len(ms), 0 })
	noError(t, g.write(2, 90, 90)) // not even tried any more
	g.called("ss")
	g.counted(stats.FallbackInvalid, 4+enough, stats.DropSocket, 0)
	other := listen(t, "udp4")
	tr := trainOf(portOf(other, "udp4"), 0, 90, 90)
	defer tr.Buf.Release()
	if sent, err := g.w.WriteTrains([]Train{tr}); sent != 2 || err != nil {
		t.Error(sent, err)
	}
	g.called("t") // others still get trains
	g.arrive()
}

// A kernel that takes 64 segments, whatever its release says, costs one call.
func TestErrnoEINVALSegments(t *testing.T) {
	g := newRig(t, false)
	g.answer(func(ms []unix.Mmsghdr) (int, unix.Errno) {
		for i := range ms {
			if int(ms[i].Hdr.Iov.Len) > 64*10 {
				if i == 0 {
					return 0, unix.EINVAL
				}
				return i, 0
			}
		}
		return len(ms), 0
	})
	noError(t, g.write(128, same(128, 10)...))
	g.called("tt")
	noError(t, g.write(65, same(65, 10)...))
	g.called("ts")
	g.counted(stats.FallbackInvalid, 0, stats.DropSocket, 0)
	g.arrive()
}

// A kernel that has taken more than 64 segments means something else by it.
func TestErrnoEINVALProven(t *testing.T) {
	g := newRig(t, false)
	if g.w.w.segments != maxSegments {
		t.Skip("a kernel of before 6.9")
	}
	g.answer(func(ms []unix.Mmsghdr) (int, unix.Errno) { return len(ms), 0 })
	noError(t, g.write(128, same(128, 10)...))
	g.refuse(isTrain, unix.EINVAL)
	noError(t, g.write(100, same(100, 10)...))
	g.counted(stats.FallbackInvalid, 1, stats.DropSocket, 0)
	if g.w.w.segments != maxSegments {
		t.Error("it is taken for an older one")
	}
	g.arrive()
}

// HOSTILE 76: EIO turns trains off for the socket, and nothing is lost.
func TestHostile76_ErrnoEIO(t *testing.T) {
	g := newRig(t, false)
	g.refuse(isTrain, unix.EIO)
	noError(t, g.write(4, 90, 90, 90, 9))
	g.called("ssss")
	noError(t, g.write(2, 90, 90))
	g.called("ss")
	noError(t, g.write(1, 90))
	g.called("s")
	g.counted(stats.FallbackDevice, 2, stats.DropSocket, 0)
	g.arrive()
}

// EPERM on the very first send is a packet filter that is not ready yet; later
// it is one that says no.
func TestErrnoEPERM(t *testing.T) {
	g := newRig(t, false)
	g.refuse(anyMessage, unix.EPERM)
	noError(t, g.write(2, 90, 90))
	g.called("t")
	g.refuse(anyMessage, unix.EPERM)
	noError(t, g.write(0, 90, 90))
	g.counted(stats.FallbackInvalid, 0, stats.DropSocket, 2)
	g.arrive()

	g = newRig(t, false)
	g.refuse(anyMessage, unix.EPERM, unix.EPERM)
	noError(t, g.write(0, 90))
	g.counted(stats.FallbackInvalid, 0, stats.DropSocket, 1)
}

func TestErrnoENOBUFS(t *testing.T) {
	g := newRig(t, false)
	g.refuse(anyMessage, always(unix.ENOBUFS, buffersTries)...)
	noError(t, g.write(2, 90, 90))
	g.refuse(anyMessage, always(unix.ENOBUFS, buffersTries+1)...)
	noError(t, g.write(0, 90, 90))
	g.refuse(anyMessage, always(unix.ENOMEM, buffersTries)...) // each has its own tries
	noError(t, g.write(2, 90, 90))
	g.counted(stats.FallbackInvalid, 0, stats.DropSocket, 2)
	g.arrive()
}

// ECONNREFUSED of a connected socket speaks of what was sent before: it is told,
// and nothing is lost by it.
func TestErrnoECONNREFUSED(t *testing.T) {
	g := newRig(t, true)
	g.refuse(anyMessage, unix.ECONNREFUSED)
	if err := g.write(3, 90, 90, 90); !errors.Is(err, unix.ECONNREFUSED) {
		t.Error(err)
	}
	noError(t, g.write(1, 90)) // once
	g.refuse(anyMessage, unix.ECONNREFUSED, unix.ECONNREFUSED)
	if err := g.write(0, 90); !errors.Is(err, unix.ECONNREFUSED) {
		t.Error(err)
	}
	g.counted(stats.FallbackInvalid, 0, stats.DropSocket, 1)
	g.arrive()
}

// Of an unconnected socket it is one peer's matter.
func TestErrnoECONNREFUSEDUnconnected(t *testing.T) {
	g := newRig(t, false)
	g.refuse(anyMessage, unix.ECONNREFUSED)
	noError(t, g.write(3, 90, 90, 90))
	g.arrive()
}

func TestErrnoPerDatagram(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES, unix.ENETDOWN, unix.EADDRNOTAVAIL, unix.EAFNOSUPPORT} {
		g := newRig(t, false)
		g.refuse(anyMessage, errno)
		noError(t, g.write(0, 90, 90, 90))
		noError(t, g.write(2, 90, 90))
		g.counted(stats.FallbackInvalid, 0, stats.DropSocket, 3)
		g.arrive()
	}
	// A single one that is EINVAL or EIO, too.
	for _, errno := range []unix.Errno{unix.EINVAL, unix.EIO} {
		g := newRig(t, false)
		g.refuse(anyMessage, errno)
		noError(t, g.write(0, 90))
		noError(t, g.write(2, 90, 90))
		g.called("t")
		g.counted(stats.FallbackInvalid, 0, stats.DropSocket, 1)
		g.arrive()
	}
}

func TestErrnoEnd(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EBADF, unix.ENOTSOCK} {
		g := newRig(t, false)
		g.refuse(anyMessage, errno)
		if err := g.write(0, 90, 90); !errors.Is(err, errno) {
			t.Error(err)
		}
	}
}

// EAGAIN leaves the message for the poller to wake up for.
func TestErrnoEAGAIN(t *testing.T) {
	g := newRig(t, false)
	tr := trainOf(g.to, 0, 90, 90)
	defer tr.Buf.Release()
	w := &g.w.w
	w.ts, w.b = []Train{tr}, new(batch)
	g.refuse(anyMessage, unix.EAGAIN)
	if err := g.w.raw.Control(func(fd uintptr) {
		if !g.w.fill() || g.w.tryWrite(fd) {
			t.Error("EAGAIN is taken for an outcome")
		}
		if !g.w.tryWrite(fd) || w.done != 1 {
			t.Error("the message is gone")
		}
	}); err != nil {
		t.Fatal(err)
	}
	g.sizes = []int{90, 90}
	g.arrive()
}

// An operator's no is obeyed, and is no fallback. What the system cannot do is.
func TestGSOOff(t *testing.T) {
	g := newRig(t, false)
	g.answer(func(ms []unix.Mmsghdr) (int, unix.Errno) { return len(ms), 0 })
	g.w.w = writer{try: g.w.w.try}
	g.w.w.setUp(Options{}, func() bool { return true })
	noError(t, g.write(3, 90, 90, 90))
	g.called("sss")
	g.counted(stats.FallbackUnsupported, 0, stats.DropSocket, 0)
	g.w.w = writer{try: g.w.w.try}
	g.w.w.setUp(Options{GSO: true}, func() bool { return false })
	noError(t, g.write(3, 90, 90, 90))
	g.called("sss")
	g.counted(stats.FallbackUnsupported, 1, stats.DropSocket, 0)
	g.arrive()
}

// A kernel that corrupts trains gets them only for its own machine.
func TestGSOCorrupting(t *testing.T) {
	g := newRig(t, false)
	g.w.w.faulty = true
	g.answer(func(ms []unix.Mmsghdr) (int, unix.Errno) { return len(ms), 0 })
	noError(t, g.write(2, 90, 90))
	g.called("t")
	g.arrive()
	g.answer(func(ms []unix.Mmsghdr) (int, unix.Errno) {
		for i := range ms {
			if isTrain(&ms[i]) {
				t.Error("a train leaves the machine")
			}
		}
		return 0, unix.ENETUNREACH
	})
	tr := trainOf(netip.MustParseAddrPort("192.0.2.1:9"), 0, 90, 90)
	defer tr.Buf.Release()
	_, err := g.w.WriteTrains([]Train{tr})
	noError(t, err)
}

// Whatever the system takes of each call and refuses of the next, every datagram
// goes out once and in order.
func TestErrnoMidway(t *testing.T) {
	for seed := range uint64(200) {
		g := newRig(t, seed%2 == 0)
		g.w.w.segments = 4 // so that there are middles of trains to be refused
		rnd := rand.New(rand.NewPCG(seed, 1))
		row := 0
		g.answer(func(ms []unix.Mmsghdr) (int, unix.Errno) {
			n := rnd.IntN(len(ms) + 1)
			if n > 0 || row == 3 {
				row = 0
				return max(n, 1), 0
			}
			row++
			if isTrain(&ms[0]) {
				return 0, []unix.Errno{unix.EMSGSIZE, unix.EINVAL, unix.EIO, unix.ENOBUFS}[rnd.IntN(4)]
			}
			return 0, unix.ENOBUFS
		})
		var ts []Train
		var sizes []int
		for range 6 {
			size := 1 + rnd.IntN(40)
			part := same(1+rnd.IntN(20), size)
			part[len(part)-1] = 1 + rnd.IntN(size)
			ts = append(ts, trainOf(g.to, len(sizes), part...))
			sizes = append(sizes, part...)
		}
		if sent, err := g.w.WriteTrains(ts); sent != len(sizes) || err != nil {
			t.Fatalf("seed %d: sent %d of %d, %v", seed, sent, len(sizes), err)
		}
		expect(t, g.r, g.from, sizes...)
		for i := range ts {
			ts[i].Buf.Release()
		}
		g.r.Close()
		g.w.Close()
	}
}

// read answers for the system in a read.
func (g *rig) read(c *udpConn, f func(call int, ms []unix.Mmsghdr) unix.Errno) {
	call := 0
	c.sys.recv = func(fd uintptr, ms []unix.Mmsghdr) (int, unix.Errno) {
		call++
		n, errno := recvmmsg(fd, ms)
		if errno == 0 {
			errno = f(call, ms[:n])
		}
		if errno != 0 {
			return 0, errno
		}
		return n, 0
	}
}

// What was cut, or cannot be, is counted and not delivered.
func TestReadCut(t *testing.T) {
	for _, flag := range []int32{unix.MSG_TRUNC, unix.MSG_CTRUNC} {
		g := newRig(t, false)
		st := new(stats.UDP)
		in := listen(t, "udp4")
		c := New(in, Options{GRO: true, Stats: st}).(*udpConn)
		g.to = portOf(in, "udp4")
		g.read(c, func(call int, ms []unix.Mmsghdr) unix.Errno {
			if call == 1 {
				ms[0].Hdr.Flags |= flag
			}
			return 0
		})
		noError(t, g.write(1, 50))
		noError(t, g.write(1, 51))
		ts := make([]Train, 4)
		n, err := c.ReadTrains(ts)
		if n != 1 || err != nil || len(ts[0].Buf.B) != 51 || st.Dropped[stats.DropCut].Load() != 1 {
			t.Errorf("%d trains, %v, %d counted as cut", n, err, st.Dropped[stats.DropCut].Load())
		}
		ts[0].Buf.Release()
	}
}

func TestReadErrnos(t *testing.T) {
	for _, c := range []struct {
		connected bool
		errno     unix.Errno
		ends      bool
	}{
		{false, unix.ECONNREFUSED, false},
		{false, unix.EHOSTUNREACH, false},
		{true, unix.EHOSTUNREACH, false},
		{true, unix.ECONNREFUSED, true},
		{false, unix.EBADF, true},
		{true, unix.ENOTSOCK, true},
	} {
		g := newRig(t, c.connected)
		back := trainOf(g.from, 0, 50)
		if c.connected {
			noError(t, g.write(1, 1))
			expect(t, g.r, g.from, 1)
		}
		for range 2 {
			if _, err := g.r.WriteTrains([]Train{back}); err != nil {
				t.Fatal(err)
			}
		}
		back.Buf.Release()
		sys := g.w.sys.recv
		failed := false
		g.w.sys.recv = func(fd uintptr, ms []unix.Mmsghdr) (int, unix.Errno) {
			if !failed {
				failed = true
				return 0, c.errno
			}
			return sys(fd, ms)
		}
		ts := make([]Train, 1)
		n, err := g.w.ReadTrains(ts)
		if c.ends != (err != nil) || c.ends && !errors.Is(err, c.errno) {
			t.Errorf("%+v: %d, %v", c, n, err)
		}
		if err == nil {
			ts[0].Buf.Release()
		}
	}
}

// An error behind trains is told by the next read, not instead of them.
func TestReadErrorBehind(t *testing.T) {
	g := newRig(t, true)
	noError(t, g.write(1, 1))
	expect(t, g.r, g.from, 1)
	back := trainOf(g.from, 0, 50)
	defer back.Buf.Release()
	for range 2 {
		if _, err := g.r.WriteTrains([]Train{back}); err != nil {
			t.Fatal(err)
		}
	}
	call := 0
	g.w.sys.recv = func(fd uintptr, ms []unix.Mmsghdr) (int, unix.Errno) {
		if call++; call == 2 {
			return 0, unix.ECONNREFUSED
		}
		return recvmmsg(fd, ms)
	}
	ts := make([]Train, 4)
	n, err := g.w.ReadTrains(ts)
	if n != 2 || err != nil {
		t.Fatal(n, err)
	}
	for _, tr := range ts[:n] {
		tr.Buf.Release()
	}
	if n, err = g.w.ReadTrains(ts); n != 0 || !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatal(n, err)
	}
}

// A socket that has nothing but errors ends, and does not spin.
func TestReadPatience(t *testing.T) {
	g := newRig(t, false)
	calls := 0
	g.w.sys.recv = func(uintptr, []unix.Mmsghdr) (int, unix.Errno) { calls++; return 0, unix.EHOSTUNREACH }
	if _, err := g.w.ReadTrains(make([]Train, 1)); !errors.Is(err, unix.EHOSTUNREACH) || calls != patience+1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

// What the socket's own queue has no room for is counted.
func TestReadOverflow(t *testing.T) {
	in, out := listen(t, "udp4"), listen(t, "udp4")
	if err := in.SetReadBuffer(8 << 10); err != nil {
		t.Fatal(err)
	}
	st := new(stats.UDP)
	r, w := New(in, Options{Stats: st}), New(out, Options{})
	tr := trainOf(portOf(in, "udp4"), 0, same(60, 1000)...)
	defer tr.Buf.Release()
	got, ts := 0, make([]Train, 8)
	for range 2 { // the first that comes after those that were lost tells of them
		if _, err := w.WriteTrains([]Train{tr}); err != nil {
			t.Fatal(err)
		}
		n, err := r.ReadTrains(ts)
		if err != nil {
			t.Fatal(err)
		}
		got += n
		for i := range ts[:n] {
			ts[i].Buf.Release()
		}
	}
	lost := st.Dropped[stats.DropOverflow].Load()
	if lost == 0 || lost > uint64(120-got) {
		t.Errorf("%d counted, %d have arrived of 120", lost, got)
	}
}

// Socket buffers are raised where that is asked for, and only there.
func TestBuffer(t *testing.T) {
	size := func(o Options) (n int) {
		c := New(listen(t, "udp4"), o).(*udpConn)
		if err := c.raw.Control(func(fd uintptr) {
			n, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	small, large := size(Options{}), size(Options{Buffer: BigBuffer})
	if large < small || large < 200<<10 {
		t.Errorf("%d by default, %d when %d is asked for", small, large, BigBuffer)
	}
}

// While a reader waits it holds no buffer: its attempt has given all of them
// back.
func TestReadHoldsNothing(t *testing.T) {
	g := newRig(t, false)
	b := new(batch)
	if err := g.w.raw.Control(func(fd uintptr) {
		if n, errno := g.w.receive(fd, b, 4); n != 0 || errno != unix.EAGAIN {
			t.Error(n, errno)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if b.bufs != ([batchSize]*buf.Buf{}) {
		t.Error("buffers are kept")
	}
	for i := range b.iovs {
		if b.iovs[i].Base != nil {
			t.Error("memory of buffers is kept")
		}
	}
}

// A zone is known by its name and by its number, also without a name.
func TestHostile30_Zone(t *testing.T) {
	interfaces, err := net.Interfaces()
	if err != nil || len(interfaces) == 0 {
		t.Fatal(interfaces, err)
	}
	name, id := interfaces[0].Name, uint32(interfaces[0].Index)
	local := netip.MustParseAddrPort("[fe80::1]:9")
	var z zone
	for range 2 {
		if got := z.add(local, id); got.Addr().Zone() != name || got.Port() != 9 {
			t.Errorf("%v is not in zone %s", got, name)
		}
		if got := z.add(local, 1<<30); got.Addr().Zone() != "1073741824" {
			t.Errorf("a zone without a name became %v", got)
		}
		if z.idOf(name) != id || z.idOf("1073741824") != 1<<30 || z.idOf("") != 0 || z.idOf("no such zone") != 0 {
			t.Errorf("%s is %d, not %d", name, z.idOf(name), id)
		}
	}
	if got := z.add(local, 0); got != local {
		t.Errorf("%v got a zone", got)
	}
}
