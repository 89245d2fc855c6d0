//go:build unix

package buf

import (
	"io"
	"net"
	"os"
	"syscall"
)

// whenReady returns what reads from a socket, nil if conn is none.
func (r *Reader) whenReady(conn net.Conn) func() (*Buf, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	p := &pollReader{r: r, raw: raw}
	p.try = p.attempt
	return p.read
}

// A pollReader lets the runtime's poller say when there might be something to
// read. An attempt that finds nothing gives its buffer back.
type pollReader struct {
	r   *Reader
	raw syscall.RawConn
	try func(fd uintptr) bool // attempt, bound once: a read allocates nothing

	b   *Buf // what attempt brought
	err error
}

func (p *pollReader) read() (*Buf, error) {
	p.b, p.err = nil, nil
	if err := p.raw.Read(p.try); err != nil {
		return nil, err // closed by ourselves, or the deadline
	}
	return p.b, p.err
}

// attempt reads once, and reports whether there is an outcome.
func (p *pollReader) attempt(fd uintptr) bool {
	b := p.r.lend(Max)
	n, err := readAgain(int(fd), b.B[:cap(b.B)])
	if n > 0 {
		b.B = b.B[:n]
		p.b = b
		return true
	}
	p.r.discard(b)
	switch err {
	case nil:
		p.err = io.EOF
	case syscall.EAGAIN:
		return false
	default:
		p.err = os.NewSyscallError("read", err)
	}
	return true
}

// readAgain is read(2), again if a signal came between.
func readAgain(fd int, p []byte) (int, error) {
	for {
		if n, err := syscall.Read(fd, p); err != syscall.EINTR {
			return n, err
		}
	}
}
