//go:build unix

package exit

import (
	"io"
	"net"
	"os"
	"syscall"

	"relaymux/mux/buf"
)

// newReader returns what reads the next bytes from conn into a charged buffer.
func newReader(s *session, conn net.Conn) func() (*buf.Buf, error) {
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			return newPollReader(s, raw).read
		}
	}
	return newBufferedReader(s, conn).read
}

// pollReader reads from a socket without owning a buffer while there is nothing
// to read: the runtime's poller calls try when there might be, and one that finds
// nothing gives its buffer back. 10,000 idle sessions own no buffer.
type pollReader struct {
	s   *session
	raw syscall.RawConn
	try func(fd uintptr) bool // attempt, bound once

	b   *buf.Buf // what attempt brought
	err error
}

func newPollReader(s *session, raw syscall.RawConn) *pollReader {
	r := &pollReader{s: s, raw: raw}
	r.try = r.attempt
	return r
}

func (r *pollReader) read() (*buf.Buf, error) {
	r.b, r.err = nil, nil
	if err := r.raw.Read(r.try); err != nil {
		return nil, err // closed by ourselves
	}
	return r.b, r.err
}

// attempt reads once, and reports whether there is an outcome.
func (r *pollReader) attempt(fd uintptr) bool {
	b := r.s.lend(buf.Max)
	k, err := readAgain(int(fd), b.B[:cap(b.B)])
	if k > 0 {
		b.B = b.B[:k]
		r.b = b
		return true
	}
	r.s.discard(b)
	switch err {
	case nil:
		r.err = io.EOF
	case syscall.EAGAIN:
		return false
	default:
		r.err = os.NewSyscallError("read", err)
	}
	return true
}

// readAgain is read(2), again if a signal came between.
func readAgain(fd int, p []byte) (int, error) {
	for {
		if k, err := syscall.Read(fd, p); err != syscall.EINTR {
			return k, err
		}
	}
}
