package relaytest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// ringSize bounds one direction of a connection: about what Linux lets a
	// loopback socket hold, so that back-pressure is as real as there.
	ringSize = 256 << 10

	// ringStart is what a direction allocates for its first byte; it doubles
	// until ringSize. Ten thousand idle connections cost nothing.
	ringStart = 4 << 10
)

// ring is one direction of a connection: a bounded queue of bytes between one
// end's writes and the other end's reads.
type ring struct {
	mu   sync.Mutex
	cond sync.Cond // something below changed

	buf      []byte
	start, n int // the bytes held are buf[start:start+n], wrapping around

	fin               bool  // no byte comes after those held
	readErr           error // what reads return from now on, whatever is held
	writeErr          error // what writes return from now on
	readBy, writeBy   time.Time
	readTim, writeTim *time.Timer
}

func newRing() *ring {
	r := &ring{}
	r.cond.L = &r.mu
	return r
}

func (r *ring) read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		switch {
		case r.readErr != nil:
			return 0, r.readErr
		case past(r.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case r.n > 0:
			n := r.take(p)
			r.cond.Broadcast()
			return n, nil
		case r.fin:
			return 0, io.EOF
		}
		r.cond.Wait()
	}
}

func (r *ring) write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	done := 0
	for {
		switch {
		case r.writeErr != nil:
			return done, r.writeErr
		case past(r.writeBy):
			return done, os.ErrDeadlineExceeded
		case done == len(p):
			return done, nil
		case r.n < ringSize:
			done += r.put(p[done:])
			r.cond.Broadcast()
			continue
		}
		r.cond.Wait()
	}
}

// take moves bytes from the ring to p; the caller holds the lock.
func (r *ring) take(p []byte) int {
	total := 0
	for total < len(p) && r.n > 0 {
		end := min(r.start+r.n, len(r.buf))
		n := copy(p[total:], r.buf[r.start:end])
		r.start, r.n, total = (r.start+n)%len(r.buf), r.n-n, total+n
	}
	if r.n == 0 {
		r.start = 0
	}
	return total
}

// put moves bytes from p to the ring, as many as fit; the caller holds the lock.
func (r *ring) put(p []byte) int {
	p = p[:min(len(p), ringSize-r.n)]
	r.grow(r.n + len(p))
	total := 0
	for total < len(p) {
		at := (r.start + r.n) % len(r.buf)
		end := len(r.buf)
		if at < r.start {
			end = r.start
		}
		n := copy(r.buf[at:end], p[total:])
		r.n, total = r.n+n, total+n
	}
	return total
}

// grow makes room for size bytes in all; the caller holds the lock.
func (r *ring) grow(size int) {
	if size <= len(r.buf) {
		return
	}
	length := max(ringStart, len(r.buf))
	for length < size {
		length *= 2
	}
	held := r.n
	bigger := make([]byte, length)
	r.take(bigger)
	r.buf, r.start, r.n = bigger, 0, held
}

// finish ends the stream after the bytes held.
func (r *ring) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fin = true
	if r.writeErr == nil {
		r.writeErr = syscall.EPIPE
	}
	r.cond.Broadcast()
}

// closeWriter is finish by an end that is now closed altogether.
func (r *ring) closeWriter() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fin = true
	r.writeErr = net.ErrClosed
	stop(r.writeTim)
	r.cond.Broadcast()
}

// closeReader drops what is held: nobody will read it.
func (r *ring) closeReader() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readErr, r.buf, r.start, r.n = net.ErrClosed, nil, 0, 0
	if r.writeErr == nil {
		r.writeErr = syscall.EPIPE
	}
	stop(r.readTim)
	r.cond.Broadcast()
}

// reset drops what is held and gives each end its error. An end that has
// closed keeps the error it has.
func (r *ring) reset(readErr, writeErr error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf, r.start, r.n = nil, 0, 0
	if r.readErr == nil || readErr == net.ErrClosed {
		r.readErr = readErr
	}
	if r.writeErr == nil || r.writeErr == syscall.EPIPE || writeErr == net.ErrClosed {
		r.writeErr = writeErr
	}
	stop(r.readTim)
	stop(r.writeTim)
	r.cond.Broadcast()
}

func (r *ring) setReadDeadline(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stop(r.readTim)
	r.readBy, r.readTim = t, r.wakeAt(t)
}

func (r *ring) setWriteDeadline(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stop(r.writeTim)
	r.writeBy, r.writeTim = t, r.wakeAt(t)
}

// wakeAt makes the waiting ends look again at t; the caller holds the lock.
// The timer takes it too, so that no end misses the call between its look at
// the clock and its wait.
func (r *ring) wakeAt(t time.Time) *time.Timer {
	left := time.Until(t)
	if t.IsZero() || left <= 0 {
		// The race detector of Go 1.26 does not survive a timer without a wait in
		// virtual time.
		r.cond.Broadcast()
		return nil
	}
	return time.AfterFunc(left, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.cond.Broadcast()
	})
}

func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func stop(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}
