package relaytest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// rtt is what an exchange takes through the scripts of these tests, about what
// it takes in the field.
const rtt = 1500 * time.Millisecond

// virtual runs test with a Stack in virtual time, its scripts rtt away.
func virtual(t *testing.T, c StackConfig, test func(t *testing.T, s *Stack)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if c.Memory == nil {
			c.Memory = new(Network)
		}
		// Last of all: the test's own goroutines notice that their
		// connections are gone, when they have slept enough.
		t.Cleanup(func() { time.Sleep(time.Second) })
		c.RTT = rtt
		test(t, NewStack(t, c))
	})
}

// A way is one of those in which bytes can take to the target.
type way struct {
	name    string
	config  StackConfig
	http    bool // in by CONNECT, else by SOCKS5
	virtual bool // in memory, else over the loopback interface
}

var allWays = []way{
	{"SOCKS by scripts", StackConfig{Scripts: 2}, false, true},
	{"CONNECT by scripts", StackConfig{Scripts: 2}, true, true},
	{"SOCKS straight", StackConfig{}, false, true},
	{"CONNECT straight", StackConfig{}, true, true},
	{"SOCKS over loopback", StackConfig{}, false, false},
	{"CONNECT over loopback by a script", StackConfig{Scripts: 1}, true, false},
}

// everyWay runs test once for each of allWays.
func everyWay(t *testing.T, test func(t *testing.T, s *Stack, dial Dialer)) {
	t.Helper()
	for _, w := range allWays {
		t.Run(w.name, func(t *testing.T) {
			run := func(t *testing.T, s *Stack) {
				dial := s.Connect
				if w.http {
					dial = s.ConnectHTTP
				}
				test(t, s, dial)
			}
			if w.virtual {
				virtual(t, w.config, func(t *testing.T, s *Stack) {
					run(t, s)
					s.wantQuiet(t)
				})
				return
			}
			t.Parallel() // a lazy close takes 2 s of real time
			run(t, NewStack(t, w.config))
		})
	}
}

// wantQuiet checks that nothing is left of the flows, once the closes that
// travel lazily had their time. It needs virtual time.
func (s *Stack) wantQuiet(t *testing.T) {
	t.Helper()
	time.Sleep(10 * time.Second)
	synctest.Wait()
	if n := s.Stats.FlowsOpen.Load(); n != 0 {
		t.Errorf("the client has %d flows left", n)
	}
	if s.Node == nil {
		return
	}
	if n := s.Node.Stats(); n.Sessions != 0 || n.Memory != 0 {
		t.Errorf("the node has %d sessions and %d bytes left", n.Sessions, n.Memory)
	}
}

// serve has handle answer whoever connects to the address that it returns.
func (s *Stack) serve(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	ln, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go ServeTCP(ln, handle)
	return ln.Addr().String()
}

// open dials, and closes the connection at the end of the test.
func open(t testing.TB, dial Dialer, addr string) net.Conn {
	t.Helper()
	c, err := dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// An arrival is what a reader got, and how it ended.
type arrival struct {
	Received
	err error // nil: by FIN
}

// arrive reads r to its end.
func arrive(r io.Reader) arrival {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return arrival{Received{n, hex.EncodeToString(h.Sum(nil))}, err}
}

// want checks that exactly noise(seed, size) arrived, and a FIN after it.
func (a arrival) want(t testing.TB, who string, seed uint64, size int64) {
	t.Helper()
	if a.err != nil || a.Received != sum(noise(seed, size)) {
		t.Errorf("%s got %d bytes, %v; want %d and their end, or the bytes differ", who, a.Bytes, a.err, size)
	}
}

// wantPart checks that a beginning of noise(seed, size) arrived: all of it if it
// ended by FIN, else anything, ended by RST.
func (a arrival) wantPart(t testing.TB, who string, seed uint64, size int64) {
	t.Helper()
	switch {
	case a.err == nil && a.Bytes != size:
		t.Errorf("%s got a clean end after %d of %d bytes", who, a.Bytes, size)
	case a.err != nil && !isReset(a.err):
		t.Errorf("%s: %v, not a reset", who, a.err)
	case a.Bytes > size || a.SHA256 != sum(noise(seed, a.Bytes)).SHA256:
		t.Errorf("%s got %d bytes that are not those that were sent", who, a.Bytes)
	}
}

// send writes noise(seed, size) and ends the sending.
func send(c net.Conn, seed uint64, size int64) error {
	if _, err := io.Copy(c, noise(seed, size)); err != nil {
		return err
	}
	closeWrite(c)
	return nil
}

// ask writes text and reads an echo of it, which takes the time it returns.
func ask(t testing.TB, c net.Conn, text string) time.Duration {
	t.Helper()
	return elapsed(func() {
		if _, err := io.WriteString(c, text); err != nil {
			t.Error(err)
			return
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
			t.Errorf("asked %.40q, got %.40q, %v", text, got, err)
		}
	})
}

// within is how many seconds a test that hangs may hang.
func within(t testing.TB, c net.Conn, d time.Duration) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(d)); err != nil && !errors.Is(err, os.ErrNoDeadline) {
		t.Fatal(err)
	}
}
