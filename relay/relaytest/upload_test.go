package relaytest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"relaymux/relay/exit"
)

// slowly reads from Reader, rate bytes in a second.
type slowly struct {
	io.Reader
	rate int
}

func (s slowly) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p[:min(len(p), s.rate/4)])
	time.Sleep(time.Duration(n) * time.Second / time.Duration(s.rate))
	return n, err
}

// TestSlowTargetSlowsItsClient: an upload to a target that read more slowly than
// the relay carries was reset, for the node took it all in until it had to. Now
// the client hears of it (jam) and waits, whatever goes on beside it.
func TestSlowTargetSlowsItsClient(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		scripts    int
		memory     int64 // of the node; 0 is its default
		rate       int   // of each target
		flows      int
		size       int64 // of each upload
		neighbours int   // who type all the while
	}{
		{"32 KB a second", 1, 0, 32_000, 1, 20 << 20, 0},
		{"320 KB a second beside 20 others", 1, 0, 320_000, 1, 20 << 20, 20},
		{"160 KB a second beside 20 others", 1, 0, 160_000, 1, 20 << 20, 20},
		{"a small node", 0, 16 << 20, 500_000, 1, 8 << 20, 0},
		{"60 at once", 0, 0, 500_000, 60, 4 << 20, 0},
		{"4 at once, a small node", 0, 16 << 20, 500_000, 4, 4 << 20, 0}, // two ops each fill what it may take
	} {
		t.Run(c.name, func(t *testing.T) {
			config := StackConfig{Scripts: c.scripts, Node: func(n *exit.Config) { n.Memory = c.memory }}
			virtual(t, config, func(t *testing.T, s *Stack) {
				stop := s.typists(t, c.neighbours)
				took := elapsed(func() { s.slowUploads(t, c.flows, c.size, c.rate) })
				stop()
				if n := s.Node.Stats().Overruns; n != 0 {
					t.Errorf("the node reset %d uploads", n)
				}
				least := time.Duration(c.size) * time.Second / time.Duration(c.rate)
				t.Logf("%d bytes in %v, at least %v", c.size, took, least)
				if took > least*5/4+5*rtt {
					t.Errorf("took %v, the target's reading takes %v", took, least)
				}
				s.wantQuiet(t)
			})
		})
	}
}

// slowUploads carries that many uploads of size bytes at once, and returns when
// their targets, which read at rate, have them.
func (s *Stack) slowUploads(t *testing.T, flows int, size int64, rate int) {
	t.Helper()
	got := make(chan arrival, flows)
	addr := s.serve(t, func(c net.Conn) { got <- arrive(slowly{c, rate}) })
	for range flows {
		c := open(t, s.Connect, addr)
		go func() {
			if err := send(c, 9, size); err != nil {
				t.Errorf("the app sends: %v", err)
			}
			_ = reads(c)
			c.Close()
		}()
	}
	limit := time.After(2 * time.Duration(size) * time.Second / time.Duration(rate))
	for range flows {
		select {
		case a := <-got:
			a.want(t, "the target", 9, size)
		case <-limit:
			t.Fatal("some target has not got its upload")
		}
	}
}

// typists are n applications that send a byte as soon as the last one's echo is
// there, until stop.
func (s *Stack) typists(t *testing.T, n int) (stop func()) {
	t.Helper()
	addr := s.serve(t, Echo)
	done := make(chan bool)
	var all sync.WaitGroup
	for range n {
		c := open(t, s.Connect, addr)
		all.Go(func() {
			defer c.Close()
			for {
				select {
				case <-done:
					return
				default:
					ask(t, c, "k")
				}
			}
		})
	}
	return func() {
		close(done)
		all.Wait()
	}
}
