package relaytest

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestLineBecomesSlow: somebody goes from a fast line to one of 1 MB/s in the
// middle of a download. What an exchange may carry follows at once, so that bytes
// keep coming; they came 24 MB every 25 s while it was sized by the line that was.
func TestLineBecomesSlow(t *testing.T) {
	const (
		fast    = 8 << 20
		slow    = 1 << 20
		before  = 20 * time.Second
		settled = 150 * time.Second // for what was on its way, and is as large as the fast line allowed
		long    = time.Minute
		gap     = 6 * time.Second
	)
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		virtual(t, c, func(t *testing.T, s *Stack) {
			down := open(t, s.Connect, s.serve(t, func(c net.Conn) { _, _ = io.Copy(c, noise(6, 1<<30)) }))
			pull := func(d time.Duration) (n int, most time.Duration) {
				p := make([]byte, 64<<10)
				last, end := time.Now(), time.Now().Add(d)
				for time.Now().Before(end) {
					_ = down.SetReadDeadline(end)
					k, err := down.Read(p)
					n, most = n+k, max(most, time.Since(last))
					if err != nil {
						break
					}
					last = time.Now()
				}
				return n, most
			}
			s.Relay.SetLine(0, fast)
			n, most := pull(before)
			t.Logf("fast %d KiB in %v, a gap of %v", n>>10, before, most)
			s.Relay.SetLine(0, slow)
			n, most = pull(settled)
			t.Logf("at first %d KiB in %v, a gap of %v", n>>10, settled, most)
			n, most = pull(long)
			t.Logf("then %d KiB in %v, a gap of %v", n>>10, long, most)
			if most > gap || n < slow*int(long/time.Second)/2 {
				t.Errorf("%d KiB came in %v, with a gap of %v", n>>10, long, most)
			}
		})
	})
}
