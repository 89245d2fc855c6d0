package mux

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/link"
)

// TestAlive: a Mux is alive unless one of its loops hangs, and when it has ended.
func TestAlive(t *testing.T) {
	t.Parallel()
	for _, which := range []string{"JSON wire", "link"} {
		t.Run(which, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := New(Config{MaxOps: 1, Memory: 1 << 20, Link: &Link{Secret: link.NewSecret("a secret of the test, of 32 bytes"), Grace: time.Minute}})
				alive := func() error {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					return m.Alive(ctx)
				}
				if err := alive(); err != nil {
					t.Error(err)
				}
				lane := m.loop.lane
				if which == "link" {
					lane = m.link.lane
				}
				release := make(chan struct{})
				go lane.tell(func() { <-release })
				synctest.Wait()
				if err := alive(); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a loop that hangs: %v", err)
				}
				close(release)
				if err := alive(); err != nil {
					t.Errorf("a loop that goes on: %v", err)
				}
				if err := m.Close(t.Context()); err != nil {
					t.Error(err)
				}
				if err := alive(); err != nil {
					t.Errorf("a loop that has ended: %v", err)
				}
			})
		})
	}
}
