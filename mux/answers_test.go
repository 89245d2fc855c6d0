package mux

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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
// than limits.memory, and give it back.
func TestHostile73_AnswersShareTheMemory(t *testing.T) {
	const memory = 32 << 20
	for name, l := range map[string]*Link{"json": nil, "link": {Secret: link.NewSecret("a secret of the test, 32 letters"), Grace: time.Minute}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &flooder{letGo: make(chan struct{})}
				account := NewAccount(30, "")
				c := Config{Memory: memory, Link: l, MaxOps: 50, MaxBytes: 4 << 20, CoalesceStep: time.Millisecond, CoalesceMax: time.Second}
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
				if n := f.took.Load(); n != memory || f.calls.Load() < 2 && l == nil {
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
