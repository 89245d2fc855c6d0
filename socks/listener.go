package socks

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/fd"
	"relaymux/mux/wire"
)

// handshakeBuffer holds the longest SOCKS message: a SOCKS4a request of 8
// bytes, with a user id and a name of at most 255 bytes and a NUL each, is 520.
// It is garbage as soon as the handshake is over.
const handshakeBuffer = 528

// Serve accepts connections from ln, which it closes, until Shutdown, and then
// returns nil. Any other end is an error. It may be called for several
// listeners at the same time.
func (s *Server) Serve(ln net.Listener) error {
	l := &listener{Listener: fd.Patient(ln, s.log), over: make(chan struct{})}
	defer l.Close()
	if !s.addListener(ln, l) {
		return nil
	}
	defer s.removeListener(ln)
	s.front.start()
	via := addrPort(ln.Addr())
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			s.admit(conn, via)
		case s.isClosing():
			return nil
		default:
			return fmt.Errorf("accepting on %s: %w", ln.Addr(), err)
		}
	}
}

// A listener is one that is being served.
type listener struct {
	net.Listener
	over chan struct{} // closed when it takes nobody in any more
}

func (s *Server) addListener(ln net.Listener, l *listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosing() {
		return false
	}
	s.listeners[ln] = l
	if addr := addrPort(ln.Addr()); addr.IsValid() {
		s.self = append(slices.Clip(s.self), addr)
	}
	return true
}

func (s *Server) removeListener(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.listeners[ln].over)
	delete(s.listeners, ln)
	if i := slices.Index(s.self[len(s.cfg.Self):], addrPort(ln.Addr())); i >= 0 {
		i += len(s.cfg.Self)
		s.self = slices.Concat(s.self[:i], s.self[i+1:])
	}
}

// Retire ends ln for good, so that nobody who came by it can do what is only for those
// who come by others, as when it was open to strangers who had to log in, and users are
// no more: it closes ln, waits until its Serve takes nobody in, and closes the
// connections that came by it unless what they asked for is being done. Those that do
// HTTP are closed after that, and what was handed over goes on.
func (s *Server) Retire(ln net.Listener) {
	ln.Close()
	s.mu.Lock()
	l := s.listeners[ln]
	s.mu.Unlock()
	if l != nil {
		l.Close()
		<-l.over
	}
	via := addrPort(ln.Addr())
	s.gate.retire(func(c *client) bool { return c.via == via })
}

func (s *Server) isClosing() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// admit takes conn in, which came by the listener at via, or closes it when there are
// too many, or too few descriptors for what it will ask for.
func (s *Server) admit(conn net.Conn, via netip.AddrPort) {
	if fd.UsedUp(conn) {
		n := s.counts.short.Add(1)
		s.short.Do(func() {
			s.log.Warn("too few file descriptors for more connections", "refused", n, "hint", fd.Hint)
		})
		conn.Close()
		return
	}
	buf.LimitUnsent(conn) // what nobody reads fills little, and so is soon noticed
	c := &client{
		Conn: conn, gate: s.gate, source: addrPort(conn.RemoteAddr()), local: addrPort(conn.LocalAddr()).Addr(),
		via: via, login: s.guard.needed(),
	}
	if !s.gate.enter(c) {
		n := s.counts.refused.Add(1)
		s.full.Do(func() {
			s.log.Warn("too many connections", "limit", s.gate.most(), "source", c.source, "refused", n)
		})
		conn.Close()
		return
	}
	go s.serve(c)
}

// serve is the life of a connection. Its frame stays small, since it lies
// below that of the handler for as long as the flow lasts.
func (s *Server) serve(c *client) {
	r := s.greet(c)
	if r != nil {
		s.handle(c, r)
	}
}

// handle has c's request answered, whatever the handler does.
func (s *Server) handle(c *client, r *Request) {
	defer s.gate.leave(c)
	defer s.rescue(c)
	s.cfg.Handle(s.ctx, r)
	r.Abort(wire.Failed) // for a handler that forgot; else it does nothing
}

// rescue is deferred: it keeps a panic from ending everybody's connections.
func (s *Server) rescue(c *client) {
	v := recover()
	if v == nil {
		return
	}
	s.panicked(v, c.source)
	c.Close()
}

// panicked tells of a panic. Its caller has recovered it.
func (s *Server) panicked(v any, source netip.AddrPort) {
	s.counts.panics.Add(1)
	s.log.Error("panic", "source", source, "panic", v, "stack", string(debug.Stack()))
}

// greet finds out what c speaks and reads its request. It returns nil when
// there is none to handle: c was refused, and is closed, or speaks HTTP, and
// belongs to the front.
func (s *Server) greet(c *client) *Request {
	defer s.rescue(c)
	c.SetDeadline(time.Now().Add(s.cfg.HandshakeTimeout))
	br := bufio.NewReaderSize(c.Conn, handshakeBuffer)
	r, err := s.dispatch(c, br)
	if err != nil {
		s.reject(c, err)
		return nil
	}
	if r == nil {
		return nil
	}
	c.early = buffered(br)
	if !c.gate.grant(c) {
		c.Close()
		return nil
	}
	c.SetDeadline(time.Time{})
	return r
}

// dispatch goes by the first byte: a SOCKS version, or a letter of an HTTP
// method. It returns nil and no error when c is taken care of.
func (s *Server) dispatch(c *client, br *bufio.Reader) (*Request, error) {
	first, err := br.Peek(1)
	if err != nil { // a probe, or a browser that connected ahead of need
		c.Close()
		return nil, nil
	}
	switch b := first[0]; {
	case b == socks5Version:
		return s.socks5(c, br)
	case b == socks4Version:
		return s.socks4(c, br)
	case 'A' <= b && b <= 'Z', 'a' <= b && b <= 'z':
		c.early = buffered(br)
		return nil, s.front.take(c)
	default:
		return nil, fmt.Errorf("first byte %#02x is of no protocol spoken here", b)
	}
}

// reject closes c, with the reply that err carries, if it does.
func (s *Server) reject(c *client, err error) {
	n := s.counts.garbage.Add(1)
	s.garbage.Do(func() {
		s.log.Info("handshake failed", "source", c.source, "err", err, "failures", n)
	})
	if r, ok := errors.AsType[*refusal](err); ok {
		c.hangUp(r.reply)
		return
	}
	c.Close()
}

// refusal is the end of a handshake about which the client is told.
type refusal struct {
	reply []byte // may be empty, when it has been told already
	err   error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// buffered returns a copy of what br has read ahead, nil if nothing.
func buffered(br *bufio.Reader) []byte {
	ahead, _ := br.Peek(br.Buffered()) // cannot fail: it is there
	return append([]byte(nil), ahead...)
}

// addrPort returns a TCP or UDP address in its plain form, an IPv4 address
// never mapped into IPv6; the zero value for an address of another kind.
func addrPort(a net.Addr) netip.AddrPort {
	ip, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.AddrPort{}
	}
	ap := ip.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
