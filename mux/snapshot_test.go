package mux

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/wire"
	"relaymux/relay"
	"relaymux/relay/account"
)

// What flows and deployments do can be seen, and looking is free of races.
func TestSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = 1500 * time.Millisecond
		m := newMux(t, Config{}, 30, n)
		began := time.Now()
		s := m.Open("example.org", 80)
		ask(t, s, "hello")
		idle := m.Open("idle.example", 443)
		time.Sleep(3 * time.Second)
		u := openUDP(m, "192.0.2.1", 5060)
		got := m.Snapshot(10)
		if len(got.Flows) != 3 || got.MoreFlows != 0 {
			t.Fatalf("flows: %+v", got.Flows)
		}
		first := got.Flows[2]
		if want := (FlowSnapshot{ID: 1, Host: "example.org", Port: 80, Connected: true, Since: began, Dial: n.rtt, Up: 5, Down: 5, Exchanges: first.Exchanges}); first != want {
			t.Errorf("got %+v\nwant %+v", first, want)
		}
		if first.Exchanges < 1 || first.Exchanges > 3 {
			t.Errorf("one question took %d exchanges", first.Exchanges)
		}
		x := got.Exchanges[len(got.Exchanges)-1]
		if want := (ExchangeSnapshot{Deployment: "d0", Ops: 1, Began: began, Took: n.rtt, Reached: 1, Up: x.Up, Down: x.Down}); x != want || x.Up == 0 || x.Down == 0 {
			t.Errorf("got %+v\nwant %+v", x, want)
		}
		if f := got.Flows[1]; f.Host != "idle.example" || f.Connected {
			t.Errorf("who has said nothing: %+v", f)
		}
		if f := got.Flows[0]; !f.UDP || !f.Connected || f.ID != 3 {
			t.Errorf("the UDP flow: %+v", f)
		}
		d := got.Deployments[0]
		if d.Name != "d0" || d.Account != "d0" || d.Measured != 1 || d.P50 != n.rtt || d.P95 != n.rtt || !d.Until.IsZero() {
			t.Errorf("deployment: %+v", d)
		}
		if a := got.Accounts[0]; a.Name != "d0" || a.MostSlots != 30 || a.InFlight != d.InFlight {
			t.Errorf("account: %+v beside %+v", a, d)
		}
		if got.Link != (LinkSnapshot{}) {
			t.Errorf("a link that nobody wanted: %+v", got.Link)
		}
		if got := m.Snapshot(1); len(got.Flows) != 1 || got.Flows[0].ID != 3 || got.MoreFlows != 2 {
			t.Errorf("one of three: %+v and %d", got.Flows, got.MoreFlows)
		}
		s.Close()
		idle.Close()
		u.u.Close()
	})
}

// A deployment that rests says until when and why, and two of one account are one.
func TestSnapshotOfRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := newFakeNode(t), newFakeNode(t)
		bad.setFault(refuseAll(relay.Failure{Kind: relay.Decoy, Detail: "a page", Hint: "deploy it anew"}))
		m := newMux(t, Config{}, 30, bad, good)
		quota := account.Open("", m.log).Account("mine", 30, 20000)
		for _, d := range m.loop.ds {
			d.Account = m.loop.ds[0].Account
		}
		m.loop.ds[0].Account.Quota = quota
		quota.Spend(time.Now())
		s := m.Open("example.org", 80)
		defer s.Close()
		go s.Write([]byte("x"))
		time.Sleep(2 * time.Second)
		got := m.Snapshot(10)
		d := got.Deployments[0]
		if rest := d.Until.Sub(got.At); rest < 20*time.Second || rest > time.Minute || d.Why != relay.Decoy || !strings.Contains(d.Said, "deploy it anew") {
			t.Errorf("%+v", d)
		}
		if len(got.Accounts) != 1 || got.Accounts[0].Name != "mine" || got.Accounts[0].Used < 1 || d.Account != "mine" {
			t.Errorf("accounts: %+v", got.Accounts)
		}
		m.Close(t.Context())
		if after := m.Snapshot(10); len(after.Deployments) != 2 || len(after.Flows) != 0 {
			t.Errorf("after the end: %+v", after)
		}
	})
}

// A transport that would rather use UDP says when it does not get through.
type overTCP struct{ relay.Transport }

func (overTCP) OverUDP() bool  { return false }
func (overTCP) Losses() uint64 { return 3 }
func (overTCP) HTTP() string   { return "2" }

func TestSnapshotOfTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMux(t, Config{}, 30, newFakeNode(t), newFakeNode(t))
		m.loop.ds[1].Transport = overTCP{m.loop.ds[1].Transport}
		for i, d := range m.Snapshot(0).Deployments {
			if is := i == 1; d.NoUDP != is || (d.Losses == 3) != is || (d.HTTP == "2") != is {
				t.Errorf("%+v", d)
			}
		}
	})
}

// Whoever looks does not get in the way of those who talk.
func TestSnapshotWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.rtt = 100 * time.Millisecond
		m := newMux(t, Config{}, 30, n)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				s := m.Open("example.org", 80)
				for range 10 {
					ask(t, s, "hello")
				}
				s.Close()
			})
		}
		stop := make(chan struct{})
		var looks sync.WaitGroup
		for range 4 {
			looks.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
						m.Snapshot(100)
					}
				}
			})
		}
		all.Wait()
		close(stop)
		looks.Wait()
	})
}

// A flow ended by hand is reset at both sides, and only that one.
func TestEndFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		m := newMux(t, Config{}, 30, n)
		s, other := m.Open("example.org", 80), m.Open("example.com", 80)
		ask(t, s, "hello")
		ask(t, other, "hello")
		u := openUDP(m, "192.0.2.1", 5060)
		if !m.EndFlow(1) || !m.EndFlow(3) {
			t.Error("there are no such flows")
		}
		if m.EndFlow(1) || m.EndFlow(99) || m.EndFlow(0) {
			t.Error("flows that there are not were ended")
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, errByHand) {
			t.Errorf("the application reads %v", err)
		}
		if !errors.Is(u.end(), errByHand) {
			t.Errorf("the UDP flow ended with %v", u.end())
		}
		ask(t, other, "still here")
		time.Sleep(10 * time.Second)
		if !slices.ContainsFunc(n.seen(), func(b batchSeen) bool { return slices.Contains(b.kinds, wire.Close) }) {
			t.Error("the node does not know")
		}
		other.Close()
	})
}

// Only so many exchanges are kept, the newest.
func TestTrace(t *testing.T) {
	var tr trace
	if len(tr.all()) != 0 {
		t.Error("of nothing")
	}
	for i := range 2*traceMost + 1 {
		tr.add(ExchangeSnapshot{Began: time.Unix(int64(i), 0), Ops: i})
	}
	list := tr.all()
	newestFirst(list)
	if len(list) != traceMost || list[0].Ops != 2*traceMost || list[traceMost-1].Ops != traceMost+1 {
		t.Errorf("%d are kept, %d to %d", len(list), list[0].Ops, list[len(list)-1].Ops)
	}
}

func TestQuantile(t *testing.T) {
	var r recent
	if quantile(r.list(), 50) != 0 {
		t.Error("of nothing")
	}
	for i := range 100 {
		r.add(time.Duration(i + 1))
	}
	list := r.list()
	slices.Sort(list)
	if len(list) != recentMost || list[0] != 37 {
		t.Errorf("kept %v", list)
	}
	if p50, p95, all := quantile(list, 50), quantile(list, 95), quantile(list, 100); p50 != 68 || p95 != 97 || all != 100 {
		t.Errorf("%d, %d, %d", p50, p95, all)
	}
}
