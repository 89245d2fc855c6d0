package exit

import (
	"crypto/rand"
	"io"
	"math"
	chacha "math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"

	"relaymux/mux/wire"
)

// isYardstick knows the target by which clients measure the way (wire.YardstickHost).
// As any other it is only for who has a secret or the key, its connections count as
// streams, and what it sends is bounded by the windows of who asks.
func isYardstick(host string, port uint16) bool {
	return port == wire.YardstickPort && host == wire.YardstickHost
}

// A yardstick is the server and at once the connection to it. No write waits, for
// nothing is kept of it.
type yardstick struct {
	net.Conn // nil: what is not overridden is not used

	mu     sync.Mutex
	news   sync.Cond // there is something to read, or the end
	head   []byte    // of a request that has not come whole
	due    uint64    // bytes of the request that are still to come,
	down   uint64    // and what it is to be answered with
	owed   uint64    // bytes to be read
	noise  *chacha.ChaCha8
	end    bool // the client writes nothing any more
	closed bool
}

func newYardstick() *yardstick {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails
	y := &yardstick{noise: chacha.NewChaCha8(seed)}
	y.news.L = &y.mu
	return y
}

// Write takes requests and their bytes.
func (y *yardstick) Write(p []byte) (n int, err error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.closed || y.end {
		return 0, syscall.EPIPE
	}
	for rest := p; len(rest) > 0; {
		if y.due == 0 {
			k := min(wire.YardstickHead-len(y.head), len(rest))
			y.head, rest = append(y.head, rest[:k]...), rest[k:]
			if len(y.head) < wire.YardstickHead {
				break
			}
			y.due, y.down = wire.ParseYardstick(y.head)
			y.head = y.head[:0]
		}
		k := min(y.due, uint64(len(rest)))
		y.due, rest = y.due-k, rest[k:]
		if y.due == 0 {
			y.owed += min(y.down, math.MaxUint64-y.owed)
			y.news.Signal()
		}
	}
	return len(p), nil
}

// Read waits for something that is owed, which nothing can compress: else a way that
// does would seem faster than it is.
func (y *yardstick) Read(p []byte) (n int, err error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for y.owed == 0 && !y.end && !y.closed {
		y.news.Wait()
	}
	switch {
	case y.closed:
		return 0, net.ErrClosed
	case y.owed == 0:
		return 0, io.EOF
	}
	n = int(min(y.owed, uint64(len(p))))
	y.owed -= uint64(n)
	return y.noise.Read(p[:n])
}

// CloseWrite is the client's end: what it has asked for still comes.
func (y *yardstick) CloseWrite() error { return y.stop(&y.end) }

// Close ends everything at once.
func (y *yardstick) Close() error { return y.stop(&y.closed) }

func (y *yardstick) stop(how *bool) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	*how = true
	y.news.Signal()
	return nil
}

// SetWriteDeadline has nothing to do, for no write waits.
func (y *yardstick) SetWriteDeadline(time.Time) error { return nil }
