package mux

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/wire"
	"relaymux/relay"
)

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
	a.load(1)
	a.failed = a.failed.Add(-time.Second)
	ds := []*deployment{a, b}
	if d := pick(ds, now, noReserve, take); d != a {
		t.Error("a hold in flight counts as a probe")
	}
	a.probes = 1
	if d := pick(ds, now, noReserve, take); d != b {
		t.Error("nobody else is asked while one is")
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
	full := NewAccount(2, "")
	a, b := testDeployment("a", 1), testDeployment("b", 1)
	a.Account, b.Account = full, full
	a.load(1)
	b.load(1)
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
