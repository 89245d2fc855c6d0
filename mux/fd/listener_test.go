package fd

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A failing listener fails with each of errs, then hands out connections.
type failing struct {
	errs []error
}

func (f *failing) Accept() (net.Conn, error) {
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		return nil, err
	}
	a, b := net.Pipe()
	b.Close()
	return a, nil
}
func (f *failing) Close() error   { return nil }
func (f *failing) Addr() net.Addr { return &net.TCPAddr{} }

func accept(errno syscall.Errno) error {
	return &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", errno)}
}

// Whatever accept says of one connection or of the machine, the listener goes on; what it
// says of itself ends it at once (accept(2)).
func TestHostile81_AcceptGoesOn(t *testing.T) {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR, syscall.EPERM,
		syscall.EPROTO, syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ECONNRESET, syscall.EIO,
	} {
		synctest.Test(t, func(t *testing.T) {
			var said strings.Builder
			ln := Patient(&failing{errs: []error{accept(errno), accept(errno)}}, slog.New(slog.NewTextHandler(&said, nil)))
			began := time.Now()
			conn, err := ln.Accept()
			if err != nil || time.Since(began) != 15*time.Millisecond || strings.Count(said.String(), "cannot accept") != 1 {
				t.Errorf("%v: %v after %v; %s", errno, err, time.Since(began), said.String())
				return
			}
			conn.Close()
		})
	}
	for _, end := range []error{net.ErrClosed, accept(syscall.EBADF), accept(syscall.EINVAL), accept(syscall.ENOTSOCK), os.ErrInvalid} {
		ln := Patient(&failing{errs: []error{end}}, slog.New(slog.DiscardHandler))
		if _, err := ln.Accept(); !errors.Is(err, end) {
			t.Errorf("%v: %v", end, err)
		}
	}
}

// Closed while it waits, a listener ends at once.
func TestCloseEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errs := make([]error, 100)
		for i := range errs {
			errs[i] = accept(syscall.EMFILE)
		}
		ln := Patient(&failing{errs: errs}, slog.New(slog.DiscardHandler))
		go func() {
			time.Sleep(10500 * time.Millisecond)
			ln.Close()
		}()
		began := time.Now()
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) || time.Since(began) != 10500*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
