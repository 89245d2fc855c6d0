package mux

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
	"relaymux/relay"
)

// A flooder is a relay that answers each exchange with as much as there is memory for, and
// holds it until it is told to let go.
type flooder struct {
	took  atomic.Int64 // of all exchanges
	calls atomic.Int64
	letGo chan struct{}
}

func (f *flooder) Exchange(ctx context.Context, x *relay.Exchange) error {
	x.Begin()
	defer x.End()
	f.calls.Add(1)
	for x.Claim(1 << 20) {
		f.took.Add(1 << 20)
	}
	select {
	case <-f.letGo:
	case <-ctx.Done():
	}
	return &relay.Failure{Kind: relay.Broken, Detail: "no memory"}
}

func (f *flooder) Close() {}

// TestHostile73_AnswersShareTheMemory: all answers together, of either wire, take no more
// than what uploads leave of limits.memory, and inboxes; and give it back.
func TestHostile73_AnswersShareTheMemory(t *testing.T) {
	const memory = 32 << 20
	for name, l := range map[string]*Link{"json": nil, "link": {Secret: link.NewSecret("a secret of the test, 32 letters"), Grace: time.Minute}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &flooder{letGo: make(chan struct{})}
				account := NewAccount(30, "")
				c := Config{Memory: memory, Link: l, MaxOps: 10, MaxBytes: 4 << 20, CoalesceStep: time.Millisecond, CoalesceMax: time.Second}
				for range 3 {
					c.Deployments = append(c.Deployments, Deployment{Name: "d", Transport: f, Account: account, Link: l != nil, Limit: time.Minute})
				}
				m := New(c)
				var all sync.WaitGroup
				for range 40 {
					s := m.Open("target.test", 80)
					all.Go(func() { _, _ = s.Write(make([]byte, 64<<10)); s.Close() })
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if n := f.took.Load(); n != memory/4*3 || f.calls.Load() < 2 && l == nil {
					t.Errorf("%d exchanges take %d bytes of %d", f.calls.Load(), n, memory)
				}
				close(f.letGo)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_ = m.Close(ctx)
				all.Wait()
				synctest.Wait()
				if n := m.answers.Used(); n != 0 {
					t.Errorf("%d bytes are not given back", n)
				}
			})
		})
	}
}

// TestClaimBesideInboxes: what waits in inboxes leaves answers less, but a quarter of the
// memory in any case; what polls may bring is no such thing.
func TestClaimBesideInboxes(t *testing.T) {
	const quarter = 1 << 20
	for _, c := range []struct{ inboxes, promised, want int }{
		{0, 0, 3 * quarter}, {quarter, 0, 2 * quarter}, {2 * quarter, 0, quarter}, {3 * quarter, 0, quarter},
		{0, 2 * quarter, 3 * quarter}, {quarter, quarter, 2 * quarter},
	} {
		m := &Mux{memory: 4 * quarter, budget: buf.NewBudget(2 * quarter), answers: buf.NewBudget(3 * quarter)}
		m.budget.Force(c.inboxes + c.promised)
		m.promised.Add(int64(c.promised))
		a, b := claim{m: m}, claim{m: m}
		for a.take(64<<10) || b.take(64<<10) {
		}
		if got := a.n + b.n; got != c.want {
			t.Errorf("%d in inboxes, %d promised: answers get %d, want %d", c.inboxes, c.promised, got, c.want)
		}
		a.release()
		b.release()
		if n := m.answers.Used(); n != 0 {
			t.Errorf("%d are not given back", n)
		}
	}
}
