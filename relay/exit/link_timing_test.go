package exit

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestNextAnswer: which exchange is answered, and when. Times are ms from now on.
func TestNextAnswer(t *testing.T) {
	now := time.Unix(1e9, 0)
	at := func(d time.Duration) time.Time { return now.Add(d) }
	const room = 1 << 20
	park := func(until, path time.Duration) *linkExchange {
		return &linkExchange{hold: hold{until: at(until), path: path, room: room}}
	}
	long := func(paths ...time.Duration) (list []*linkExchange) {
		for _, p := range paths {
			list = append(list, park(time.Minute, p))
		}
		return list
	}
	const slow = 1500 * ms
	pipe := func(list ...*linkExchange) []*linkExchange {
		p := park(time.Minute, 0)
		p.pipe, p.stands = true, true
		return append([]*linkExchange{p}, list...)
	}
	for _, c := range []struct {
		name   string
		parked []*linkExchange
		keep   int
		t      tidings
		i      int
		want   time.Duration
	}{
		{"none", nil, 2, tidings{any: true, first: now, last: now}, -1, 0},
		{"one without a hold", []*linkExchange{park(0, slow)}, 2, tidings{}, 0, 0},
		{"the nearest end", []*linkExchange{park(9*time.Second, slow), park(5*time.Second, slow)}, 2, tidings{}, 1, 5 * time.Second},
		{"one more than is kept", long(slow, slow, slow), 2, tidings{}, 0, 0},
		{"as many", long(slow, slow), 2, tidings{}, 0, time.Minute},
		{"a pipe is always kept", pipe(), 0, tidings{}, 0, time.Minute},
		{"none is kept beside a pipe", pipe(park(time.Minute, slow), park(time.Minute, slow)), 0, tidings{}, 1, 0},
		{"one is kept beside a pipe", pipe(park(time.Minute, slow)), 1, tidings{}, 0, time.Minute},
		{"news by a pipe, others are due", pipe(), 0, tidings{any: true, first: now, last: now, expects: true}, 0, 0},
		{"none is kept", long(slow), 0, tidings{}, 0, 0},
		{"news", long(slow), 2, tidings{any: true, first: now, last: now}, 0, 3 * ms},
		{"news that waited", long(slow), 2, tidings{any: true, first: at(-time.Second), last: at(-time.Second)}, 0, -time.Second + 3*ms},
		{"the shortest way", long(slow, 700*ms, 700*ms), 3, tidings{any: true, first: now, last: now}, 1, 700 * ms / settleShare},
		{"one at its end", []*linkExchange{park(time.Minute, 700*ms), park(time.Second, slow)}, 2, tidings{any: true, first: now, last: now}, 1, 700 * ms / settleShare},
		{"one not quite", []*linkExchange{park(time.Minute, 700*ms), park(time.Second+ms, slow)}, 2, tidings{any: true, first: now, last: now}, 0, 700 * ms / settleShare},
		{"news after an end", []*linkExchange{park(2*ms, slow)}, 2, tidings{any: true, first: now, last: now}, 0, 2 * ms},
		{"a way without length", long(0), 2, tidings{any: true, first: now, last: now, expects: true, ripe: at(time.Second)}, 0, 0},
		{"a short way", long(40 * ms), 2, tidings{any: true, first: now, last: now}, 0, 0},
		{"a short way, others are due", long(40 * ms), 2, tidings{any: true, first: now, last: now, expects: true}, 0, ms},
		{"others are due", long(slow), 2, tidings{any: true, first: now, last: now, expects: true}, 0, gatherStep},
		{"others are due for long", long(slow), 2, tidings{any: true, first: at(-170 * ms), last: now, expects: true}, 0, slow/gatherShare - 170*ms},
		{"others are due, at the limit", long(time.Minute), 2, tidings{any: true, first: at(-340 * ms), last: now, expects: true}, 0, 10 * ms},
		{"others are due, and a push", long(slow), 2, tidings{any: true, first: now, last: now, expects: true, urgent: at(3 * ms)}, 0, 3 * ms},
		{"slow start", long(slow), 2, tidings{any: true, first: now, last: now, ripe: at(50 * ms)}, 0, 50 * ms},
		{"slow start without end", long(slow), 2, tidings{any: true, first: at(-300 * ms), last: now, ripe: at(100 * ms)}, 0, 50 * ms},
		{"slow start of another, and a push", long(slow), 2, tidings{any: true, first: now, last: now, ripe: at(50 * ms), urgent: at(4 * ms)}, 0, 4 * ms},
		{"a trickle", long(slow), 2, tidings{any: true, first: at(-187 * ms), last: now}, 0, 187500*time.Microsecond - 187*ms},
		{"bulk", long(slow), 2, tidings{any: true, first: now, last: now, pending: streaming, expects: true}, 0, 3 * ms},
		{"bulk that goes on", long(slow), 2, tidings{any: true, first: at(-92 * ms), last: now, pending: streaming}, 0, slow/bulkShare - 92*ms},
		{"bulk on a long way", long(time.Minute), 2, tidings{any: true, first: at(-98 * ms), last: now, pending: streaming}, 0, 2 * ms},
		{"less than bulk", long(slow), 2, tidings{any: true, first: now, last: now, pending: streaming - 1, expects: true}, 0, gatherStep},
		{"a window", long(slow), 2, tidings{any: true, windows: true, first: now, last: now}, 0, slow / bulkShare},
		{"a window on a long way", long(time.Minute), 2, tidings{any: true, windows: true, first: at(-99 * ms), last: now}, 0, ms},
		{"a full answer", long(slow), 2, tidings{any: true, first: at(-ms), last: now, pending: room, expects: true, ripe: at(time.Second)}, 0, -ms},
		{"not quite full", long(slow), 2, tidings{any: true, first: now, last: now, pending: room - 1}, 0, 3 * ms},
	} {
		i, when := nextAnswer(now, c.parked, c.keep, &c.t)
		if i != c.i || i >= 0 && when != at(c.want) {
			t.Errorf("%s: exchange %d in %v, want %d in %v", c.name, i, when.Sub(now), c.i, c.want)
		}
	}
}

// answered runs an exchange and returns how long it took, later.
func (c *linkClient) answered(hold time.Duration) <-chan time.Duration {
	done := make(chan time.Duration, 1)
	a := ask(hold)
	go func() {
		done <- took(func() {
			if err := c.do(a); err != nil {
				c.t.Error(err)
			}
		})
	}()
	synctest.Wait()
	return done
}

// TestLinkHolds: an exchange is kept until something is there, for its time, and
// not more of them than the client wants.
func TestLinkHolds(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		c.connect("silent.test")
		c.until("the dial", func() bool { return c.flows[0].opened })
		expect(t, "no hold", 0, 0, func() { c.must() })
		expect(t, "a hold", 15*time.Second, 15*time.Second, func() { _ = c.do(ask(15 * time.Second)) })
		long := ask(time.Hour)
		expect(t, "too long a hold", linkHold, linkHold, func() { _ = c.do(long) })

		first, second := c.answered(time.Minute), c.answered(time.Minute)
		time.Sleep(time.Second)
		few := ask(10 * time.Second)
		few.Keep = 2
		expect(t, "the third", 10*time.Second, 10*time.Second, func() { _ = c.do(few) })
		if d := <-first; d != time.Second {
			t.Errorf("the oldest of three was answered after %v", d)
		}
		few.Keep = 0
		expect(t, "one that keeps none", 0, 0, func() { _ = c.do(few) })
		if d := <-second; d != 11*time.Second {
			t.Errorf("the second was answered after %v", d)
		}
		_ = c.do(ask(3 * time.Second))
		if held := c.answer.Held; held != 3000 {
			t.Errorf("held for %d ms", held)
		}
	})
}

// TestLinkPush: what a target sends on its own takes the held exchange with the
// shortest way, and leaves the others.
func TestLinkPush(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.connect("silent.test")
		c.until("the dial", func() bool { return a.opened })
		slow, quick := ask(20*time.Second), ask(20*time.Second)
		slow.Path, quick.Path = 3000, 1000
		done := make(chan string, 2)
		go func() { _ = c.do(slow); done <- "slow" }()
		go func() { _ = c.do(quick); done <- "quick" }()
		time.Sleep(time.Second)
		far := r.world.far("silent.test")
		expect(t, "a push", 2*ms, 2*ms, func() {
			_, _ = far.Write([]byte("now"))
			if name := <-done; name != "quick" || string(a.got) != "now" {
				t.Errorf("%s carries %q", name, a.got)
			}
		})
		expect(t, "the other", 19*time.Second-2*ms, 19*time.Second-2*ms, func() { <-done })
	})
}

// TestLinkGathers: the answers of a page's origins go together, if the client
// waits for them.
func TestLinkGathers(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a, b := c.connect("silent.test"), c.connect("quiet.test")
		idle := c.connect("idle.test")
		c.until("the dials", func() bool { return a.opened && b.opened && idle.opened })
		c.write(a, "GET")
		c.write(b, "GET")
		far := r.world.far
		done := c.answered(20 * time.Second)
		time.Sleep(100 * ms)
		_, _ = far("silent.test").Write([]byte("one"))
		time.Sleep(25 * ms)
		_, _ = far("quiet.test").Write([]byte("two"))
		if d := <-done; d != 128*ms || string(a.got) != "one" || string(b.got) != "two" {
			t.Errorf("%q and %q after %v", a.got, b.got, d)
		}

		c.write(a, "GET")
		c.write(b, "GET")
		done = c.answered(20 * time.Second)
		_, _ = far("silent.test").Write([]byte("one"))
		time.Sleep(10 * ms)
		_, _ = far("idle.test").Write([]byte("push"))
		if d := <-done; d != 13*ms || string(idle.got) != "push" {
			t.Errorf("a push beside a busy page: %q after %v", idle.got, d)
		}
	})
}

// TestLinkWindowWakes: acknowledgements wait, a window that runs out does not.
func TestLinkWindowWakes(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.connect("sinkhole.test")
		c.until("the dial", func() bool { return a.opened })
		go func() {
			far := r.world.far("sinkhole.test")
			p := make([]byte, 64<<10)
			for {
				if _, err := far.Read(p); err != nil {
					return
				}
			}
		}()
		c.write(a, "little")
		expect(t, "an exchange with little", 5*time.Second, 5*time.Second, func() { _ = c.do(ask(5 * time.Second)) })
		c.write(a, string(make([]byte, streamWindow*3/4)))
		expect(t, "one with much", 0, bulkMost, func() { _ = c.do(ask(5 * time.Second)) })
	})
}
