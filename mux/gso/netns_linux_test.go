package gso

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"relaymux/mux/stats"
)

// A wire is two network namespaces with a veth pair between them: no traffic of
// it touches the machine's own interfaces. It needs root, ip and tc, and so is
// there only if RELAYMUX_NETNS=1 asks for it, but then its lack is a failure.
type wire struct {
	t    testing.TB
	near string // the namespace of the sender, with interface va
	far  string // that of the receiver, with vb
}

var (
	near4 = netip.MustParseAddr("10.99.0.1")
	far4  = netip.MustParseAddr("10.99.0.2")
	far6  = netip.MustParseAddr("fd99::2")
)

func newWire(t testing.TB) *wire {
	if os.Getenv("RELAYMUX_NETNS") != "1" {
		t.Skip("RELAYMUX_NETNS is not 1")
	}
	w := &wire{t: t, near: fmt.Sprintf("gso-near-%d", os.Getpid()), far: fmt.Sprintf("gso-far-%d", os.Getpid())}
	for _, ns := range []string{w.near, w.far} {
		w.run("ip netns add " + ns)
		t.Cleanup(func() { w.run("ip netns del " + ns) })
	}
	w.run("ip link add va netns " + w.near + " type veth peer name vb netns " + w.far)
	for _, side := range [][3]string{{w.near, "va", "1"}, {w.far, "vb", "2"}} {
		ip := "ip -n " + side[0]
		w.run(ip + " addr add 10.99.0." + side[2] + "/24 dev " + side[1])
		w.run(ip + " addr add fd99::" + side[2] + "/64 dev " + side[1] + " nodad")
		w.run(ip + " addr add fe80::99" + side[2] + "/64 dev " + side[1] + " nodad")
		w.run(ip + " link set " + side[1] + " up")
	}
	return w
}

func (w *wire) run(command string) string {
	w.t.Helper()
	args := strings.Fields(command)
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

// within runs f on a thread that is in namespace ns.
func (w *wire) within(ns string, f func()) {
	w.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
}

// listen returns a socket at addr in namespace ns.
func (w *wire) listen(ns string, addr netip.Addr) (c *net.UDPConn) {
	w.t.Helper()
	w.within(ns, func() {
		var err error
		if c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0))); err != nil {
			w.t.Error(err)
		}
	})
	if c == nil {
		w.t.FailNow()
	}
	w.t.Cleanup(func() { c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	return c
}

// Orders of ethtool(8), in linux/ethtool.h.
const (
	setTxChecksum = 0x17
	setTSO        = 0x1f
	setGRO        = 0x2c
)

// ethtool turns a feature of an interface on (1) or off (0).
func (w *wire) ethtool(ns, name string, order, value uint32) {
	w.t.Helper()
	w.within(ns, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			w.t.Error(err)
			return
		}
		defer unix.Close(fd)
		arg := [2]uint32{order, value}
		req := struct {
			name [unix.IFNAMSIZ]byte
			data *[2]uint32
			_    [24 - unsafe.Sizeof(uintptr(0))]byte
		}{data: &arg}
		copy(req.name[:], name)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
			w.t.Errorf("ethtool %#x of %s: %v", order, name, errno)
		}
	})
}

// software has the near interface's trains cut by the kernel, before the device,
// as they are for most network cards.
func (w *wire) software() { w.run("ip -n " + w.near + " link set va gso_max_segs 1") }

// regroup has datagrams put together at the far interface, which a veth does
// only for what comes from one without TSO. It then has a queue of 256 datagrams
// there, which overflows when the machine is busy.
func (w *wire) regroup() {
	w.ethtool(w.near, "va", setTSO, 0)
	w.ethtool(w.far, "vb", setGRO, 1)
}

func (w *wire) nothingDropped(st *stats.UDP) {
	w.t.Helper()
	for i := range st.Dropped {
		if n := st.Dropped[i].Load(); n > 0 {
			w.t.Errorf("dropped %d: %v", n, stats.Drop(i))
		}
	}
}

// Through a shaper the sender waits and drops nothing, at little cost.
func TestNetnsShaper(t *testing.T) {
	const size, each, trains = 1200, 54, 400
	for _, o := range []Options{{GSO: true, GRO: true}, {}} {
		t.Run(fmt.Sprintf("gso=%v", o.GSO), func(t *testing.T) {
			w := newWire(t)
			w.software()
			w.run("tc -n " + w.near + " qdisc add dev va root tbf rate 500mbit burst 128kb limit 4mb")
			st := new(stats.UDP)
			o.Stats = st
			in, out := w.listen(w.far, far4), w.listen(w.near, near4)
			// All of it fits, should the machine have no time for the receiver.
			r := New(in, Options{GRO: o.GRO, Buffer: 3 * size * each * trains, Stats: st})
			c := New(out, o).(*udpConn)
			waits := 0
			c.sys.send = func(fd uintptr, ms []unix.Mmsghdr) (int, unix.Errno) {
				n, errno := sendmmsg(fd, ms)
				if errno == unix.EAGAIN {
					waits++
				}
				return n, errno
			}
			start, used := time.Now(), processor(t)
			var writing sync.WaitGroup
			t.Cleanup(writing.Wait) // before the sockets are closed
			writing.Go(func() {
				tr := trainOf(netip.AddrPortFrom(far4, portOf(in, "udp4").Port()), 0, same(each, size)...)
				defer tr.Buf.Release()
				for i := range trains {
					for k := range each {
						binary.BigEndian.PutUint32(tr.At(k), uint32(i*each+k))
					}
					if sent, err := c.WriteTrains([]Train{tr}); sent != each || err != nil {
						t.Error(sent, err)
						return
					}
				}
			})
			late := allOf(t, r, each*trains, size)
			writing.Wait()
			took, cost := time.Since(start), processor(t)-used
			mbit := float64(each*trains*size) * 8e-6 / took.Seconds()
			t.Logf("%.0f Mbit/s, %.1f %% of a processor for both ends, waited %d times, %d trains sent, %d received, %d late",
				mbit, 100*cost.Seconds()/took.Seconds(), waits, st.Sent.Trains.Load(), st.Received.Trains.Load(), late)
			w.nothingDropped(st)
			if mbit > 600 {
				t.Errorf("the shaper did not shape: %.0f Mbit/s", mbit)
			}
			// Single datagrams take so long that the shaper nearly keeps up.
			if o.GSO && !raceEnabled && (waits == 0 || cost > took/2) {
				t.Errorf("waited %d times, %v of processor in %v", waits, cost, took)
			}
			if text := w.run("tc -n " + w.near + " -s qdisc show dev va"); !strings.Contains(text, "dropped 0,") {
				t.Errorf("the shaper dropped: %s", text)
			}
		})
	}
}

// allOf reads datagrams of size bytes that begin with their number, until there
// were n, none twice, and returns how many were overtaken on the way: each
// processor takes in what it has itself let through the shaper, so that a few of
// ten thousand single datagrams arrive late.
func allOf(t *testing.T, r Conn, n, size int) (late int) {
	t.Helper()
	ts, seen, last := make([]Train, 8), make([]bool, 1<<16), -1
	for got := 0; got < n; {
		k, err := r.ReadTrains(ts)
		if err != nil {
			t.Fatalf("after %d of %d: %v", got, n, err)
		}
		for i := range ts[:k] {
			for j := range ts[i].Count() {
				p := ts[i].At(j)
				number := int(binary.BigEndian.Uint32(p))
				if len(p) != size || number >= len(seen) || seen[number] {
					t.Fatalf("%x..., of %d bytes, came twice or never was", p[:4], len(p))
				}
				seen[number] = true
				if number < last {
					late++
				}
				last = max(last, number)
				got++
			}
			ts[i].Buf.Release()
		}
	}
	return late
}

// The same through a Sender, whose producer does not wait: the oldest go, and
// everything is either counted or there.
func TestNetnsSender(t *testing.T) {
	w := newWire(t)
	w.run("tc -n " + w.near + " qdisc add dev va root tbf rate 200mbit burst 128kb limit 4mb")
	st := new(stats.UDP)
	in, out := w.listen(w.far, far4), w.listen(w.near, near4)
	r := New(in, Options{GRO: true, Buffer: BigBuffer, Stats: st})
	s := NewSender(New(out, Options{GSO: true, Stats: st}), 1<<20, st, nil)
	const all, size = 20000, 1000
	var writing sync.WaitGroup
	t.Cleanup(writing.Wait)
	writing.Go(func() {
		to := netip.AddrPortFrom(far4, portOf(in, "udp4").Port())
		for i := range all {
			copy(s.Reserve(to, size), datagram(i, size))
			s.Commit(size)
		}
	})
	writing.Wait()
	dropped := int(st.Dropped[stats.DropQueue].Load())
	late := allOf(t, r, all-dropped, size)
	t.Logf("%d of %d arrived in %d trains, %d late, %d dropped", all-dropped, all, st.Sent.Trains.Load(), late, dropped)
	if dropped == 0 {
		t.Error("it did not overflow")
	}
	out.Close()
	s.Close()
}

// Segments that do not fit the path's MTU: the kernel says so, the train goes as
// single datagrams, which are fragmented, and the next train as a train.
func TestNetnsMTU(t *testing.T) {
	for _, far := range []netip.Addr{far4, far6} {
		t.Run(far.String(), func(t *testing.T) { mtu(t, far) })
	}
}

func mtu(t *testing.T, far netip.Addr) {
	w := newWire(t)
	w.software()
	w.regroup()
	st := new(stats.UDP)
	in, out := w.listen(w.far, far), w.listen(w.near, netip.IPv6Unspecified())
	r, c := New(in, Options{GRO: true, Stats: st}), New(out, Options{GSO: true, Stats: st})
	to := netip.AddrPortFrom(far, in.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	from := netip.AddrPortFrom(near4, out.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	if far == far6 {
		from = netip.AddrPortFrom(netip.MustParseAddr("fd99::1"), from.Port())
	}
	for _, sizes := range [][]int{same(5, 1400), same(4, 2000), same(20, 1452)} {
		tr := trainOf(to, 0, sizes...)
		if sent, err := c.WriteTrains([]Train{tr}); sent != len(sizes) || err != nil {
			t.Error(sent, err)
		}
		expect(t, r, from, sizes...)
		tr.Buf.Release()
	}
	if n := st.Fallback[stats.FallbackSize].Load() + st.Fallback[stats.FallbackInvalid].Load(); n != 1 {
		t.Errorf("%d trains fell back of 1 that had to", n)
	}
	w.nothingDropped(st)
}

// A device that computes no checksums: EIO, and then single datagrams, until
// Linux 6.11, where the kernel computes them itself (commit 10154dbded6d).
func TestNetnsHostile76_EIO(t *testing.T) {
	w := newWire(t)
	w.ethtool(w.near, "va", setTxChecksum, 0)
	st := new(stats.UDP)
	in, out := w.listen(w.far, far4), w.listen(w.near, near4)
	r, c := New(in, Options{Stats: st}), New(out, Options{GSO: true, Stats: st})
	tr := trainOf(netip.AddrPortFrom(far4, portOf(in, "udp4").Port()), 0, same(5, 1000)...)
	defer tr.Buf.Release()
	for range 3 {
		if sent, err := c.WriteTrains([]Train{tr}); sent != 5 || err != nil {
			t.Error(sent, err)
		}
		expect(t, r, netip.AddrPortFrom(near4, portOf(out, "udp4").Port()), same(5, 1000)...)
	}
	want := uint64(0)
	if before(version(release()), 6, 11, 0) {
		want = 3
	}
	if n := st.Fallback[stats.FallbackDevice].Load(); n != want {
		t.Errorf("%d trains fell back, want %d", n, want)
	}
	w.nothingDropped(st)
}

// A link-local peer keeps its zone, and is reached by it.
func TestNetnsHostile30_LinkLocal(t *testing.T) {
	w := newWire(t)
	far, near := netip.MustParseAddr("fe80::992%vb"), netip.MustParseAddr("fe80::991%va")
	in, out := w.listen(w.far, far), w.listen(w.near, netip.IPv6Unspecified())
	var r, c Conn
	zoneless := in.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	// Zones have names only within their own namespaces: there the names are looked up.
	w.within(w.near, func() {
		c = New(out, Options{GSO: true})
		tr := trainOf(netip.AddrPortFrom(netip.MustParseAddr("fe80::992%va"), zoneless), 0, 700, 700, 300)
		defer tr.Buf.Release()
		if sent, err := c.WriteTrains([]Train{tr}); sent != 3 || err != nil {
			t.Error(sent, err)
		}
	})
	from := netip.AddrPortFrom(near.WithZone("vb"), out.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	w.within(w.far, func() {
		r = New(in, Options{GRO: true})
		ts := make([]Train, 8)
		for left := 3; left > 0; {
			n, err := r.ReadTrains(ts)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range ts[:n] {
				if left -= ts[i].Count(); ts[i].Peer != from {
					t.Errorf("from %v, not %v", ts[i].Peer, from)
				}
				ts[i].Buf.Release()
			}
		}
	})
}

// Over a veth whose trains the kernel cuts before the device: what a network
// card without segmentation of its own sees.
func BenchmarkVeth(b *testing.B) {
	w := newWire(b)
	w.software()
	w.regroup()
	compare(b, ways(b, func() (out, in *net.UDPConn, to netip.AddrPort) {
		out, in = w.listen(w.near, near4), w.listen(w.far, far4)
		return out, in, netip.AddrPortFrom(far4, portOf(in, "udp4").Port())
	}))
}
