package daemon

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestWatch: systemd hears that a daemon is alive as long as that answers, and nothing
// while it does not.
func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const every = 10 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		var hangs atomic.Bool
		var pats atomic.Int32
		done := make(chan struct{})
		go func() {
			defer close(done)
			watch(ctx, slog.New(slog.DiscardHandler), every, func(ctx context.Context) error {
				if !hangs.Load() {
					return nil
				}
				<-ctx.Done()
				return errors.New("it hangs")
			}, func() { pats.Add(1) })
		}()
		for _, c := range []struct {
			hangs bool
			least int32
			most  int32
		}{{false, 10, 11}, {true, 0, 1}, {false, 9, 11}} {
			hangs.Store(c.hangs)
			pats.Store(0)
			time.Sleep(10*every + every/2)
			synctest.Wait()
			if n := pats.Load(); n < c.least || n > c.most {
				t.Errorf("hangs %v: it was alive %d times in ten", c.hangs, n)
			}
		}
		cancel()
		<-done
	})
}
