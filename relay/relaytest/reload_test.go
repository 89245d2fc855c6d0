package relaytest

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux"
	"relaymux/relay"
	"relaymux/relay/fronted"
)

// A renewal is a deployment that a config has anew: another transport to the same
// relay. It counts the exchanges and pipes that begin.
type renewal struct {
	*fronted.Transport
	begun atomic.Int64
}

func (r *renewal) Exchange(ctx context.Context, x *relay.Exchange) error {
	r.begun.Add(1)
	return r.Transport.Exchange(ctx, x)
}

func (r *renewal) Pipe(ctx context.Context, first []byte) (io.ReadWriteCloser, error) {
	r.begun.Add(1)
	return r.Transport.Pipe(ctx, first)
}

// renewed is the i-th of the Stack's deployments, anew.
func (s *Stack) renewed(i int) mux.Deployment {
	d := s.ds[i]
	d.Transport = &renewal{Transport: d.Transport.(*fronted.Transport)}
	d.Stats = nil
	return d
}

func begun(d mux.Deployment) int64 { return d.Transport.(*renewal).begun.Load() }

// leavers are the deployments that a Mux has let go.
type leavers struct {
	mu    sync.Mutex
	names []relay.Transport
}

func (l *leavers) left(d mux.Deployment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = append(l.names, d.Transport)
}

func (l *leavers) has(d mux.Deployment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.names, d.Transport)
}

// changes puts deployments in the place of others, again and again, while something
// goes on. What it returns checks that who is gone has taken nothing since, and was let
// go.
func changes(t *testing.T, s *Stack, pause time.Duration, sets ...[]mux.Deployment) (settled func()) {
	t.Helper()
	var out leavers
	gone := map[string][]mux.Deployment{}
	counts := map[relay.Transport]int64{}
	for i, set := range sets {
		time.Sleep(pause)
		s.Mux.SetDeployments(set, out.left)
		synctest.Wait()
		if i == 0 {
			continue // those that it replaces do not count
		}
		for _, d := range sets[i-1] {
			if !slices.ContainsFunc(set, func(e mux.Deployment) bool { return e.Transport == d.Transport }) {
				gone[d.Name] = append(gone[d.Name], d)
				counts[d.Transport] = begun(d)
				if begun(d) == 0 {
					t.Errorf("%s was never used", d.Name)
				}
			}
		}
	}
	return func() {
		t.Helper()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		wantGone(t, &out, gone, counts, sets[len(sets)-1])
	}
}

func wantGone(t *testing.T, out *leavers, gone map[string][]mux.Deployment, counts map[relay.Transport]int64, stay []mux.Deployment) {
	t.Helper()
	for _, list := range gone {
		for _, d := range list {
			if n := begun(d); n != counts[d.Transport] {
				t.Errorf("%s took %d exchanges after it was gone", d.Name, n-counts[d.Transport])
			}
			if !out.has(d) {
				t.Errorf("%s was never let go", d.Name)
			}
		}
	}
	for _, d := range stay {
		if out.has(d) {
			t.Errorf("%s was let go", d.Name)
		}
	}
}

// TestDeploymentsChange: a download and an upload go on, whole, while all the
// deployments that carry them are taken away and others come, whatever the carriage.
func TestDeploymentsChange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		config StackConfig
	}{
		{"link by scripts", StackConfig{Link: true, Scripts: 2}},
		{"link by workers", StackConfig{Link: true, Workers: 2}},
		{"JSON wire", StackConfig{Scripts: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			virtual(t, c.config, func(t *testing.T, s *Stack) {
				size := bulkSize() * 2
				var l load
				l.begin(t, s, size, 10*time.Minute)
				a, b, c, d := s.renewed(0), s.renewed(1), s.renewed(0), s.renewed(1)
				settled := changes(t, s, 2*time.Second, []mux.Deployment{a, b}, []mux.Deployment{b}, []mux.Deployment{b, c}, []mux.Deployment{c}, []mux.Deployment{d, c})
				l.want(size)
				settled()
				if n := s.Stats.Forged.Load(); n != 0 {
					t.Errorf("%d records were not taken", n)
				}
			})
		})
	}
}

// TestDeploymentsChangeUnderAPipe: what a pipe carries goes on by another one.
func TestDeploymentsChangeUnderAPipe(t *testing.T) {
	t.Parallel()
	piped(t, func(t *testing.T, s *Stack, o *onPipes) {
		c := open(t, s.Connect, s.serve(t, Echo))
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			text := string(bytes.Repeat([]byte("p"), 100<<10))
			for {
				select {
				case <-stop:
					return
				default:
					ask(t, c, text)
					time.Sleep(10 * time.Millisecond)
				}
			}
		}()
		a, b, d := s.renewed(0), s.renewed(0), s.renewed(0)
		settled := changes(t, s, 3*time.Second, []mux.Deployment{a}, []mux.Deployment{b}, []mux.Deployment{d, b}, []mux.Deployment{d})
		close(stop)
		<-done
		settled()
		if o.pipes.Load() < 4 {
			t.Errorf("%d pipes, of four deployments", o.pipes.Load())
		}
	})
}

// TestDeploymentsOfTheOtherWire: where no deployment is left for the wire that flows
// go by, they end, and the next go by the other; and back.
func TestDeploymentsOfTheOtherWire(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{Link: true, Scripts: 1}, func(t *testing.T, s *Stack) {
		echo := s.serve(t, Echo)
		set := func(link bool) {
			d := s.renewed(0)
			d.Link = link
			s.Mux.SetDeployments([]mux.Deployment{d}, nil)
			synctest.Wait()
		}
		ended := func(c net.Conn) {
			t.Helper()
			if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
				t.Error("a flow without a way goes on")
			}
		}
		byLink := open(t, s.Connect, echo)
		ask(t, byLink, "by the link")
		set(false)
		ended(byLink)
		if w := s.Mux.Snapshot(0).Link.Wanted; w {
			t.Error("the link is still wanted")
		}
		byJSON := open(t, s.Connect, echo)
		ask(t, byJSON, "by the JSON wire")
		if f := s.Mux.Snapshot(10).Flows; len(f) != 1 || f[0].Link {
			t.Errorf("flows: %+v", f)
		}
		set(true)
		ended(byJSON)
		back := open(t, s.Connect, echo)
		ask(t, back, "by the link again")
		back.Close()
		time.Sleep(20 * time.Minute)
	})
}

// TestDeploymentsOfAnotherNode: a config that leads to another node from now on is no
// lie of a relay's.
func TestDeploymentsOfAnotherNode(t *testing.T) {
	t.Parallel()
	synctestVirtual(t, func(t *testing.T, m *Network) {
		config := StackConfig{Link: true, Scripts: 1, Memory: m, RTT: rtt}
		s := NewStack(t, config)
		config.Node = otherNode
		far := NewStack(t, config)
		echo := s.serve(t, Echo)
		old := open(t, s.Connect, echo)
		ask(t, old, "by the first node")
		both := []mux.Deployment{s.ds[0], far.renewed(0)}
		s.Mux.SetDeployments(both, nil)
		time.Sleep(time.Minute)
		ask(t, old, "the first is the one that counts")
		s.Mux.SetDeployments(both[1:], nil)
		within(t, old, time.Minute)
		if _, err := old.Read(make([]byte, 1)); err == nil {
			t.Error("a connection of the first node goes on")
		}
		ask(t, open(t, s.Connect, echo), "by the other node")
	})
}

// TestDeploymentStays: one that a change leaves alone is as it was.
func TestDeploymentStays(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{Link: true, Scripts: 2}, func(t *testing.T, s *Stack) {
		c := open(t, s.Connect, s.serve(t, Echo))
		for range 20 {
			ask(t, c, "hello")
		}
		before := s.Mux.Snapshot(0)
		s.Mux.SetDeployments([]mux.Deployment{s.ds[1], s.ds[0]}, func(d mux.Deployment) { t.Errorf("%s left", d.Name) })
		after := s.Mux.Snapshot(0)
		for i, d := range after.Deployments {
			if b := before.Deployments[1-i]; d.Name != b.Name || d.P50 != b.P50 || d.Measured != b.Measured || d.Outcome != b.Outcome {
				t.Errorf("%+v became %+v", b, d)
			}
		}
		ask(t, c, "still there")
	})
}

// TestBatchingChanges: a batch has as many ops as are allowed now.
func TestBatchingChanges(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
		echo := s.serve(t, Echo)
		exchanges := func() uint64 {
			before := s.Stats.Exchanges.Load() - s.Stats.Polls.Load()
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() { ask(t, open(t, s.Connect, echo), "hello") })
			}
			all.Wait()
			return s.Stats.Exchanges.Load() - s.Stats.Polls.Load() - before
		}
		wide := exchanges()
		s.Mux.SetBatching(mux.Batching{MaxOps: 1, MaxBytes: 4 << 20, CoalesceMax: time.Second})
		if narrow := exchanges(); wide >= 20 || narrow < 20 {
			t.Errorf("20 connections took %d exchanges, one by one %d", wide, narrow)
		}
	})
}
