package mux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
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

func (f replier) Exchange(_ context.Context, body, answer []byte) ([]byte, error) {
	e, err := wire.ParseEnvelope(bytes.Clone(body))
	if err != nil {
		return answer, &relay.Failure{Kind: relay.Broken, Err: err}
	}
	ops, err := wire.ParseOps(e.Ops, nil, 1000)
	if err != nil {
		return answer, &relay.Failure{Kind: relay.Broken, Err: err}
	}
	results, failure := f(ops)
	if failure != nil {
		return answer, failure
	}
	return wire.AppendAnswer(answer, results), nil
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

// Two failures parked the only deployment, and a hold that was in flight counted
// as the one probe: nobody asked whether the relay worked again until the hold
// came back.
func TestHoldDoesNotBlockRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt, n.mute, n.hold = 100*time.Millisecond, true, 25*time.Second
		m := newMux(t, Config{}, 8, n)
		idle := m.Open("h", 80)
		io.WriteString(idle, "x")
		time.Sleep(5 * time.Second)
		failures := patience
		n.setFault(func(int, []wire.Op) (before, after *relay.Failure) {
			if failures--; failures >= 0 {
				return lost(relay.Broken, true), nil
			}
			return nil, nil
		})
		began := time.Now()
		s := m.Open("h", 80)
		err := s.Wait(t.Context())
		if took := time.Since(began); err != nil || took > 3*time.Second {
			t.Errorf("a new flow took %v, %v", took, err)
		}
		idle.Abort()
		s.Abort()
	})
}

// The answer of an exchange from before a failure ended the pause that the relay
// had asked for.
func TestOldAnswerDoesNotUnpark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt, n.mute = 100*time.Millisecond, true
		var log strings.Builder
		m := newMux(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, 8, n)
		var flows []*Stream
		for range 3 {
			s := m.Open("h", 80)
			io.WriteString(s, "x")
			flows = append(flows, s)
			time.Sleep(700 * time.Millisecond) // each has a hold of its own
		}
		n.setFault(refuseAll(relay.Failure{Kind: relay.RetryAfter, RetryAfter: 2 * time.Minute, Untouched: true}))
		before := len(n.seen())
		s := m.Open("h", 80)
		io.WriteString(s, "x")
		time.Sleep(time.Minute)
		if tries, most := len(n.seen())-before, 1+int(time.Minute/lastTryMandated); tries > most {
			t.Errorf("asked %d times in a minute, want at most %d", tries, most)
		}
		if strings.Contains(log.String(), "works again") {
			t.Errorf("the log says that it works: %s", log.String())
		}
		n.setFault(nil)
		for _, s := range append(flows, s) {
			s.Abort()
		}
	})
}

// Of deployments that all rested, only the one due first was asked, and not
// even that while it had a hold in flight.
func TestProbesCountNotHolds(t *testing.T) {
	now := time.Unix(1000, 0)
	a, b := testDeployment("a", 8), testDeployment("b", 8)
	for _, d := range []*deployment{a, b} {
		d.until, d.mandated, d.parkedFor = now.Add(time.Minute), true, relay.RetryAfter
		d.failed = now.Add(-lastTryMandated)
	}
	a.inFlight, a.failed = 1, a.failed.Add(-time.Second)
	ds := []*deployment{a, b}
	if d := pick(ds, now, noReserve, take); d != a {
		t.Error("a hold in flight counts as a probe")
	}
	a.probes = 1
	if d := pick(ds, now, noReserve, take); d != b {
		t.Error("nobody else is asked while one is")
	}
}

// A relay that refused a body for its size got the same again at once, and
// again, for as long as the flow lived.
func TestTooLargeHalvesBodies(t *testing.T) {
	const limit, size = 500 << 10, 3 << 20
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.mute, n.rtt = true, 100*time.Millisecond
		n.setFault(n.refuseAbove(limit))
		var log strings.Builder
		m := newMux(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, 30, n)
		flows := [2]*Stream{m.Open("h", 80), m.Open("h", 80)}
		var wg sync.WaitGroup
		for _, s := range flows {
			wg.Go(func() {
				if _, err := s.Write(noisy(size)); err != nil {
					t.Errorf("writing: %v", err)
				}
				s.CloseWrite()
				if _, err := io.Copy(io.Discard, s); err != nil {
					t.Errorf("reading: %v", err)
				}
			})
			time.Sleep(50 * time.Millisecond) // two bodies on their way at once
		}
		wg.Wait()
		n.wantSession(t, 2, string(noisy(size)))
		steps := map[string]int{}
		for _, line := range strings.Split(log.String(), "\n") {
			if _, trying, ok := strings.Cut(line, "trying="); ok {
				steps[trying]++
			}
		}
		if len(steps) == 0 || len(steps) > 3 {
			t.Errorf("the log has the steps %v", steps)
		}
		for trying, count := range steps {
			if count > 1 {
				t.Errorf("the log says %d times that %s is tried", count, trying)
			}
		}
		if got := m.loop.ds[0].maxBody; got > limit || got < limit/4 {
			t.Errorf("bodies ended up at %d bytes, the relay takes %d", got, limit)
		}
	})
}

// refuseAbove is a fault: a relay that takes no body above limit.
func (n *fakeNode) refuseAbove(limit int) func(int, []wire.Op) (before, after *relay.Failure) {
	return func(i int, _ []wire.Op) (before, after *relay.Failure) {
		if n.batches[i-1].len > limit {
			return lost(relay.TooLarge, true), nil
		}
		return nil, nil
	}
}

// What the refusal of an older, larger body said undid what a smaller one had
// taught.
func TestTooLargeNeverGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMux(t, Config{}, 8, newFakeNode(t))
		l := &loop{m: m, slots: 8}
		d := testDeployment("d", 8)
		d.Stats = m.loop.ds[0].Stats
		for _, c := range []struct{ body, want int }{
			{1 << 20, 512 << 10}, {512 << 10, 256 << 10}, {1 << 20, 256 << 10}, {100, bodyLeast}, {1 << 20, bodyLeast},
		} {
			l.judge(&exchange{d: d, bodyLen: c.body, failure: lost(relay.TooLarge, true)})
			if d.maxBody != c.want {
				t.Errorf("a body of %d bytes is refused: %d are tried, want %d", c.body, d.maxBody, c.want)
			}
		}
	})
}

// Who refuses even the smallest body refuses everything: the flow is told, be it
// new or old, and be it an upload or a poll that was refused. It is not asked
// without a pause until then.
func TestTooLargeForAnything(t *testing.T) {
	t.Run("new", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNode(t)
			n.setFault(refuseAll(*lost(relay.TooLarge, true)))
			s := newMux(t, Config{}, 30, n).Open("h", 80)
			io.WriteString(s, "x")
			wantDown(t, s.Wait(t.Context()))
			if tries := len(n.seen()); tries > 2 {
				t.Errorf("asked %d times", tries)
			}
		})
	})
	for _, text := range []string{"y", ""} {
		t.Run(fmt.Sprintf("open, %q", text), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode(t)
				n.rtt = 100 * time.Millisecond
				s := newMux(t, Config{}, 30, n).Open("h", 80)
				ask(t, s, "x")
				n.setFault(refuseAll(*lost(relay.TooLarge, true)))
				before := len(n.seen())
				io.WriteString(s, text)
				s.SetReadDeadline(time.Now().Add(grace + time.Minute))
				_, err := s.Read(make([]byte, 1))
				wantDown(t, err)
				if tries := len(n.seen()) - before; tries > int(grace/time.Second)+3 {
					t.Errorf("asked %d times", tries)
				}
				s.Abort()
				n.setFault(nil)
			})
		})
	}
}

// wantDown checks that err says that no relay works.
func wantDown(t *testing.T, err error) {
	t.Helper()
	var de *wire.DialError
	if !errors.As(err, &de) || de.Reason != wire.RelayDown {
		t.Errorf("got %v", err)
	}
}

// A poll that was refused for its body's size put back the upload that another
// exchange was carrying.
func TestTooLargePollLeavesUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMux(t, Config{}, 8, newFakeNode(t))
		for _, size := range []int{bodyLeast, bodyLeast + 1} {
			s := m.Open("h", 80)
			b := buf.Copy([]byte("travels"))
			s.fl = flow{state: open, ours: true, up: true, flight: []*buf.Buf{b}, flightLen: len(b.B), window: windowFirst}
			s.out.held = len(b.B)
			x := &exchange{d: m.loop.ds[0], poll: true, bodyLen: size, failure: lost(relay.TooLarge, true)}
			l := &loop{m: m, slots: 8}
			l.lost(s, &wire.Op{Kind: wire.Data}, x)
			if len(s.fl.flight) != 1 || s.fl.flightLen != len(b.B) || s.out.bytes != 0 {
				t.Errorf("body of %d: %d bytes are in flight, %d in the outbox", size, s.fl.flightLen, s.out.bytes)
			}
			s.fl.up = false
			s.landed()
			s.Abort()
		}
	})
}

// An upload whose answer was lost may be at the node. When a relay then refused
// it for its size, its parts went out under the same number, and the target got
// the second part twice.
func TestTooLargeAfterLoss(t *testing.T) {
	const limit, size = 600 << 10, 3 << 20
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.mute, n.rtt = true, 100*time.Millisecond
		first := true
		n.setFault(func(i int, ops []wire.Op) (before, after *relay.Failure) {
			if before, _ = n.refuseAbove(limit)(i, ops); before != nil && first {
				first = false
				return nil, lost(relay.Timeout, false)
			}
			return before, nil
		})
		s := newMux(t, Config{}, 30, n).Open("h", 80)
		io.WriteString(s, "HEAD")
		time.Sleep(5 * time.Second)
		s.Write(noisy(size))
		s.CloseWrite()
		_, err := io.Copy(io.Discard, s)
		n.mu.Lock()
		defer n.mu.Unlock()
		want := append([]byte("HEAD"), noisy(size)...)
		if got := n.sessions["s0"].got; !bytes.HasPrefix(want, got) || err == nil && len(got) < len(want) {
			t.Errorf("the target got %d bytes of %d, or others; %v", len(got), len(want), err)
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

// A new flow behind open ones, which have longer, was told only after those.
func TestFreshFlowsExpireBehindOpenOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = 100 * time.Millisecond
		m := newMux(t, Config{MaxOps: 1}, 8, n)
		var flows []*Stream
		for range 12 {
			s := m.Open("h", 80)
			ask(t, s, "x")
			flows = append(flows, s)
		}
		n.setFault(refuseAll(*lost(relay.Quota, true)))
		for _, s := range flows {
			io.WriteString(s, "y")
		}
		time.Sleep(time.Second)
		began := time.Now()
		wantDown(t, m.Open("h", 80).Wait(t.Context()))
		if took := time.Since(began); took < openWait || took > openWait+time.Second {
			t.Errorf("told after %v, want %v", took, openWait)
		}
		for _, s := range flows {
			s.Abort()
		}
	})
}

// A deployment that never answered was asked whether it works again with
// everybody's ops, and each time a whole batch of flows was lost with it.
func TestProbeCarriesOneOp(t *testing.T) {
	for _, stock := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			good, bad := newFakeNode(t), newFakeNode(t)
			good.rtt, good.stock, good.mute = 300*time.Millisecond, stock, true
			bad.rtt = 60 * time.Second
			bad.setFault(refuseAll(*lost(relay.Timeout, false)))
			m := newMux(t, Config{}, 30, good, bad)
			var wg sync.WaitGroup
			for range 120 {
				for range 5 { // a page's: they open together, idle for a while, and go
					wg.Go(func() {
						s := m.Open("h", 80)
						io.WriteString(s, "GET")
						s.Wait(context.Background())
						time.Sleep(20 * time.Second)
						s.Abort()
					})
				}
				time.Sleep(time.Second)
			}
			wg.Wait()
			seen := bad.seen()
			rests := seen[patience-1].at.Add(bad.rtt / 2) // when that many have failed
			probes := slices.DeleteFunc(seen, func(b batchSeen) bool { return !b.at.After(rests) })
			for _, b := range probes {
				if ops := slices.DeleteFunc(b.kinds, func(k wire.Kind) bool { return k == wire.Close }); len(ops) > 1 {
					t.Errorf("stock %v: a probe carries %v", stock, b.kinds)
				}
			}
			if len(probes) == 0 {
				t.Error("it is never asked again")
			}
		})
	}
}

// When the account of two deployments was full, their flows went to a third that
// rested, as if it were the last resort.
func TestSharedAccount(t *testing.T) {
	now := time.Unix(1000, 0)
	full := NewAccount(2)
	a, b := testDeployment("a", 1), testDeployment("b", 1)
	a.Account, b.Account = full, full
	a.inFlight, b.inFlight = 1, 1
	resting := testDeployment("resting", 2)
	resting.until, resting.failed, resting.parkedFor = now.Add(time.Minute), now.Add(-time.Minute), relay.Quota
	ds := []*deployment{a, b, resting}
	pickName := func() string {
		d := pick(ds, now, noReserve, func(d *deployment) bool { return d.Account.sem.TryAcquire(1) })
		if d == nil {
			return ""
		}
		return d.Name
	}
	full.sem.TryAcquire(2)
	if got := pickName(); got != "" {
		t.Errorf("both are full: picked %s", got)
	}
	full.sem.Release(1)
	if got := pickName(); got != "a" {
		t.Errorf("one slot is free: picked %q", got)
	}
	for _, d := range ds[:2] {
		d.until, d.failed = now.Add(time.Minute), now
	}
	if got := pickName(); got != "resting" {
		t.Errorf("all rest: picked %q", got)
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

// A jammed is a node of ours whose only target may not take what it is sent.
type jammed struct {
	mu   sync.Mutex
	word uint64 // the jam that RESULTs tell
	got  []byte
}

func (j *jammed) serve(ops []wire.Op) ([]wire.Result, *relay.Failure) {
	results := make([]wire.Result, len(ops))
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, op := range ops {
		for _, d := range op.Data {
			j.got = append(j.got, d...)
		}
		results[i] = wire.Result{SID: []byte("s"), HasOff: true, EOF: op.Kind == wire.Close, Jam: j.word}
	}
	j.mu.Unlock()
	time.Sleep(time.Second) // the way back, or a short hold
	j.mu.Lock()
	return results, nil
}

// say makes RESULTs tell word, and waits until the client has heard of it.
func (j *jammed) say(word uint64) {
	j.mu.Lock()
	j.word = word
	j.mu.Unlock()
	time.Sleep(5 * time.Second)
}

// Uploads to a target that did not read went on until the node reset it. And a
// RESULT that came late must not bring back what was true before.
func TestJam(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := new(jammed)
		s := newMux(t, Config{}, 8, replier(j.serve)).Open("h", 80)
		want := ""
		send := func(text string) {
			io.WriteString(s, text)
			want += text
			time.Sleep(10 * time.Second)
		}
		check := func(what string) {
			t.Helper()
			j.mu.Lock()
			defer j.mu.Unlock()
			if string(j.got) != want {
				t.Errorf("%s: the node got %q of %q", what, j.got, want)
			}
		}
		send("a")
		check("no word")
		j.say(1)
		send("b")
		want = "a"
		check("jammed")
		j.say(2)
		want = "ab"
		check("no more")
		j.say(1)
		send("c")
		check("an older word")
		j.say(3)
		send("d")
		s.CloseWrite()
		time.Sleep(10 * time.Second)
		want = "abc"
		check("jammed again, and half-closed")
		s.Close()
		time.Sleep(time.Minute)
		check("jammed again, and closed")
		j.say(4)
		want = "abcd"
		check("no more, and closed")
	})
}

// A close went out while bytes of its application were still waiting: for a
// held poll, for a target that did not read, for an exchange that had failed.
// And the end of the sending took along what a jam held back. All combinations
// of what the loop looks at.
func TestNeverCloseWithBytesUnsent(t *testing.T) {
	both := []bool{false, true}
	check := func(f *flow, v view) {
		unsent := v.out > 0 || f.resend
		aborted := v.over && !v.clean
		q, over := f.wants(v)
		if unsent && !aborted && (q == inLazy || q == inAbort || over && !f.deaf) {
			t.Errorf("%+v, %+v: queue %d, over %v", *f, v, q, over)
		}
		if unsent && f.state == open && f.jam%2 == 1 && q == inReady {
			t.Errorf("%+v, %+v: uploads to a target that does not read", *f, v)
		}
	}
	for bits := range 1 << 13 {
		bit := func(i int) bool { return bits>>i&1 == 1 }
		for state := fresh; state <= open; state++ {
			f := &flow{state: state, ours: bit(0), up: bit(1), resend: bit(2), finDone: bit(3), deaf: bit(4)}
			v := view{over: bit(5), clean: bit(6), fin: bit(7), eof: bit(8), gap: bit(9), hungry: bit(10), started: true}
			if bit(11) {
				f.polls = 1
			}
			if bit(12) {
				v.out = 1
			}
			for _, large := range both {
				if f.flightLen = 1; large {
					f.flightLen = interactive
				}
				for jam := range uint64(3) {
					f.jam = jam
					check(f, v)
				}
			}
		}
	}
}
