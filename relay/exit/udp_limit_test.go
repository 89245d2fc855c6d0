package exit

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/gso"
	"relaymux/mux/stats"
	"relaymux/mux/wire"
)

// TestUDPEarlyBounds: before there is a target, the newest 64 datagrams wait.
func TestUDPEarlyBounds(t *testing.T) {
	for _, over := range []int{0, 1, 3} {
		bubble(t, Config{}, func(t *testing.T, r *rig) {
			ops := []wire.Op{udpOpen("late.test", "0")}
			sid := slices.Clone(r.batch(ops...)[0].SID)
			ops = ops[:0]
			for i := 1; i < maxEarlyDatagrams+over; i++ {
				ops = append(ops, udpData(sid, fmt.Sprint(i)))
			}
			r.batch(ops...)
			time.Sleep(time.Second)
			got := r.world.socket("late.test").sent()
			if len(got) != maxEarlyDatagrams || got[0] != fmt.Sprint(over) {
				t.Errorf("%d over: %d datagrams, from %q", over, len(got), got[0])
			}
			r.wantDropped(t, map[stats.Drop]uint64{stats.DropQueue: uint64(over)})
		})
	}
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		big := strings.Repeat("x", maxEarlyBytes/8)
		sid := slices.Clone(r.batch(udpOpen("late.test", "first"))[0].SID)
		r.batch(append(slices.Repeat([]wire.Op{udpData(sid, big)}, 7), udpData(sid, big[:len(big)-len("first")]))...)
		r.wantDropped(t, nil)
		r.batch(udpData(sid, "y"))
		r.wantDropped(t, map[stats.Drop]uint64{stats.DropQueue: 1})
	})
}

// TestUDPEarlyOfFailedDial: what waited is counted.
func TestUDPEarlyOfFailedDial(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.batch(udpOpen("denied.test", "x"), udpOpen("nowhere.test", "y"))
		synctest.Wait()
		r.wantDropped(t, map[stats.Drop]uint64{stats.DropDenied: 1, stats.DropEnded: 1})
	})
}

// TestUDPUnsentBound: a system that does not take datagrams holds 4 MiB of a flow.
func TestUDPUnsentBound(t *testing.T) {
	const size = 32<<10 - unsentCost
	const fit = maxUnsent / (32 << 10)
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.openUDP("stuck.test")
		ops := slices.Repeat([]wire.Op{udpData(sid, strings.Repeat("x", size))}, fit)
		r.batch(ops...)
		r.wantDropped(t, nil)
		r.batch(udpEmpty(sid))
		r.wantDropped(t, map[stats.Drop]uint64{stats.DropQueue: 1})
		c := r.world.socket("stuck.test")
		c.set(func() { c.stuck = false })
		synctest.Wait()
		if n := len(c.sent()); n != fit {
			t.Errorf("%d sent", n)
		}
		if n := r.node.uploads.Used(); n != 0 {
			t.Errorf("%d bytes still charged", n)
		}
		r.batch(udpEmpty(sid))
		if n := len(c.sent()); n != fit+1 {
			t.Errorf("%d sent", n)
		}
	})
}

// TestUDPSizeBound: what fits no datagram of the address family goes nowhere, and
// nothing is cut.
func TestUDPSizeBound(t *testing.T) {
	for host, most := range map[string]int{"echo.test": maxPayload4, "six.test": maxPayload6} {
		bubble(t, Config{}, func(t *testing.T, r *rig) {
			data := strings.Repeat("x", most+1)
			if got := pkts(r.batch(udpOpen(host, data))...); got != nil { // early
				t.Errorf("%d bytes passed", len(got[0]))
			}
			sid := r.openUDP(host)
			if got := pkts(r.batch(udpData(sid, data))...); got != nil {
				t.Errorf("%d bytes passed", len(got[0]))
			}
			if got := pkts(r.batch(udpData(sid, data[:most]))...); len(got) != 1 || len(got[0]) != most {
				t.Errorf("%d bytes did not pass", most)
			}
			r.wantDropped(t, map[stats.Drop]uint64{stats.DropTooLarge: 2})
		})
	}
}

// TestUDPStale: age counts when an answer is made.
func TestUDPStale(t *testing.T) {
	for _, c := range []struct {
		stale, age time.Duration
		kept       bool
	}{
		{3 * time.Second, 3*time.Second - settleGuess, true},
		{3 * time.Second, 3*time.Second - settleGuess + 1, false},
		{0, time.Minute, true},
	} {
		bubble(t, Config{UDP: UDP{Stale: c.stale}}, func(t *testing.T, r *rig) {
			sid := r.openUDP("silent.test")
			r.world.socket("silent.test").say("old", "older")
			time.Sleep(c.age)
			got := pkts(r.batch(udpData(sid, "x"))...)
			if kept := len(got) == 2; kept != c.kept {
				t.Errorf("%+v: %q", c, got)
			}
			if !c.kept {
				r.wantDropped(t, map[stats.Drop]uint64{stats.DropStale: 2})
			}
		})
	}
}

// TestUDPSlowDrainDropsOldest: a client that does not collect finds the newest.
func TestUDPSlowDrainDropsOldest(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.openUDP("silent.test")
		c := r.world.socket("silent.test")
		c.say(slices.Repeat([]string{"lost"}, 10)...)
		for i := range maxDatagrams {
			c.say(fmt.Sprint(i))
		}
		synctest.Wait()
		got := pkts(r.batch(udpPoll(sid))...)
		if len(got) != maxDatagrams || got[0] != "0" || got[maxDatagrams-1] != fmt.Sprint(maxDatagrams-1) {
			t.Errorf("%d datagrams, %q", len(got), got[:min(1, len(got))])
		}
		r.wantDropped(t, map[stats.Drop]uint64{stats.DropQueue: 10})
	})
}

// TestDatagramsBounds: by number, by bytes and by memory, and not one earlier.
func TestDatagramsBounds(t *testing.T) {
	for _, c := range []struct {
		name      string
		size      int
		memory    int64
		fit, left int // how many fit, and are left after one more
	}{
		{"number", 0, 1 << 40, maxDatagrams, maxDatagrams},
		{"bytes", 64 << 10, 1 << 40, maxDatagramBytes / (64 << 10), maxDatagramBytes / (64 << 10)},
		{"memory", 64 << 10, 4 << 20, 16, 16},
		{"less than lean", 4 << 10, 0, 1, 1},
		{"no memory", 64 << 10, 64 << 10, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := datagrams{st: new(stats.UDP)}
			q.claim.budget = buf.NewBudget(c.memory)
			push := func() {
				b := buf.Get(c.size)
				b.B = b.B[:c.size]
				q.push(gso.Train{Buf: b}, time.Time{})
			}
			for range c.fit {
				push()
			}
			if n := q.st.Dropped[stats.DropQueue].Load(); n != 0 || q.count != c.fit {
				t.Errorf("%d dropped, %d there", n, q.count)
			}
			push()
			if n := q.st.Dropped[stats.DropQueue].Load(); n != 1 || q.count != c.left || q.size != c.left*c.size {
				t.Errorf("then %d dropped, %d there", n, q.count)
			}
			q.drop(stats.DropEnded)
			if q.count != 0 || q.size != 0 || q.claim.budget.Used() != 0 {
				t.Errorf("%d datagrams of %d bytes left, %d bytes charged", q.count, q.size, q.claim.budget.Used())
			}
		})
	}
}

// TestDatagramsTrain: a train is taken apart where the room ends.
func TestDatagramsTrain(t *testing.T) {
	q := datagrams{st: new(stats.UDP)}
	q.claim.budget = buf.NewBudget(1 << 20)
	for _, s := range []string{"aabbc", "ddeef"} {
		q.push(gso.Train{Size: 2, Buf: buf.Copy([]byte(s))}, time.Time{})
	}
	var r wire.Result
	taken := q.take(5, &r, nil)
	if got := pkts(r); !slices.Equal(got, []string{"aa", "bb", "c"}) {
		t.Errorf("%q", got)
	}
	r.Reset()
	taken = q.take(3, &r, taken)
	if got := pkts(r); !slices.Equal(got, []string{"dd"}) || q.count != 2 || q.size != 3 {
		t.Errorf("%q, %d datagrams left", got, q.count)
	}
	q.drop(stats.DropStale)
	if n := q.st.Dropped[stats.DropStale].Load(); n != 2 || q.count != 0 || q.size != 0 {
		t.Errorf("%d dropped, %d left", n, q.count)
	}
	for _, p := range taken {
		p.b.Release()
		q.claim.budget.Return(p.cost)
	}
	if n := q.claim.budget.Used(); n != 0 {
		t.Errorf("%d bytes still charged", n)
	}
}

// TestUDPShareTooSmall: with less room for each than a datagram takes, some get
// theirs, and nobody waits for ever.
func TestUDPShareTooSmall(t *testing.T) {
	const sessions, size = 100, 1200
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		var polls []wire.Op
		for i := range sessions {
			sid := r.openUDP(fmt.Sprint(i, ".test"))
			r.world.socket(fmt.Sprint(i, ".test")).say(strings.Repeat("x", size))
			polls = append(polls, udpPoll(sid))
		}
		synctest.Wait()
		r.node.bodies.Force(int(r.node.bodies.Free())) // room is minAnswer, 655 bytes for each
		defer r.node.bodies.Return(int(r.node.bodies.Used()))
		x := r.node.newExchange()
		x.ops = append(x.ops, polls...)
		x.execute()
		x.drain()
		got := 0
		for _, r := range x.results {
			got += len(pkts(r))
		}
		x.release()
		if want := minAnswer / size; got != want {
			t.Errorf("%d datagrams in an answer of %d bytes, want %d", got, minAnswer, want)
		}
	})
}

// TestHostile25_Flood: 10,000 destinations are refused by the limit, TCP goes on,
// and those that are open too.
func TestHostile25_Flood(t *testing.T) {
	const streams = 64
	bubble(t, Config{Streams: streams}, func(t *testing.T, r *rig) {
		first := r.openUDP("echo.test")
		opened := 1
		for range 10 {
			for _, res := range r.batch(slices.Repeat([]wire.Op{udpOpen("silent.test", "x")}, maxOps)...) {
				switch string(res.Err) {
				case "":
					opened++
				case udpFailed + errSockets.Error():
				default:
					t.Fatalf("%q", res.Err)
				}
			}
		}
		if opened != streams/2 || r.node.Stats().UDPSockets != streams/2 {
			t.Errorf("%d open, want %d", opened, streams/2)
		}
		if got := pkts(r.batch(udpData(first, "hi"))...); !slices.Equal(got, []string{"hi"}) {
			t.Errorf("%q", got)
		}
		for range streams / 2 {
			r.open("silent.test")
		}
		if res := r.batch(connectOp("silent.test"))[0]; len(res.Err) == 0 {
			t.Error("more sessions than the limit")
		}
		r.batch(closeOp(first))
		synctest.Wait()
		r.openUDP("echo.test")
	})
}

// TestHostile25_SilentMakeRoom: at the limit a new session takes the place of one
// that has been silent for evictAfter, never that of one in use.
func TestHostile25_SilentMakeRoom(t *testing.T) {
	const streams = 32
	bubble(t, Config{Streams: streams}, func(t *testing.T, r *rig) {
		busy := r.openUDP("echo.test")
		for range streams/2 - 1 {
			r.batch(udpOpen("silent.test", "x"))
		}
		time.Sleep(evictAfter)
		for range 10 * streams {
			if got := pkts(r.batch(udpData(busy, "hi"))...); !slices.Equal(got, []string{"hi"}) {
				t.Fatalf("the session in use: %q", got)
			}
			if res := r.batch(udpOpen("silent.test", "x"))[0]; len(res.Err) > 0 {
				t.Fatalf("%q", res.Err)
			}
			time.Sleep(evictAfter)
		}
		if n := r.node.Stats().UDPSockets; n > streams/2 {
			t.Errorf("%d sockets of %d", n, streams/2)
		}
	})
}

// TestUDPEndsMakeRoom: neither failed dials nor ICMP errors use the limit up.
func TestUDPEndsMakeRoom(t *testing.T) {
	bubble(t, Config{Streams: 2}, func(t *testing.T, r *rig) {
		for range 10 {
			if res := r.batch(udpOpen("nowhere.test", "x"))[0]; string(res.Err) != udpFailed+wire.NameNotFound.String() {
				t.Fatalf("%+v", res)
			}
			if res := r.batch(udpOpen("closed.test", "x"))[0]; !slices.Equal(pkts(res), []string{"last"}) || !res.EOF {
				t.Fatalf("%+v", res)
			}
		}
		r.openUDP("silent.test")
		r.open("silent.test")
		r.node.table.mu.Lock()
		defer r.node.table.mu.Unlock()
		if n := len(r.node.table.live); n != 2 {
			t.Errorf("%d sessions are thought to have a socket", n)
		}
	})
}

// TestUDPDialRate: the rate of dials bounds UDP too.
func TestUDPDialRate(t *testing.T) {
	bubble(t, Config{DialsPerSecond: 2}, func(t *testing.T, r *rig) {
		res := r.batch(slices.Repeat([]wire.Op{udpOpen("silent.test", "x")}, 3)...)
		if len(res[1].Err) > 0 || string(res[2].Err) != udpFailed+errDialRate.Error() {
			t.Errorf("%q, %q", res[1].Err, res[2].Err)
		}
	})
}

// TestUDPUploadAllocates nothing, once a flow is going.
func TestUDPUploadAllocates(t *testing.T) {
	r := newRig(t, Config{})
	sid := r.openUDP("deaf.test")
	s := r.node.table.open[string(sid)].(*udpSession)
	o := udpData(sid, strings.Repeat("x", 1200))
	r.batch(o)
	if n := testing.AllocsPerRun(1000, func() { s.upload(&o) }); n != 0 {
		t.Errorf("%v allocations for a datagram", n)
	}
}
