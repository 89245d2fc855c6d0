package mux

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/wire"
	"relaymux/relay"
)

func TestEcho(t *testing.T) {
	for _, stock := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNode(t)
			n.stock, n.rtt = stock, 1500*time.Millisecond
			m := newMux(t, Config{}, 30, n)
			s := m.Open("example.org", 80)
			began := time.Now()
			ask(t, s, "hello")
			if took := time.Since(began); took > 1510*time.Millisecond {
				t.Errorf("first bytes took %v", took)
			}
			ask(t, s, strings.Repeat("x", 3<<20))
			s.Close()
		})
	}
}

// A keystroke never waits for a held poll, towards a node of ours.
func TestKeystrokeBesidePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = 1500 * time.Millisecond
		m := newMux(t, Config{}, 30, n)
		s := m.Open("example.org", 22)
		ask(t, s, "first")
		time.Sleep(10 * time.Second)
		began := time.Now()
		ask(t, s, "k")
		if took := time.Since(began); took > 1650*time.Millisecond {
			t.Errorf("a key's echo took %v", took)
		}
		s.Close()
	})
}

// A download opens its window, and an idle flow closes it.
func TestNextWindow(t *testing.T) {
	const k, m = 1 << 10, 1 << 20
	for _, c := range []struct {
		n, more, most int
		poll          bool
		want          int
	}{
		{256 * k, 0, 16 * m, true, windowMost},
		{256*k - 1, 0, 16 * m, true, windowFirst},
		{48 * k, 0, 64 * k, true, windowMost}, // full
		{48*k - 1, 0, 64 * k, true, windowFirst},
		{1, 1, 16 * m, true, windowMost}, // the answer had no room for more
		{0, 0, 1 * m, true, windowLeast},
		{0, 0, 1 * m, false, windowFirst},
	} {
		if got := nextWindow(c.n, c.more, c.most, c.poll); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// A server's push on an idle connection takes half a round trip.
func TestPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = 1500 * time.Millisecond
		m := newMux(t, Config{}, 30, n)
		s := m.Open("example.org", 22)
		ask(t, s, "first")
		time.Sleep(5 * time.Second)
		began := time.Now()
		n.say("s0", "push")
		got := make([]byte, 4)
		io.ReadFull(s, got)
		if took := time.Since(began); took > 760*time.Millisecond {
			t.Errorf("took %v", took)
		}
		s.Close()
	})
}

// Twelve connections of one page share few exchanges.
func TestBurstSharesExchanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = 1500 * time.Millisecond
		m := newMux(t, Config{}, 30, n)
		var wg sync.WaitGroup
		for range 12 {
			time.Sleep(time.Millisecond)
			wg.Go(func() {
				s := m.Open("example.org", 80)
				ask(t, s, "GET /")
				s.Close()
			})
		}
		wg.Wait()
		if got := len(n.seen()); got > 3 {
			t.Errorf("%d exchanges: %+v", got, n.seen())
		}
	})
}

func TestLimitsOfABatch(t *testing.T) {
	for _, c := range []struct {
		name             string
		flows, each      int
		maxOps, maxBytes int
	}{
		{"max_ops 50 of 50", 50, 10, 50, 4 << 20},
		{"max_ops 50 of 51", 51, 10, 50, 4 << 20},
		{"max_ops 1", 5, 10, 1, 4 << 20},
		{"max_bytes 64 KiB", 10, 60 << 10, 50, 64 << 10},
		{"stock body", 10, 900 << 10, 50, 8 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode(t)
				n.stock, n.rtt = true, time.Second
				m := newMux(t, Config{MaxOps: c.maxOps, MaxBytes: c.maxBytes}, 30, n)
				var wg sync.WaitGroup
				for range c.flows {
					wg.Go(func() {
						s := m.Open("h", 80)
						ask(t, s, strings.Repeat("y", c.each))
						s.Close()
					})
				}
				wg.Wait()
				most := 0
				for _, b := range n.seen() {
					most = max(most, b.ops)
					if b.ops > c.maxOps || b.len > c.maxBytes || b.len >= stockBody {
						t.Errorf("a batch of %d ops, %d bytes", b.ops, b.len)
					}
				}
				if want := min(c.maxOps, c.flows-1); c.each < 100 && most < want { // the first goes alone
					t.Errorf("the largest batch has %d ops, want %d", most, want)
				}
			})
		})
	}
}

func lost(kind relay.Kind, untouched bool) *relay.Failure {
	return &relay.Failure{Kind: kind, Untouched: untouched, Detail: "test"}
}

// Towards a node of ours a lost answer costs a resend: the upload is ignored
// the second time, and nothing that was read is missing.
func TestLostAnswerOfUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt, n.mute = 100*time.Millisecond, true
		losses := 0
		n.fault = func(i int, ops []wire.Op) (before, after *relay.Failure) {
			for _, op := range ops {
				if op.Kind == wire.Data && op.Len() > 0 && rand.IntN(3) == 0 {
					losses++
					return nil, lost(relay.Timeout, false)
				}
			}
			return nil, nil
		}
		m := newMux(t, Config{}, 30, n, n)
		s := m.Open("h", 80)
		want := make([]byte, 20<<20)
		for i := range want {
			want[i] = byte(rand.Uint32())
		}
		if _, err := s.Write(want); err != nil {
			t.Fatal(err)
		}
		s.CloseWrite()
		if _, err := io.ReadAll(s); err != nil {
			t.Fatal(err)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if !bytes.Equal(n.sessions["s0"].got, want) {
			t.Error("the target got something else")
		}
		if losses == 0 {
			t.Error("nothing was lost")
		}
	})
}

// A lost answer that carried bytes of the target: the hole is noticed by its
// offset, and the application gets an error, not a stream with a hole.
func TestLostAnswerWithBytes(t *testing.T) {
	for _, stock := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNode(t)
			n.stock, n.rtt = stock, 100*time.Millisecond
			m := newMux(t, Config{}, 30, n)
			s := m.Open("h", 80)
			ask(t, s, "one")
			n.mu.Lock()
			n.fault = func(int, []wire.Op) (before, after *relay.Failure) {
				n.fault = nil
				return nil, lost(relay.Broken, false)
			}
			n.mu.Unlock()
			io.WriteString(s, "two")
			time.Sleep(time.Minute)
			if !stock {
				n.say("s0", "three")
			}
			if p, err := io.ReadAll(s); !errors.Is(err, ErrLost) {
				t.Errorf("stock %v: read %q, %v", stock, p, err)
			}
		})
	}
}

// A request that the node has certainly not seen goes out again through
// another deployment, whatever it is.
func TestUntouchedGoesElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = 100 * time.Millisecond
		bad := newFakeNode(t)
		bad.fault = func(int, []wire.Op) (before, after *relay.Failure) {
			return lost(relay.Quota, true), nil
		}
		var log strings.Builder
		m := newMux(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, 30, bad, n)
		for range 10 {
			s := m.Open("h", 80)
			ask(t, s, "hello")
			s.Close()
		}
		if got := len(bad.seen()); got != 1 {
			t.Errorf("the deployment without quota was asked %d times", got)
		}
		if !strings.Contains(log.String(), "deployment=d0 outcome=quota") {
			t.Errorf("the log does not name it: %s", log.String())
		}
	})
}

// The last deployment is never given up, and comes back when it works again.
func TestLastDeployment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = 100 * time.Millisecond
		broken := true
		n.fault = func(int, []wire.Op) (before, after *relay.Failure) {
			if broken {
				return lost(relay.Decoy, true), nil
			}
			return nil, nil
		}
		m := newMux(t, Config{}, 30, n)
		s := m.Open("h", 80)
		time.AfterFunc(20*time.Second, func() {
			n.mu.Lock()
			broken = false
			n.mu.Unlock()
		})
		ask(t, s, "hello")
		if tries := len(n.seen()); tries < 10 || tries > 25 {
			t.Errorf("%d tries in 20 s", tries)
		}
		s.Close()
	})
}

// When no relay works, an application hears of it.
func TestNoRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.fault = func(int, []wire.Op) (before, after *relay.Failure) { return lost(relay.Unreachable, true), nil }
		m := newMux(t, Config{}, 30, n)
		began := time.Now()
		err := m.Open("h", 80).Wait(context.Background())
		var de *wire.DialError
		if !errors.As(err, &de) || de.Reason != wire.RelayDown {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > openWait+10*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = 100 * time.Millisecond
		m := newMux(t, Config{}, 30, n)
		s := m.Open("h", 80)
		io.WriteString(s, "all of it")
		s.CloseWrite()
		got, err := io.ReadAll(s)
		if string(got) != "all of it" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if len(n.seen()) > 2 {
			t.Errorf("%d exchanges", len(n.seen()))
		}
	})
}

// HOSTILE 82: an application that does not read is not asked for, and the
// memory it pins is bounded.
func TestHostile82_SlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = 10 * time.Millisecond
		m := newMux(t, Config{Memory: 48 << 20}, 30, n)
		var slow []*Stream
		for range 20 {
			s := m.Open("h", 80)
			ask(t, s, "x")
			slow = append(slow, s)
		}
		n.mu.Lock()
		for _, f := range n.sessions {
			f.out.Write(make([]byte, 8<<20))
		}
		n.notify()
		n.mu.Unlock()
		time.Sleep(time.Minute)
		if used, limit := m.budget.Used(), m.budget.Limit(); used > limit+20*64<<10 {
			t.Errorf("%d bytes wait, %d are allowed", used, limit)
		}
		fast := m.Open("h", 80)
		began := time.Now()
		ask(t, fast, "still here")
		if took := time.Since(began); took > time.Second {
			t.Errorf("another flow took %v", took)
		}
		for _, s := range slow {
			if _, err := io.CopyN(io.Discard, s, 8<<20); err != nil {
				t.Fatal(err)
			}
			s.Close()
		}
		fast.Close()
		time.Sleep(time.Minute)
		if used := m.budget.Used(); used != 0 {
			t.Errorf("%d bytes are still charged", used)
		}
	})
}

// However idle connections came to be, one exchange holds for all of them.
func TestIdleFlowsShareOneHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = 1500 * time.Millisecond
		m := newMux(t, Config{}, 30, n, n)
		var idle []*Stream
		for range 50 {
			s := m.Open("h", 80)
			ask(t, s, "x")
			time.Sleep(5 * time.Second)
			idle = append(idle, s)
		}
		time.Sleep(20 * time.Second)
		before := len(n.seen())
		time.Sleep(10 * time.Minute)
		if got := len(n.seen()) - before; got > 50 {
			t.Errorf("%d exchanges in 10 minutes", got)
		}
		began := time.Now()
		n.say("s7", "push")
		io.ReadFull(idle[7], make([]byte, 4))
		if took := time.Since(began); took > 760*time.Millisecond {
			t.Errorf("a push took %v", took)
		}
		for _, s := range idle {
			s.Close()
		}
	})
}

// An application that does not read for an hour keeps its connection.
func TestStalledFlowShowsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = 100 * time.Millisecond
		m := newMux(t, Config{}, 30, n)
		s := m.Open("h", 80)
		ask(t, s, "x")
		n.say("s0", strings.Repeat("y", 40<<20))
		time.Sleep(10 * time.Minute)
		before := len(n.seen())
		for range 60 {
			last := len(n.seen())
			time.Sleep(2 * time.Minute)
			if len(n.seen()) == last {
				t.Fatal("two minutes without a sign of life")
			}
		}
		if got := len(n.seen()) - before; got > 125 {
			t.Errorf("%d exchanges in two hours", got)
		}
		if got, err := io.CopyN(io.Discard, s, 40<<20); err != nil {
			t.Error(got, err)
		}
		s.Close()
	})
}

// Idle connections do not take the slots away from what should not wait.
func TestPollsLeaveSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt, n.mute = 100*time.Millisecond, true
		m := newMux(t, Config{}, 4, n)
		var idle []*Stream
		for range 30 {
			s := m.Open("h", 80)
			io.WriteString(s, "x")
			time.Sleep(time.Second)
			idle = append(idle, s)
		}
		began := time.Now()
		s := m.Open("h", 80)
		if err := s.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("a new connection took %v", took)
		}
		s.Close()
		for _, s := range idle {
			s.Close()
		}
	})
}
