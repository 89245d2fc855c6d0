package mux

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/wire"
	"relaymux/relay"
)

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
		// It learns from refusals alone: what was left when it last halved may
		// have been less than it would try.
		if got := m.loop.ds[0].body.learned; got >= 2*limit || got < limit/4 {
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
		l := &loop{m: m}
		d := testDeployment("d", 8)
		d.Stats = m.loop.ds[0].Stats
		for _, c := range []struct{ body, want int }{
			{1 << 20, 512 << 10}, {512 << 10, 256 << 10}, {1 << 20, 256 << 10}, {100, bodyLeast}, {1 << 20, bodyLeast},
		} {
			l.judge(&exchange{d: d, bodyLen: c.body, failure: lost(relay.TooLarge, true)})
			if d.body.learned != c.want {
				t.Errorf("a body of %d bytes is refused: %d are tried, want %d", c.body, d.body.learned, c.want)
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
			s.fl.state, s.fl.ours, s.fl.up = open, true, true
			s.fl.flight, s.fl.flightLen = []*buf.Buf{b}, len(b.B)
			s.out.held = len(b.B)
			x := &exchange{d: m.loop.ds[0], bodyLen: size, failure: lost(relay.TooLarge, true)}
			l := &loop{m: m}
			l.lost(s, &wire.Op{Kind: wire.Data}, &outcome{poll: true}, x)
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

// TestTooLargeLeavesDoubt: an upload that may be at the node goes again as it was. That a
// body was too large which it shared with others says nothing of it, if it is smaller than
// what passes.
func TestTooLargeLeavesDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMux(t, Config{}, 8, newFakeNode(t))
		d := m.loop.ds[0]
		l := &loop{m: m, ds: []*deployment{d}}
		for size, lives := range map[int]bool{100_000: true, 149_000: true, 160_000: false} {
			d.body = ceiling{learned: 200_000}
			s := m.Open("h", 80)
			s.fl.state, s.fl.ours, s.fl.up, s.fl.doubt = open, true, true, time.Now()
			b := buf.Copy(make([]byte, min(size, buf.Max)))
			s.fl.flight, s.fl.flightLen, s.out.held = []*buf.Buf{b}, size, size
			l.lost(s, &wire.Op{Kind: wire.Data}, &outcome{}, &exchange{d: d, bodyLen: 390_000, failure: lost(relay.TooLarge, true)})
			if s.fl.resend != lives {
				t.Errorf("%d bytes go again: %v", size, s.fl.resend)
			}
			s.fl.up = false
			s.landed()
			s.Abort()
		}
	})
}

// TestCeiling: a relay that was short of room gets large bodies again soon, and one that
// means it is asked ever more seldom; what is known to pass is never given up for that.
func TestCeiling(t *testing.T) {
	const most = 4 << 20
	now := time.Now()
	var c ceiling
	check := func(what string, want int) {
		t.Helper()
		if got := c.limit(most, now); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	check("at first", most)
	c.passed(most)
	for _, bytes := range []int{1 << 20, 512 << 10, 256 << 10} {
		if !c.refused(bytes, now) {
			t.Errorf("the refusal of %d is no news", bytes)
		}
	}
	if c.refused(256<<10, now) || c.refused(1<<20, now) {
		t.Error("what was sent before is news")
	}
	check("learned", 128<<10)
	now = now.Add(ceilingRest - 1)
	check("for a minute", 128<<10)
	now = now.Add(1)
	c.sent(128<<10, now) // is no trial
	check("then", 256<<10)
	check("until there is one", 256<<10)
	c.sent(128<<10+1, now)
	check("one at a time", 128<<10)
	for _, size := range []int{256 << 10, 500 << 10, 1 << 20, 2 << 20} {
		c.passed(size)
		check("when that has passed", min(2*size, most))
	}
	c.passed(3 << 20)
	check("with most of it", most)
	if c.refused(most, now); c.learned != 3<<20 {
		t.Errorf("a trial too far has it learn %d", c.learned)
	}
	c.passed(most)
	check("all", most)

	c = ceiling{}
	c.refused(256<<10, now)
	trials := 0
	for range 24 * 60 { // minutes
		now = now.Add(time.Minute)
		if c.limit(most, now) >= 140<<10 {
			trials++
			c.sent(140<<10, now)
			if c.refused(140<<10, now) {
				t.Error("the refusal of a trial is news")
			}
		}
		check("meanwhile", 128<<10)
	}
	if trials < 24 || trials > 30 {
		t.Errorf("%d trials in a day", trials)
	}
}
