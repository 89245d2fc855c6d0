package mux

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/wire"
	"relaymux/relay"
)

// Each test here holds a mistake that was made once; its comment says which.

// A replier is a relay and a node in one, which is a function.
type replier func(ops []wire.Op) ([]wire.Result, *relay.Failure)

func (replier) Close() {}

func (f replier) Exchange(_ context.Context, x *relay.Exchange) error {
	e, err := wire.ParseEnvelope(bytes.Clone(x.Body))
	if err != nil {
		return &relay.Failure{Kind: relay.Broken, Err: err}
	}
	ops, err := wire.ParseOps(e.Ops, nil, 1000)
	if err != nil {
		return &relay.Failure{Kind: relay.Broken, Err: err}
	}
	results, failure := f(ops)
	if failure != nil {
		return failure
	}
	x.Answer = wire.AppendAnswer(x.Answer, results)
	return nil
}

// noisy is size bytes that do not repeat soon.
func noisy(size int) []byte {
	p := make([]byte, size)
	x := uint32(1)
	for i := range p {
		x = x*1664525 + 1013904223 // Numerical Recipes' generator
		p[i] = byte(x >> 24)
	}
	return p
}

// setFault sets what goes wrong from now on.
func (n *fakeNode) setFault(f func(i int, ops []wire.Op) (before, after *relay.Failure)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault = f
}

// refuseAll is a fault: no exchange gets to the node.
func refuseAll(f relay.Failure) func(int, []wire.Op) (before, after *relay.Failure) {
	return func(int, []wire.Op) (before, after *relay.Failure) { return &f, nil }
}

// uploads reports whether ops bring bytes to a session that is there already.
func uploads(ops []wire.Op) bool {
	return slices.ContainsFunc(ops, func(o wire.Op) bool { return o.Kind == wire.Data && o.Len() > 0 })
}

// A pipeEnd is a socket, as Relay sees one, that tells how it was closed.
type pipeEnd struct {
	net.Conn
	aborted bool
}

func (c *pipeEnd) SetLinger(sec int) error {
	c.aborted = sec == 0
	return nil
}

// resetting answers a connect_data with word and an RST behind it.
func resetting(word []byte) replier {
	return func(ops []wire.Op) ([]wire.Result, *relay.Failure) {
		time.Sleep(50 * time.Millisecond)
		results := make([]wire.Result, len(ops))
		for i, op := range ops {
			results[i] = wire.Result{SID: []byte("s"), HasOff: true, Off: uint64(len(word)), EOF: true, Rst: true}
			if op.Kind == wire.ConnectData {
				results[i].Off, results[i].Data = 0, [][]byte{word}
			}
		}
		return results, nil
	}
}

// A RESULT that brought bytes and the RST behind them ended the stream at once:
// an application lost the answer that it had been about to read.
func TestDataBeforeReset(t *testing.T) {
	word := noisy(3 << 20) // more than one write to a socket
	t.Run("read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newMux(t, Config{}, 4, resetting(word)).Open("h", 80)
			io.WriteString(s, "POST")
			time.Sleep(time.Second) // all of it is there before anybody reads
			got, err := io.ReadAll(s)
			if !bytes.Equal(got, word) || !errors.Is(err, ErrReset) {
				t.Errorf("read %d bytes of %d, then %v", len(got), len(word), err)
			}
		})
	})
	t.Run("relay", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newMux(t, Config{}, 4, resetting(word)).Open("h", 80)
			app, far := net.Pipe()
			socket := &pipeEnd{Conn: far}
			ended := make(chan bool)
			go func() {
				s.Relay(socket, []byte("POST"))
				close(ended)
			}()
			time.Sleep(time.Second)
			got, _ := io.ReadAll(app)
			<-ended
			if !bytes.Equal(got, word) || !socket.aborted {
				t.Errorf("the socket got %d bytes of %d, reset %v", len(got), len(word), socket.aborted)
			}
		})
	})
}

// A Close that looked clean was kept although its bytes were lost: the rest of
// the upload went out over a second connection, from its middle, or the target
// saw a FIN in place of it.
func TestCleanEndIsTakenBack(t *testing.T) {
	connects := func(i int, _ []wire.Op) bool { return i == 1 }
	uploads := func(_ int, ops []wire.Op) bool { return uploads(ops) }
	for _, c := range []struct {
		name     string
		stock    bool
		which    func(i int, ops []wire.Op) bool
		executed bool // the answer is lost, not the request
		sessions int
		got      string // by the session
		kept     bool   // the clean end
	}{
		{"connect", true, connects, false, 0, "", false},
		{"connect's answer", true, connects, true, 1, "HEAD", false},
		{"connect, ours", false, connects, false, 0, "", false},
		{"upload", true, uploads, false, 1, "HEAD", false},
		{"upload's answer", true, uploads, true, 1, "HEADBODY", false},
		{"upload, ours", false, uploads, false, 1, "HEADBODY", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode(t)
				n.stock, n.mute, n.rtt, n.hold = c.stock, true, time.Second, 2*time.Second
				done := false
				n.setFault(func(i int, ops []wire.Op) (before, after *relay.Failure) {
					if done || !c.which(i, ops) {
						return nil, nil
					}
					done = true
					if c.executed {
						return nil, lost(relay.Timeout, false)
					}
					return lost(relay.Timeout, false), nil
				})
				s := newMux(t, Config{}, 30, n).Open("h", 80)
				io.WriteString(s, "HEAD")
				time.Sleep(100 * time.Millisecond) // connect_data is on its way
				io.WriteString(s, "BODY")
				s.Close()
				time.Sleep(30 * time.Second)
				_, err := s.Read(nil)
				if kept := errors.Is(err, net.ErrClosed); kept != c.kept {
					t.Errorf("ended by %v", err)
				}
				n.wantSession(t, c.sessions, c.got)
				for _, x := range n.sessions {
					if x.closed && x.rst == c.kept {
						t.Errorf("closed by reset: %v", x.rst)
					}
				}
			})
		})
	}
}

// wantSession checks how many sessions there were, and what their targets got.
func (n *fakeNode) wantSession(t *testing.T, sessions int, got string) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.sessions) != sessions {
		t.Errorf("%d connections were made, want %d", len(n.sessions), sessions)
	}
	for sid, x := range n.sessions {
		if string(x.got) != got {
			t.Errorf("session %s got %d bytes, %.40q, want %.40q", sid, len(x.got), x.got, got)
		}
	}
}

// What a connect was to take along was forgotten when its application had
// closed before the relay refused it, though it could have gone out again.
func TestCloseBeforeRefusedConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.mute, n.rtt = true, time.Second
		n.setFault(func(i int, _ []wire.Op) (before, after *relay.Failure) {
			if i == 1 {
				return lost(relay.Unreachable, true), nil
			}
			return nil, nil
		})
		s := newMux(t, Config{}, 30, n).Open("h", 80)
		io.WriteString(s, "HEAD")
		s.Close()
		time.Sleep(10 * time.Second)
		n.wantSession(t, 1, "HEAD")
	})
}

// A Close beside a poll that a stock node held went ahead of the bytes before
// it, and the session was gone when they came. No fault was needed.
func TestCloseWaitsForWhatIsUnsent(t *testing.T) {
	for _, stock := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNode(t)
			n.stock, n.mute, n.rtt = stock, true, time.Second
			s := newMux(t, Config{}, 30, n).Open("h", 80)
			io.WriteString(s, "HEAD")
			time.Sleep(5 * time.Second) // a poll is held now
			io.WriteString(s, "BODY")
			s.Close()
			time.Sleep(time.Minute)
			n.wantSession(t, 1, "HEADBODY")
			if x := n.sessions["s0"]; !x.closed && !x.fin || x.rst {
				t.Errorf("stock %v: closed %v, fin %v, reset %v", stock, x.closed, x.fin, x.rst)
			}
		})
	}
}

// A session id that no body had room for made the loop try for ever, and no
// other flow was served.
func TestLongSID(t *testing.T) {
	for size, fails := range map[int]bool{maxSID: false, maxSID + 1: true, 3 << 20: true} {
		synctest.Test(t, func(t *testing.T) {
			node := replier(func(ops []wire.Op) ([]wire.Result, *relay.Failure) {
				time.Sleep(100 * time.Millisecond)
				results := make([]wire.Result, len(ops))
				for i, op := range ops {
					results[i] = wire.Result{SID: op.SID, EOF: op.Kind == wire.Close}
					switch {
					case op.SID != nil:
					case string(op.Host) == "long":
						results[i].SID = bytes.Repeat([]byte("s"), size)
					default:
						results[i].SID = []byte("short")
					}
				}
				return results, nil
			})
			m := newMux(t, Config{}, 4, node)
			long, other := m.Open("long", 80), m.Open("other", 80)
			io.WriteString(long, "x")
			time.Sleep(time.Second)
			io.WriteString(long, "y")
			if err := other.Wait(t.Context()); err != nil {
				t.Errorf("another flow: %v", err)
			}
			if err := long.Wait(t.Context()); (err != nil) != fails {
				t.Errorf("a sid of %d bytes: %v", size, err)
			}
			if n := m.loop.ds[0].Stats.Outcome[relay.Malformed].Load(); (n > 0) != fails {
				t.Errorf("a sid of %d bytes: %d answers are malformed", size, n)
			}
			long.Abort()
			other.Abort()
		})
	}
}

// The same for a body that has no room for any op: its flow is told.
func TestNoRoomForAnOp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		m := newMux(t, Config{MaxBytes: wire.BatchLen("key") + 40}, 4, n)
		s := m.Open("example.org", 80)
		io.WriteString(s, "x")
		if err := s.Wait(t.Context()); !errors.Is(err, errNoRoom) {
			t.Errorf("got %v", err)
		}
	})
}

// Each answer to an upload may bring bytes too: an application that wrote and
// never read filled the memory with them.
func TestUploadWithoutReading(t *testing.T) {
	const writes, size = 200, 60 << 10
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = 100 * time.Millisecond
		m := newMux(t, Config{Memory: 16 << 20}, 30, n)
		s := m.Open("h", 80)
		p := noisy(size)
		for range writes {
			if _, err := s.Write(p); err != nil {
				t.Fatal(err)
			}
			time.Sleep(400 * time.Millisecond)
		}
		time.Sleep(5 * time.Minute)
		s.mu.Lock()
		waits := int64(s.in.bytes)
		s.mu.Unlock()
		if waits > m.budget.Limit() || waits < inLow {
			t.Errorf("%d bytes wait, %d are allowed", waits, m.budget.Limit())
		}
		s.CloseWrite()
		if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, bytes.Repeat(p, writes)) {
			t.Errorf("read %d bytes of %d, or others; %v", len(got), writes*size, err)
		}
	})
}

// What was on its way up was in no budget: many flows in an outage held 2 MiB
// each.
func TestOutboxShare(t *testing.T) {
	const memory = 16 << 20
	for _, c := range []struct{ flows, share int }{
		{1, outLimit}, {2, memory / 4 / 2}, {16, memory / 4 / 16}, {64, buf.Max}, {100, buf.Max},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNode(t)
			n.setFault(refuseAll(*lost(relay.Unreachable, true)))
			m := newMux(t, Config{Memory: memory}, 8, n)
			flows := make([]*Stream, c.flows)
			for i := range flows {
				flows[i] = m.Open("h", 80)
			}
			for _, s := range flows {
				go s.Write(make([]byte, 2*outLimit))
			}
			time.Sleep(10 * time.Second)
			for _, s := range flows {
				s.mu.Lock()
				held := s.out.held
				s.mu.Unlock()
				if held < c.share || held >= c.share+buf.Max { // the last write may have crossed the line
					t.Errorf("one of %d flows holds %d bytes, may hold %d", c.flows, held, c.share)
				}
				s.Abort()
			}
		})
	}
}

// A flow whose target had said FIN got no sign of life any more, and its node
// reaped it while its application was still sending, now and then.
func TestHalfClosedFlowShowsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = 100 * time.Millisecond
		s := newMux(t, Config{}, 30, n).Open("h", 80)
		ask(t, s, "x")
		n.mu.Lock()
		n.sessions["s0"].fin = true // to the fake node, both ends' are one
		n.notify()
		n.mu.Unlock()
		if _, err := io.ReadAll(s); err != nil {
			t.Fatal(err)
		}
		before := len(n.seen())
		for range 10 {
			last := len(n.seen())
			time.Sleep(2 * signEvery)
			if len(n.seen()) == last {
				t.Fatalf("%v without a sign of life", 2*signEvery)
			}
		}
		if got := len(n.seen()) - before; got > 25 {
			t.Errorf("%d exchanges in 20 minutes", got)
		}
		io.WriteString(s, " and late")
		s.Close()
		time.Sleep(time.Minute)
		n.wantSession(t, 1, "x and late")
	})
}
