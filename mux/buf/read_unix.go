//go:build unix

package buf

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// readReady tries a non-blocking read whenever the poller reports conn ready,
// with a buffer that it holds for just that try.
func readReady(conn net.Conn) (*Buf, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return readSmall(conn)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var b *Buf
	var readErr error
	err = raw.Read(func(fd uintptr) bool {
		b, readErr = readFD(int(fd))
		return readErr != errNotReady
	})
	if err != nil {
		return nil, err
	}
	return b, readErr
}

// errNotReady tells the callback to wait for the poller.
var errNotReady = errors.New("not ready")

func readFD(fd int) (*Buf, error) {
	b := Get(Max)
	for {
		n, err := syscall.Read(fd, b.B[:cap(b.B)])
		switch {
		case n > 0:
			b.B = b.B[:n]
			return b, nil
		case err == syscall.EINTR:
			continue
		}
		b.Release()
		switch err {
		case nil:
			return nil, io.EOF
		case syscall.EAGAIN:
			return nil, errNotReady
		}
		return nil, os.NewSyscallError("read", err)
	}
}
