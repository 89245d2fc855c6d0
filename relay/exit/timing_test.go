package exit

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/wire"
)

const ms = time.Millisecond

func TestTimingDue(t *testing.T) {
	tm := timing{longPoll: defaultLongPoll}
	for _, c := range []struct {
		name string
		p    progress
		want time.Duration
	}{
		{"nothing to wait for", progress{}, 0},
		{"quiet polls", progress{polling: true, open: 3}, defaultLongPoll},
		{"a poll of an unknown session", progress{polling: true, open: 3, told: 1}, 0},
		{"a poll with data", progress{polling: true, open: 2, news: 1, since: time.Second, settle: 3 * ms}, time.Second + 3*ms},
		{"all polls with data", progress{polling: true, news: 3, since: time.Second}, time.Second},
		{"a poll with data that an upload waits for too", progress{polling: true, open: 2, news: 1, shared: true, since: time.Second}, time.Second + settlePoll},
		{"it, at the very end", progress{polling: true, news: 1, shared: true, since: defaultLongPoll}, defaultLongPoll},
		{"a poll in slow start", progress{polling: true, open: 2, news: 1, since: time.Second, first: time.Second, ripe: 1050 * ms}, 1050 * ms},
		{"a poll that stays in it", progress{polling: true, news: 1, since: time.Second, first: time.Second, ripe: 2 * time.Second}, time.Second + writeLimit},
		{"all of them, one in slow start", progress{news: 2, since: 90 * ms, ripe: 150 * ms}, 150 * ms},
		{"the first of two, in slow start", progress{open: 1, news: 1, since: 90 * ms, ripe: 150 * ms}, 150 * ms},
		{"it, at the limit", progress{news: 1, since: 300 * ms, ripe: 400 * ms}, writeLimit},
		{"a write without echo", progress{open: 1}, writeLimit},
		{"a write, and a session that never was", progress{open: 1, told: 1}, writeLimit},
		{"the first of two", progress{open: 1, news: 1, since: 40 * ms}, 40*ms + settleStep},
		{"the first of two, late", progress{open: 1, news: 1, since: 340 * ms}, writeLimit},
		{"all of them", progress{news: 2, since: 90 * ms, settle: 3 * ms}, 93 * ms},
		{"all of them, at the limit", progress{news: 2, since: writeLimit, settle: 3 * ms}, writeLimit},
		{"a target that does not read", progress{open: 1, blocked: 1}, defaultLongPoll},
		{"it, beside a silent one", progress{open: 2, blocked: 1}, writeLimit},
		{"it, beside one with news", progress{open: 1, blocked: 1, news: 1, since: 0}, settleStep},
		{"it, beside one that ended before", progress{open: 1, blocked: 1, told: 1}, writeLimit},
	} {
		if got := tm.due(&c.p); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRipe(t *testing.T) {
	for _, c := range []struct {
		size     int
		rtt, way time.Duration
		want     time.Duration
	}{
		{initialWindow - 1, 40 * ms, 1500 * ms, 0},
		{initialWindow, 40 * ms, 1500 * ms, 50 * ms},
		{streaming - 1, 40 * ms, 1500 * ms, 50 * ms},
		{streaming, 40 * ms, 1500 * ms, 0},
		{initialWindow, 40 * ms, 160 * ms, 50 * ms},
		{initialWindow, 40 * ms, 159 * ms, 0},
	} {
		if got := ripe(c.size, c.rtt, c.way); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestSettleFor(t *testing.T) {
	for rtt, want := range map[uint64]time.Duration{
		0: settleGuess, 1: 0, 499: 0, 500: ms, 1500: 3 * ms, 2500: settleMost, 1 << 60: settleMost,
	} {
		if got := settleFor(rtt); got != want {
			t.Errorf("%d ms: %v", rtt, got)
		}
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct {
		room        int
		wants, want []int
	}{
		{10, nil, nil},
		{10, []int{3, 0, 4}, []int{3, 0, 4}},
		{10, []int{20}, []int{10}},
		{10, []int{20, 20}, []int{5, 5}},
		{10, []int{1, 20, 20}, []int{1, 4, 4}},
		{12, []int{1, 2, 20, 5}, []int{1, 2, 4, 4}},
		{10, []int{4, 20, 20, 1}, []int{3, 3, 3, 1}},
		{1, []int{5, 5}, []int{0, 0}},
	} {
		got := slices.Clone(c.wants)
		if share(c.room, got); !slices.Equal(got, c.want) {
			t.Errorf("share(%d, %v) = %v, want %v", c.room, c.wants, got, c.want)
		}
	}
}

// took runs f and returns how long it took, in virtual time.
func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// expect fails unless f takes between least and most.
func expect(t *testing.T, what string, least, most time.Duration, f func()) {
	t.Helper()
	if d := took(f); d < least || d > most {
		t.Errorf("%s took %v, want %v..%v", what, d, least, most)
	}
}

func bubble(t *testing.T, c Config, f func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) { f(t, newRig(t, c)) })
}

func TestWriteIsAnsweredWithItsEcho(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.open("echo.test")
		expect(t, "an echo", 0, settleGuess, func() {
			if got := text(r.batch(write(sid, "hi"))[0]); got != "hi" {
				t.Errorf("echo %q", got)
			}
		})
		silent := r.open("silent.test")
		expect(t, "a write without echo", writeLimit, writeLimit, func() { r.batch(write(silent, "hi")) })
		expect(t, "both", settleStep, settleStep+settleGuess, func() { r.batch(write(silent, "hi"), write(sid, "hi")) })
		expect(t, "an echo and a quiet poll", 0, settleGuess, func() { r.batch(write(sid, "hi"), poll(silent)) })
	})
}

func TestPollIsHeld(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		a, b := r.open("silent.test"), r.open("echo.test")
		expect(t, "a quiet poll", defaultLongPoll, defaultLongPoll, func() { r.batch(poll(a), poll(b)) })
		time.AfterFunc(5*time.Second, func() { _, _ = r.world.far("silent.test").Write([]byte("now")) })
		expect(t, "a poll", 5*time.Second, 5*time.Second+settlePoll, func() {
			if res := r.batch(poll(a), poll(b)); text(res[0]) != "now" || res[1].EOF {
				t.Errorf("got %q", text(res[0]))
			}
		})
		expect(t, "a poll of an unknown session", 0, settleGuess, func() { r.batch(poll(a), poll([]byte("NOBODY"))) })
		r.batch(closeOp(a), closeOp(b))
		expect(t, "a poll of ended sessions", 0, settleGuess, func() { r.batch(poll(a), poll(b)) })
	})
}

// TestFairness_HangingDial: a dial that hangs is the business of its session.
func TestFairness_HangingDial(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		var res []wire.Result
		expect(t, "a fast one beside a hanging dial", 0, settleStep+settleGuess, func() {
			res = r.batch(connectOp("hang.test"), connectData("echo.test", "hi"))
		})
		if !res[0].Pend || text(res[1]) != "hi" {
			t.Errorf("pend %v, %q", res[0].Pend, text(res[1]))
		}
		expect(t, "two hanging dials", writeLimit, writeLimit, func() { r.batch(connectOp("hang.test"), connectData("hang.test", "x")) })
		expect(t, "the outcome", dialLimit-writeLimit-settleStep-ms, dialLimit, func() {
			if e := string(r.batch(poll(res[0].SID))[0].Err); e != connectFailed+wire.TimedOut.String() {
				t.Errorf("error %q", e)
			}
		})
	})
}

// TestPendIsResolvedByAPoll: the dial's success is news to a client that waits
// for it, also if the target says nothing.
func TestPendIsResolvedByAPoll(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		res := r.batch(connectOp("late.test"))
		if !res[0].Pend {
			t.Fatal("not pending")
		}
		sid := bytes.Clone(res[0].SID)
		expect(t, "the dial", time.Second-writeLimit, time.Second-writeLimit+settlePoll, func() {
			if res := r.batch(poll(sid)); res[0].Pend || res[0].EOF {
				t.Errorf("%+v", res[0])
			}
		})
		expect(t, "the next poll", defaultLongPoll, defaultLongPoll, func() { r.batch(poll(sid)) })
	})
}

// TestFairness_BlockedWrite: a target that does not read delays nobody else,
// and its own client only as far as the wire can.
func TestFairness_BlockedWrite(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		stalled, echo := r.open("silent.test"), r.open("echo.test")
		much := strings.Repeat("x", lowWater+buf64)
		expect(t, "a write beside a blocked one", 0, settleStep+settleGuess, func() {
			if got := text(r.batch(write(stalled, much), write(echo, "hi"))[1]); got != "hi" {
				t.Errorf("echo %q", got)
			}
		})
		expect(t, "a blocked write alone", defaultLongPoll, defaultLongPoll, func() { r.batch(write(stalled, "x")) })
		time.AfterFunc(2*time.Second, func() {
			_, _ = io.CopyN(io.Discard, r.world.far("silent.test"), int64(len(much)))
		})
		expect(t, "one that is unblocked", 2*time.Second, 2*time.Second+writeLimit, func() { r.batch(write(stalled, "x")) })
	})
}

const buf64 = 64 << 10

// TestKeystrokeBesideHeldPoll: the echo goes by the write's exchange, and the
// poll stays held.
func TestKeystrokeBesideHeldPoll(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.open("echo.test")
		held := make(chan time.Duration)
		go func() { held <- took(func() { r.batch(poll(sid)) }) }()
		time.Sleep(time.Second)
		for range 3 {
			expect(t, "a keystroke", 0, settleGuess, func() {
				if got := text(r.batch(write(sid, "k"))[0]); got != "k" {
					t.Errorf("echo %q", got)
				}
			})
			time.Sleep(time.Second)
		}
		if d := <-held; d != defaultLongPoll {
			t.Errorf("the poll was held for %v", d)
		}
	})
}

// TestBulkBesideHeldPoll: an upload does not wait for an answer that another
// exchange will carry.
func TestBulkBesideHeldPoll(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.open("parrot.test")
		bulk := write(sid, strings.Repeat("x", bulkUpload))
		expect(t, "a bulk upload without a poll", writeLimit, writeLimit, func() { r.batch(bulk) })
		done := make(chan []wire.Result)
		go func() { done <- r.batch(poll(sid)) }()
		synctest.Wait()
		expect(t, "one beside a poll", 0, settleGuess, func() { r.batch(bulk) })
		small := write(sid, strings.Repeat("x", bulkUpload-1))
		expect(t, "a smaller one beside a poll", writeLimit, writeLimit, func() { r.batch(small) })
		r.batch(closeOp(sid))
		<-done
	})
}

// TestHeldPollEndsWithItsSession: there is nothing left to wait for.
func TestHeldPollEndsWithItsSession(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.open("silent.test")
		time.AfterFunc(3*time.Second, func() { r.batch(closeOp(sid)) })
		expect(t, "the poll", 3*time.Second, 3*time.Second+settlePoll, func() {
			if res := r.batch(poll(sid)); !res[0].EOF || res[0].Rst {
				t.Errorf("%+v", res[0])
			}
		})
	})
}

// TestHostile15_ClientGoneWhileDialing leaves neither dial nor session behind.
func TestHostile15_ClientGoneWhileDialing(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		if _, err := r.try(ctx, connectOp("hang.test")); err == nil {
			t.Error("an answer to nobody")
		}
		synctest.Wait()
		if n := len(r.node.table.close()); n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
}

// TestCloseWhileDialing ends the dial.
func TestCloseWhileDialing(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := bytes.Clone(r.batch(connectData("hang.test", "x"))[0].SID)
		expect(t, "close", 0, settleGuess, func() { r.batch(closeOp(sid)) })
		synctest.Wait()
		if s := r.node.Stats(); s.Sessions != 0 || s.Memory != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestNoDrainForNobody: what came while the client went stays for its next poll.
func TestNoDrainForNobody(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.open("silent.test")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, func() {
			cancel()
			_, _ = r.world.far("silent.test").Write([]byte("kept"))
		})
		if _, err := r.try(ctx, poll(sid)); err == nil {
			t.Error("an answer to nobody")
		}
		if res := r.batch(poll(sid)); text(res[0]) != "kept" || res[0].Off != 0 {
			t.Errorf("got %q at %d", text(res[0]), res[0].Off)
		}
	})
}

func TestReap(t *testing.T) {
	bubble(t, Config{Reap: time.Minute, LongPoll: time.Second}, func(t *testing.T, r *rig) {
		idle, polled, fed := r.open("echo.test"), r.open("bye.test"), r.open("silent.test")
		for range 6 { // an op, or a byte of the target's, every 50 s
			time.Sleep(50 * time.Second)
			r.batch(poll(polled))
			_, _ = r.world.far("silent.test").Write([]byte("."))
		}
		synctest.Wait()
		if s := r.node.Stats(); s.Sessions != 2 || s.Reaped != 1 {
			t.Errorf("%+v", s)
		}
		if err := r.world.far("echo.test").ended(); err == nil {
			t.Error("the target of a reaped session heard nothing")
		}
		if res := r.batch(poll(fed)); len(text(res[0])) != 6 {
			t.Errorf("fed: %q", text(res[0]))
		}
		if res := r.batch(poll(idle)); !res[0].EOF || !res[0].Rst {
			t.Errorf("idle: %+v", res[0])
		}
	})
}

// TestCloseAnswersHolds: a node that stops keeps nobody waiting.
func TestCloseAnswersHolds(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.open("silent.test")
		time.AfterFunc(time.Second, r.node.Close)
		expect(t, "the poll", time.Second, time.Second, func() { r.batch(poll(sid)) })
		res := r.batch(poll(sid), connectOp("echo.test"))
		if !res[0].EOF || !res[0].Rst || string(res[1].Err) != connectFailed+errStopping.Error() {
			t.Errorf("%+v", res)
		}
	})
}
