package fd

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

// Between failures a listener waits, so that a process without descriptors neither ends
// nor spins.
const (
	minWait = 5 * time.Millisecond
	maxWait = time.Second
)

// complaintEvery is the shortest time between two log lines of one listener.
const complaintEvery = 10 * time.Second

// Patient returns ln with an Accept that fails only when ln itself is at its end. What is
// about one connection (Linux hands errors of the network to accept, see accept(2)), or
// about descriptors and memory, it tells the log and waits out.
func Patient(ln net.Listener, log *slog.Logger) net.Listener {
	return &patient{
		Listener: ln, log: log, closed: make(chan struct{}),
		stuck: rate.Sometimes{First: 1, Interval: complaintEvery},
	}
}

type patient struct {
	net.Listener
	log    *slog.Logger
	stuck  rate.Sometimes
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (p *patient) Accept() (net.Conn, error) {
	for wait := minWait; ; wait = min(2*wait, maxWait) {
		conn, err := p.Listener.Accept()
		if err == nil || isFinal(err) {
			return conn, err
		}
		p.stuck.Do(func() { p.log.Warn("cannot accept", "listener", p.Addr().String(), "err", err) })
		if !p.pause(wait) {
			return nil, net.ErrClosed
		}
	}
}

// isFinal tells whether an error is about the listener. Whatever else the system says
// passes, and it may say anything: ENETUNREACH, EPROTO, EPERM of a packet filter.
func isFinal(err error) bool {
	_, system := errors.AsType[syscall.Errno](err)
	return !system || isOneOf(err, net.ErrClosed, syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EFAULT)
}

// pause waits, and reports false as soon as the listener is closed.
func (p *patient) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.closed:
		return false
	}
}

// Close implements net.Listener.
func (p *patient) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Listener.Close()
}
