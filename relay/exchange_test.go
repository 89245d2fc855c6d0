package relay

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// steps are the ends of a Progress with what brings them about.
var steps = []struct {
	name string
	set  func(*Exchange)
	get  func(*Exchange) (time.Time, bool)
}{
	{"began", func(x *Exchange) { x.Begin() }, func(x *Exchange) (time.Time, bool) { return x.Began() }},
	{"wrote", func(x *Exchange) { x.SetWrote() }, func(x *Exchange) (time.Time, bool) { return x.Wrote() }},
	{"moved", func(x *Exchange) { x.SetMoved() }, func(x *Exchange) (time.Time, bool) { return x.Moved() }},
	{"first", func(x *Exchange) { x.SetFirst() }, func(x *Exchange) (time.Time, bool) { return x.First() }},
	{"ended", func(x *Exchange) { x.End() }, func(x *Exchange) (time.Time, bool) { return x.Ended() }},
}

// TestProgress: each step is seen when it happens and not before, to the
// nanosecond, also one that takes no time, in an Exchange that is used again.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x Exchange
		for range 2 {
			for i, s := range steps {
				for _, later := range steps[i:] {
					if at, ok := later.get(&x); ok || !at.IsZero() {
						t.Errorf("%s is known before %s: %v", later.name, s.name, at)
					}
				}
				s.set(&x)
				if at, ok := s.get(&x); !ok || !at.Equal(time.Now()) {
					t.Errorf("%s at %v, %v; want %v", s.name, at, ok, time.Now())
				}
				time.Sleep(time.Duration(i) * time.Second)
			}
			first, _ := x.First()
			if moved, _ := x.Moved(); !moved.Equal(first) {
				t.Errorf("moved at %v, its first byte came at %v", moved, first)
			}
			x.Body, x.Answer, x.Binary = []byte("a"), []byte("b"), true
			x.Reset()
			if x.Body != nil || x.Answer != nil || x.Binary {
				t.Errorf("after Reset: %q, %q, %v", x.Body, x.Answer, x.Binary)
			}
		}
	})
}

// TestProgressIsReadWhileItRuns is for the race detector.
func TestProgressIsReadWhileItRuns(t *testing.T) {
	var x Exchange
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, s := range steps {
			s.set(&x)
		}
	}()
	for over := false; !over; _, over = x.Ended() {
		for _, s := range steps {
			if at, ok := s.get(&x); ok && at.IsZero() {
				t.Errorf("%s at no time", s.name)
			}
		}
	}
	<-done
}

func TestProgressAllocatesNothing(t *testing.T) {
	var x Exchange
	if n := testing.AllocsPerRun(100, func() {
		for _, s := range steps {
			s.set(&x)
			s.get(&x)
		}
		x.Reset()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
