package relaytest

import (
	"sync"
	"testing"
	"time"

	"relaymux/mux"
)

// The flags below are what users set under [batch].

// TestFlag_MaxOps: how many opens one request has.
func TestFlag_MaxOps(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		requests := func(most int) int {
			var s spy
			c := c
			c.Relay, c.Mux = s.watch, func(c *mux.Config) { c.MaxOps = most }
			virtual(t, c, func(t *testing.T, stack *Stack) {
				stack.warmUp(t)
				_, before := s.requests(0)
				echo := stack.serve(t, Echo)
				var all sync.WaitGroup
				for range 20 {
					c := open(t, stack.Connect, echo)
					all.Go(func() { ask(t, c, "hello") })
				}
				all.Wait()
				settle(time.Second)
				got, _ := s.requests(before)
				most = len(got)
			})
			return most
		}
		few, many := requests(2), requests(50)
		t.Logf("20 opens are %d requests of 2 ops at most, %d of 50", few, many)
		if few < 10 || many > 4 {
			t.Errorf("20 opens are %d requests of 2 ops at most, %d of 50", few, many)
		}
	})
}

// TestFlag_MaxBytes: how large one request is.
func TestFlag_MaxBytes(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		for _, most := range []int{16 << 10, 100_000, 4 << 20} {
			var s spy
			c.Relay, c.Mux = s.watch, func(c *mux.Config) { c.MaxBytes = most }
			virtual(t, c, func(t *testing.T, stack *Stack) {
				got := upload(1<<20)(t, stack)
				for _, wrong := range got.wrong {
					t.Error(wrong)
				}
				largest := 0
				sent, _ := s.requests(0)
				for _, body := range sent {
					largest = max(largest, len(body))
				}
				t.Logf("max_bytes %d: %d exchanges, the largest request has %d, %.1f MB/s", most, got.exchanges, largest, got.value)
				if largest > most || largest < min(most*9/10, 256<<10) { // what a new stream may be sent bounds the last
					t.Errorf("max_bytes %d: the largest request has %d", most, largest)
				}
			})
		}
	})
}

// TestFlag_Coalesce: for how long what is said waits for company.
func TestFlag_Coalesce(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		requests := func(step, most time.Duration) (n int) {
			var s spy
			c := c
			c.Relay, c.Mux = s.watch, func(c *mux.Config) { c.CoalesceStep, c.CoalesceMax = step, most }
			virtual(t, c, func(t *testing.T, stack *Stack) {
				stack.warmUp(t)
				_, before := s.requests(0)
				echo := stack.serve(t, Echo)
				var all sync.WaitGroup
				for range 10 {
					c := open(t, stack.Connect, echo)
					all.Go(func() { ask(t, c, "hello") })
					time.Sleep(30 * time.Millisecond)
				}
				all.Wait()
				settle(time.Second)
				got, _ := s.requests(before)
				n = len(got)
			})
			return n
		}
		none, some := requests(0, 0), requests(50*time.Millisecond, time.Second)
		short := requests(50*time.Millisecond, 60*time.Millisecond)
		t.Logf("10 opens at 30 ms: %d requests without waiting, %d with steps of 50 ms, %d if for 60 ms at most", none, some, short)
		if none < short+3 || short < some+1 {
			t.Errorf("10 opens at 30 ms: %d requests without waiting, %d with steps of 50 ms, %d if for 60 ms at most", none, some, short)
		}
	})
}
