package exit

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/stats"
	"relaymux/mux/wire"
)

// TestUDPOpenWaitsForItsAnswer, as a connect_data does, and for nothing else.
func TestUDPOpenWaitsForItsAnswer(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		expect(t, "an echo", 0, settleGuess, func() {
			if got := pkts(r.batch(udpOpen("echo.test", "hi"))...); !slices.Equal(got, []string{"hi"}) {
				t.Errorf("echo %q", got)
			}
		})
		expect(t, "no datagram", 0, settleGuess, func() { r.batch(udpOpen("silent.test", "")) })
		expect(t, "no answer", writeLimit, writeLimit, func() { r.batch(udpOpen("silent.test", "hi")) })
		sid := r.openUDP("silent.test")
		expect(t, "a datagram without answer", writeLimit, writeLimit, func() { r.batch(udpData(sid, "hi")) })
		expect(t, "a poll", defaultLongPoll, defaultLongPoll, func() { r.batch(udpPoll(sid)) })
		expect(t, "a poll and news", time.Second, time.Second+settleGuess, func() {
			time.AfterFunc(time.Second, func() { r.world.socket("silent.test").say("news") })
			if got := pkts(r.batch(udpPoll(sid))...); !slices.Equal(got, []string{"news"}) {
				t.Errorf("%q", got)
			}
		})
	})
}

// TestUDPBulkUploadLeavesTheAnswerToThePoll that another exchange holds.
func TestUDPBulkUploadLeavesTheAnswerToThePoll(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.openUDP("silent.test")
		done := make(chan []wire.Result, 1)
		go func() { done <- r.batch(udpPoll(sid)) }()
		synctest.Wait()
		bulk := func(n int) []wire.Op {
			return slices.Repeat([]wire.Op{udpData(sid, strings.Repeat("x", 1024))}, n)
		}
		expect(t, "a few", writeLimit, writeLimit, func() { r.batch(bulk(bulkUpload/1024 - 1)...) })
		expect(t, "bulk", 0, 0, func() { r.batch(bulk(bulkUpload / 1024)...) })
		r.world.socket("silent.test").say("answer")
		if got := pkts(<-done...); !slices.Equal(got, []string{"answer"}) {
			t.Errorf("the poll got %q", got)
		}
	})
}

// TestHostile79_UDPOps: ops that no client of ours sends are carried out for what
// they are worth, and no datagram is cut or joined.
func TestHostile79_UDPOps(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		tcp := r.open("echo.test")
		sid := r.openUDP("echo.test")
		odd := udpData(sid, "a")
		odd.Fin, odd.Rst, odd.Empty, odd.HasWSeq, odd.WSeq = true, true, true, true, 1<<63
		res := r.batch(odd, udpEmpty(sid), udpData(tcp, "x"), udpData([]byte("NOBODY"), "y"), write(sid, "z"), udpPoll(sid))
		if got := pkts(res...); !slices.Equal(got, []string{"a", ""}) {
			t.Errorf("%q", got)
		}
		for i, r := range res {
			if ours := i < 2 || i == 5; r.EOF == ours || ours == r.Rst {
				t.Errorf("op %d: eof %v, rst %v", i, r.EOF, r.Rst)
			}
		}
		// As many ops as a batch may have, of sessions that never were.
		ops := slices.Repeat([]wire.Op{udpData([]byte("NOBODY"), "y")}, maxOps)
		if n := len(r.batch(ops...)); n != maxOps {
			t.Errorf("%d results", n)
		}
		r.wantDropped(t, map[stats.Drop]uint64{stats.DropEnded: 2 + maxOps})
	})
}

// TestUDPManySessions: each gets its own answers.
func TestUDPManySessions(t *testing.T) {
	const n = 256
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		var open, again []wire.Op
		for i := range n {
			open = append(open, udpOpen("echo.test", fmt.Sprint(i)))
		}
		for i, res := range r.batch(open...) {
			if got := pkts(res); !slices.Equal(got, []string{fmt.Sprint(i)}) || res.Off != 0 || string(res.IP) != udpAddr {
				t.Fatalf("session %d: %q, off %d, ip %s", i, got, res.Off, res.IP)
			}
			again = append(again, udpData(slices.Clone(res.SID), fmt.Sprint("again ", i)))
		}
		for i, res := range r.batch(again...) {
			if got := pkts(res); !slices.Equal(got, []string{fmt.Sprint("again ", i)}) || res.Off != 1 || len(res.IP) > 0 {
				t.Fatalf("session %d: %q, off %d, ip %s", i, got, res.Off, res.IP)
			}
		}
		if s := r.node.Stats(); s.Sessions != n || s.UDPSockets != n || s.BytesUp != s.BytesDown {
			t.Errorf("%+v", s)
		}
		for i := range again {
			again[i] = closeOp(again[i].SID)
		}
		r.batch(again...)
		synctest.Wait()
		st := r.node.udp.Stats
		if s := r.node.Stats(); s.Sessions != 0 || s.UDPSockets != 0 || st.FlowsOpen.Load() != 0 || st.Flows.Load() != n {
			t.Errorf("after close: %+v, %d flows open of %d", s, st.FlowsOpen.Load(), st.Flows.Load())
		}
		if sent, received := st.Sent.Datagrams.Load(), st.Received.Datagrams.Load(); sent != 2*n || received != 2*n {
			t.Errorf("counted %d datagrams sent and %d received", sent, received)
		}
		r.wantDropped(t, nil)
	})
}

// TestReapUDP: polls without data do not keep a session, datagrams either way do.
func TestReapUDP(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		polled, fed, heard := r.openUDP("a.test"), r.openUDP("b.test"), r.openUDP("c.test")
		ops := []wire.Op{udpPoll(polled), udpPoll(fed), udpPoll(heard)}
		live := func(sid []byte) bool { return !r.batch(udpPoll(sid), udpOpen("d.test", ""))[0].EOF }
		start := time.Now()
		for time.Since(start) < 110*time.Second {
			r.batch(ops...)
		}
		r.batch(udpEmpty(fed))
		r.world.socket("c.test").say("")
		time.Sleep(time.Until(start.Add(119 * time.Second)))
		if !live(polled) {
			t.Error("reaped before its time")
		}
		time.Sleep(time.Until(start.Add(135 * time.Second))) // looked for every 12 s
		if live(polled) || !r.world.socket("a.test").isClosed() {
			t.Error("not reaped after 120 s of empty polls")
		}
		if !live(fed) || !live(heard) {
			t.Error("a datagram did not keep the session")
		}
		if n := r.node.Stats().Reaped; n != 1 {
			t.Errorf("%d reaped", n)
		}
	})
}

// TestReapUDPOfAbsentClient: that a target keeps sending does not keep a session
// whose client does not even poll.
func TestReapUDPOfAbsentClient(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.openUDP("silent.test")
		c := r.world.socket("silent.test")
		for range 119 {
			time.Sleep(time.Second)
			c.say("tick")
		}
		if c.isClosed() {
			t.Fatal("reaped before its time")
		}
		for range 20 {
			time.Sleep(time.Second)
			c.say("tick")
		}
		if !c.isClosed() {
			t.Error("not reaped")
		}
	})
}

// TestUDPEndIsToldAfterWhatCame, once, and later ops hear the same.
func TestUDPEndIsToldAfterWhatCame(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid, other := r.openUDP("silent.test"), r.openUDP("other.test")
		c := r.world.socket("silent.test")
		c.say("a", "b")
		c.refuse()
		synctest.Wait()
		if !c.isClosed() {
			t.Error("the socket is still open")
		}
		few := udpPoll(sid)
		few.Max = 1
		if res := r.batch(few)[0]; !slices.Equal(pkts(res), []string{"a"}) || res.EOF {
			t.Errorf("%+v", res)
		}
		if res := r.batch(udpPoll(sid))[0]; !slices.Equal(pkts(res), []string{"b"}) || !res.EOF || res.Rst {
			t.Errorf("%+v", res)
		}
		if res := r.batch(udpData(sid, "x"))[0]; !res.EOF || res.Off != 2 {
			t.Errorf("%+v", res)
		}
		if res := r.batch(udpData(other, "x"))[0]; res.EOF {
			t.Errorf("another session ended too: %+v", res)
		}
		expect(t, "a held poll", time.Second, time.Second+settleGuess, func() {
			time.AfterFunc(time.Second, r.world.socket("other.test").refuse)
			if res := r.batch(udpPoll(other))[0]; !res.EOF {
				t.Errorf("%+v", res)
			}
		})
		synctest.Wait()
		if n := r.node.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
}

// TestUDPCloseSendsWhatWaits, for a while.
func TestUDPCloseSendsWhatWaits(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.openUDP("stuck.test")
		c := r.world.socket("stuck.test")
		r.batch(udpData(sid, "a"), udpEmpty(sid), udpData(sid, "b"), closeOp(sid))
		c.set(func() { c.stuck = false })
		synctest.Wait()
		if got := c.sent(); !slices.Equal(got, []string{"a", "", "b"}) || !c.isClosed() {
			t.Errorf("%q, closed: %v", got, c.isClosed())
		}
		sid = r.openUDP("stuck.test")
		c = r.world.socket("stuck.test")
		r.batch(udpData(sid, "a"), closeOp(sid))
		time.Sleep(lastWords - 5*time.Millisecond)
		if c.isClosed() {
			t.Error("closed too early")
		}
		time.Sleep(10 * time.Millisecond)
		if !c.isClosed() {
			t.Error("never closed")
		}
		sid = slices.Clone(r.batch(udpOpen("late.test", "early"))[0].SID) // still dialling
		r.batch(closeOp(sid))
		time.Sleep(time.Second)
		if c := r.world.socket("late.test"); !slices.Equal(c.sent(), []string{"early"}) || !c.isClosed() {
			t.Errorf("%q, closed: %v", c.sent(), c.isClosed())
		}
	})
}

// TestUDPLostAnswer loses what was in it, and only that: the session goes on, and
// the target's address is told again. One that nobody has heard of ends.
func TestUDPLostAnswer(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		w := brokenWriter{httptest.NewRecorder()}
		r.node.ServeHTTP(w, r.request(udpOpen("echo.test", "lost")))
		synctest.Wait()
		if !r.world.socket("echo.test").isClosed() {
			t.Error("a session that nobody knows is still there")
		}
		res := r.batch(udpOpen("late.test", "hi"))[0]
		sid := slices.Clone(res.SID)
		time.Sleep(time.Second)
		r.node.ServeHTTP(w, r.request(udpPoll(sid)))
		res = r.batch(udpData(sid, "again"))[0]
		if string(res.IP) != udpAddr || !slices.Equal(pkts(res), []string{"again"}) || res.Off != 1 || res.EOF {
			t.Errorf("%+v", res)
		}
		if res := r.batch(udpData(sid, "x"))[0]; len(res.IP) > 0 {
			t.Error("the address is told again without need")
		}
		r.wantDropped(t, map[stats.Drop]uint64{stats.DropRelay: 2})
	})
}

// request is an exchange that a test serves by itself.
func (r *rig) request(ops ...wire.Op) *http.Request {
	body := string(wire.AppendBatch(nil, testKey, false, ops))
	req, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, pathBatch, strings.NewReader(body))
	return req
}

// TestBlockUDP: what is blocked is refused at once, and counted by kind.
func TestBlockUDP(t *testing.T) {
	stun := "\x00\x01\x00\x00\x21\x12\xa4\x42" + "transaction_" // a Binding request
	at := func(port uint16, data string) wire.Op {
		o := udpOpen("echo.test", data)
		o.Port = port
		return o
	}
	for _, c := range []struct {
		udp    UDP
		op     wire.Op
		why    stats.Drop
		denied bool
	}{
		{UDP{}, at(443, "x"), 0, false},
		{UDP{BlockQUIC: BlockOff}, at(443, "x"), 0, false},
		{UDP{BlockQUIC: BlockOn}, at(443, "x"), stats.DropQUIC, true},
		{UDP{BlockQUIC: BlockOn}, at(442, "x"), 0, false},
		{UDP{BlockQUIC: BlockOn}, at(444, stun), 0, false},
		{UDP{}, at(3478, stun), 0, false},
		{UDP{BlockSTUN: true}, at(3478, "x"), stats.DropSTUN, true},
		{UDP{BlockSTUN: true}, at(5349, "x"), stats.DropSTUN, true},
		{UDP{BlockSTUN: true}, at(19302, "x"), stats.DropSTUN, true},
		{UDP{BlockSTUN: true}, at(3479, "x"), 0, false},
		{UDP{BlockSTUN: true}, at(3479, stun), stats.DropSTUN, true},
		{UDP{BlockSTUN: true}, at(3479, stun[:19]), 0, false},
		{UDP{BlockSTUN: true}, at(3479, "\x40"+stun[1:]), 0, false},
	} {
		bubble(t, Config{UDP: c.udp}, func(t *testing.T, r *rig) {
			expect(t, "an answer", 0, settleGuess, func() {
				res := r.batch(c.op)[0]
				want := ""
				if c.denied {
					want = udpFailed + "not allowed: block_" + c.why.String() + " at the node"
				}
				if string(res.Err) != want {
					t.Errorf("%+v, port %d: %q", c.udp, c.op.Port, res.Err)
				}
			})
			if c.denied {
				r.wantDropped(t, map[stats.Drop]uint64{c.why: 1})
			} else {
				r.wantDropped(t, nil)
			}
		})
	}
	bubble(t, Config{UDP: UDP{BlockSTUN: true}}, func(t *testing.T, r *rig) {
		sid := r.openUDP("echo.test")
		if got := pkts(r.batch(udpData(sid, stun), udpData(sid, "x"))...); !slices.Equal(got, []string{"x"}) {
			t.Errorf("%q", got)
		}
		r.wantDropped(t, map[stats.Drop]uint64{stats.DropSTUN: 1})
	})
}
