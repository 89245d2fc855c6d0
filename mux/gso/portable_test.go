package gso

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"

	"relaymux/mux/stats"
)

// A fakePacket is a net.PacketConn that answers from lists.
type fakePacket struct {
	net.PacketConn
	reads  []fakeRead
	writes []error // in turn, then nil
	wrote  []string
}

type fakeRead struct {
	data string
	from net.Addr
	err  error
}

func (f *fakePacket) ReadFrom(b []byte) (int, net.Addr, error) {
	if len(f.reads) == 0 {
		return 0, nil, net.ErrClosed
	}
	r := f.reads[0]
	f.reads = f.reads[1:]
	return copy(b, r.data), r.from, r.err
}

func (f *fakePacket) WriteTo(b []byte, to net.Addr) (int, error) {
	var err error
	if len(f.writes) > 0 {
		err, f.writes = f.writes[0], f.writes[1:]
	}
	if err != nil {
		return 0, err
	}
	f.wrote = append(f.wrote, string(b)+" to "+to.String())
	return len(b), nil
}

func (f *fakePacket) LocalAddr() net.Addr { return namedAddr("192.0.2.9:9") }
func (f *fakePacket) Close() error        { return nil }

type namedAddr string

func (namedAddr) Network() string  { return "mem" }
func (a namedAddr) String() string { return string(a) }

// errnoOf is how the net package wraps what a system call says.
func errnoOf(errno syscall.Errno) error {
	return &net.OpError{Op: "write", Net: "udp", Err: os.NewSyscallError("sendto", errno)}
}

func TestPortableReads(t *testing.T) {
	f := &fakePacket{reads: []fakeRead{
		{data: "a", from: &net.UDPAddr{IP: net.ParseIP("192.0.2.1"), Port: 1}},
		{err: errnoOf(syscall.ECONNREFUSED)}, // of one peer
		{data: "b", from: namedAddr("[::ffff:192.0.2.1]:2")},
		{data: "", from: &net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: 3, Zone: "lo"}},
		{data: "c", from: namedAddr("a socket in memory")},
	}}
	st := new(stats.UDP)
	c := New(f, Options{Stats: st})
	for _, want := range []struct{ data, peer string }{
		{"a", "192.0.2.1:1"}, {"b", "192.0.2.1:2"}, {"", "[fe80::1%lo]:3"}, {"c", "invalid AddrPort"},
	} {
		ts := make([]Train, 2)
		n, err := c.ReadTrains(ts)
		if n != 1 || err != nil || string(ts[0].Buf.B) != want.data || ts[0].Peer.String() != want.peer {
			t.Fatalf("%d, %v: %+v, want %+v", n, err, ts[0], want)
		}
		ts[0].Buf.Release()
	}
	if _, err := c.ReadTrains(make([]Train, 1)); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if st.Received.Datagrams.Load() != 4 || c.LocalAddr().String() != "192.0.2.9:9" {
		t.Errorf("%d counted, at %v", st.Received.Datagrams.Load(), c.LocalAddr())
	}
	f.reads = slices.Repeat([]fakeRead{{err: errnoOf(syscall.EHOSTUNREACH)}}, 2*patience)
	if _, err := c.ReadTrains(make([]Train, 1)); err == nil || len(f.reads) != patience {
		t.Errorf("%v, with %d reads left", err, len(f.reads))
	}
}

func TestPortableWrites(t *testing.T) {
	boom := errors.New("boom")
	const wsaEMSGSIZE = syscall.Errno(10040)
	for _, c := range []struct {
		err         error
		sent        int
		large, sock uint64
		ends        bool
	}{
		{nil, 3, 0, 0, false},
		{errnoOf(syscall.EMSGSIZE), 2, 1, 0, false},
		{errnoOf(wsaEMSGSIZE), 2, 1, 0, false},
		{errnoOf(syscall.EHOSTUNREACH), 2, 0, 1, false},
		{errnoOf(syscall.ECONNREFUSED), 2, 0, 1, false},
		{&net.AddrError{Err: "non-IPv4 address"}, 2, 0, 1, false},
		{errnoOf(syscall.EBADF), 1, 0, 0, true},
		{net.ErrClosed, 1, 0, 0, true},
		{os.ErrDeadlineExceeded, 1, 0, 0, true},
		{boom, 1, 0, 0, true},
	} {
		f, st := &fakePacket{writes: []error{nil, c.err}}, new(stats.UDP)
		tr := trainOf(netip.MustParseAddrPort("192.0.2.1:7"), 0, 3, 3, 2)
		sent, err := New(f, Options{GSO: true, Stats: st}).WriteTrains([]Train{tr})
		tr.Buf.Release()
		if sent != c.sent || c.ends != (err != nil) || c.ends && !errors.Is(err, c.err) {
			t.Errorf("%v: sent %d, %v", c.err, sent, err)
		}
		if l, s := st.Dropped[stats.DropTooLarge].Load(), st.Dropped[stats.DropSocket].Load(); l != c.large || s != c.sock {
			t.Errorf("%v: %d counted as too large, %d by the socket", c.err, l, s)
		}
		if st.Fallback[stats.FallbackUnsupported].Load() != 1 || st.Sent.Datagrams.Load() != uint64(sent) || len(f.wrote) != sent {
			t.Errorf("%v: counted %d, wrote %q", c.err, st.Sent.Datagrams.Load(), f.wrote)
		}
		if f.wrote[0] != "\x00\x00\x00 to 192.0.2.1:7" {
			t.Errorf("wrote %q", f.wrote[0])
		}
	}
}

// Sockets in memory serve as well, in virtual time.
func TestPortablePipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		w, r := NewConnected(a, Options{GSO: true}), NewConnected(b, Options{GRO: true})
		s := NewSender(w, 1<<20, nil, nil)
		for i := range 5 {
			copy(s.Reserve(netip.AddrPort{}, 7), datagram(i, 7))
			s.Commit(7)
		}
		expect(t, r, netip.AddrPort{}, 7, 7, 7, 7, 7)
		w.Close()
		s.Close()
		if _, err := r.ReadTrains(make([]Train, 1)); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if w.LocalAddr() == nil || r.Close() != nil {
			t.Error("a pipe has an address, and closes")
		}
	})
}
