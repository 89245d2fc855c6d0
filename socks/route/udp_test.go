package route

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/stats"
	"relaymux/socks"
)

// echoUDP is a loopback socket that sends back what comes.
func echoUDP(t *testing.T) (port uint16) {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// flow is a UDP flow of the rig's, with what has come back.
type flow struct {
	socks.Flow
	came  chan string
	from  chan netip.Addr
	ended chan error
}

func (r *rig) open(host string, port uint16) *flow {
	f := &flow{came: make(chan string, 100), from: make(chan netip.Addr, 100), ended: make(chan error, 2)}
	f.Flow = r.Open(host, port, func(from netip.Addr, pkts [][]byte) {
		for _, p := range pkts {
			f.came <- string(p)
			f.from <- from
		}
	}, func(err error) { f.ended <- err })
	return f
}

func (f *flow) send(pkts ...string) {
	var all [][]byte
	for _, p := range pkts {
		all = append(all, []byte(p))
	}
	f.Send(nil, all)
}

func soon[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing comes")
		panic("unreachable")
	}
}

func TestDirectUDP(t *testing.T) {
	port := echoUDP(t)
	r := newRig(t, Lists{Direct: List{Entries: []string{"127.0.0.1", "localhost"}}})
	for _, host := range []string{"127.0.0.1", "localhost"} {
		f := r.open(host, port)
		for _, want := range []string{"one", "", strings.Repeat("x", 8000)} {
			f.send(want)
			if got, from := soon(t, f.came), soon(t, f.from); got != want || from != netip.MustParseAddr("127.0.0.1") {
				t.Errorf("%s: %.20q from %v, want %.20q", host, got, from, want)
			}
		}
		f.Close()
		f.send("late")
	}
	if n := r.Stats.Direct.Load(); n != 2 {
		t.Errorf("%d direct flows", n)
	}
	if n := r.drops.Dropped[stats.DropEnded].Load(); n != 2 {
		t.Errorf("%d datagrams dropped behind the end", n)
	}
	if f := r.open("elsewhere.test", port); soon(t, f.came) != tunnelled {
		t.Error("another destination is not tunnelled")
	}
}

// TestDirectUDPEarly: what is sent while the socket is made waits, up to a limit.
func TestDirectUDPEarly(t *testing.T) {
	port := echoUDP(t)
	r := newRig(t, Lists{Direct: List{Entries: []string{"127.0.0.1", "localhost"}}})
	u := &directUDP{r: r.Router, stop: func() {}, why: stats.DropEnded}
	f := &flow{Flow: u, came: make(chan string, 100)}
	u.deliver = func(_ netip.Addr, pkts [][]byte) {
		for _, p := range pkts {
			f.came <- string(p)
		}
	}
	for i := range maxEarly + 3 {
		f.send(strconv.Itoa(i))
	}
	if n := r.drops.Dropped[stats.DropQueue].Load(); n != 3 {
		t.Errorf("%d datagrams dropped, want 3", n)
	}
	conn, err := net.Dial("udp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		t.Fatal(err)
	}
	u.connected(conn)
	done := make(chan struct{})
	go func() { defer close(done); u.read(conn) }()
	for i := range maxEarly {
		if got := soon(t, f.came); got != strconv.Itoa(i) {
			t.Fatalf("%q, want %d", got, i)
		}
	}
	u.Close()
	soon(t, done)
}

func TestBlockedUDP(t *testing.T) {
	r := newRig(t, Lists{Block: List{Entries: []string{"ads.example"}}})
	f := r.open("x.ads.example", 53)
	f.send("a", "b")
	f.Close()
	if n := r.drops.Dropped[stats.DropBlocked].Load(); n != 2 || r.Stats.Blocked.Load() != 1 {
		t.Errorf("%d datagrams and %d flows blocked", n, r.Stats.Blocked.Load())
	}
	if !strings.Contains(r.log.String(), "UDP goes nowhere") {
		t.Errorf("the log has nothing of it: %s", r.log)
	}
}

// TestRebindingUDP: as with TCP.
func TestRebindingUDP(t *testing.T) {
	port := echoUDP(t)
	r := newRig(t, Lists{Direct: List{Entries: []string{"localhost"}}})
	f := r.open("localhost", port)
	f.send("x")
	for deadline := time.Now().Add(patience); r.drops.Dropped[stats.DropBlocked].Load() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("it is not refused")
		}
		f.send("x")
	}
	f.Close()
	if len(f.came) > 0 || len(f.ended) > 0 {
		t.Error("something came, or the flow has ended otherwise than by Close")
	}
}

// TestDirectUDPRefused: a target that is not there ends the flow, of which the next
// datagram makes another.
func TestDirectUDPRefused(t *testing.T) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	port := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	c.Close()
	r := newRig(t, Lists{Direct: List{Entries: []string{"127.0.0.1"}}})
	f := r.open("127.0.0.1", port)
	f.send("x")
	if soon(t, f.ended) == nil {
		t.Error("it ends without an error")
	}
	f.Close()
}

// TestDirectUDPFails: a flow that cannot be opened is silent for a while, and ends then,
// unless it is closed before.
func TestDirectUDPFails(t *testing.T) {
	for _, closes := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := New(Config{})
			ended := make(chan error, 2)
			u := &directUDP{r: r, stop: func() {}, ended: func(err error) { ended <- err }}
			u.Send(nil, [][]byte{[]byte("early")})
			u.failed(&socks.BlockedError{})
			time.Sleep(failedFor - 1)
			u.Send(nil, [][]byte{[]byte("late")})
			if n := r.Options.Stats.Dropped[stats.DropBlocked].Load(); n != 2 || len(ended) != 0 {
				t.Errorf("%d datagrams dropped, ended %d times", n, len(ended))
			}
			if closes {
				u.Close()
			}
			time.Sleep(time.Second)
			if over := len(ended); (over == 1) == closes || over > 1 {
				t.Errorf("closed %v: ended %d times", closes, over)
			}
		})
	}
}
