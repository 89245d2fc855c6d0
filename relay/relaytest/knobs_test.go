package relaytest

import (
	"net/http"
	"sync"
	"testing"
	"time"
)

// TestKnobMaxBody has both sides of the limit.
func TestKnobMaxBody(t *testing.T) {
	for _, c := range []struct{ most, status int }{{len(batch), http.StatusOK}, {len(batch) - 1, http.StatusRequestEntityTooLarge}} {
		in(t, func(b *bench) {
			b.relay.Set(func(k *Knobs) { k.MaxBody = c.most })
			status, _, err := b.post("one", batch)
			check(b.T, err)
			if refused := b.relay.Stats().Exchanges[TooLarge]; status != c.status || (refused == 1) != (c.status != http.StatusOK) {
				b.Errorf("MaxBody %d of %d: status %d, %d refused", c.most, len(batch), status, refused)
			}
		})
	}
}

// TestKnobRun: an execution has its slot for as long as it runs, and others are
// refused, or wait.
func TestKnobRun(t *testing.T) {
	for _, queue := range []bool{false, true} {
		in(t, func(b *bench) {
			b.relay.Set(func(k *Knobs) { k.Slots, k.Run, k.Queue = 2, time.Second, queue })
			var all sync.WaitGroup
			began := time.Now()
			for range 5 {
				all.Go(func() { _, _, err := b.post("one", batch); check(b.T, err) })
			}
			all.Wait()
			took, s := time.Since(began), b.relay.Stats()
			if !queue && (s.Exchanges[OK] != 2 || s.Exchanges[Busy] != 3 || took != time.Second) {
				b.Errorf("%v in %v, want 2 of 5 served in a second", s.Exchanges, took)
			}
			if queue && (s.Exchanges[OK] != 5 || s.Peak != 2 || took < 3*time.Second || took > 3*time.Second+2*queueStep) {
				b.Errorf("%v in %v, want all of 5 served in three seconds", s.Exchanges, took)
			}
		})
	}
}
