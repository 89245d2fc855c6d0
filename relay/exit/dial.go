package exit

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/fd"
	"relaymux/mux/wire"
)

// A Dialer reaches the targets. An error that carries a *wire.DialError says by
// its Reason what the client is told.
//
// DialContext is called from many goroutines, with network "tcp" or "udp" and an
// address whose host may be a name. It returns soon after ctx has ended. A
// connection of "udp" keeps the borders of datagrams, hears its peer alone, and
// tells the peer's address by RemoteAddr.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// dialLimit bounds a dial, the look-up of the name included, as at the node of mhrv-rs.
const dialLimit = 10 * time.Second

// connectFailed begins the text of every RESULT of a dial that failed.
const connectFailed = "connect failed: "

var errDialRate = errors.New("too many new connections at the node")

// NewDialer returns a dialer that reaches what the policy allows. Both address
// families of a name are tried as net.Dialer does (RFC 8305); the policy sees
// each address that is really dialled, so that a name which resolves to
// something else the second time gains nothing.
func NewDialer(p Policy) (Dialer, error) {
	d := new(policyDialer)
	return d, d.set(p)
}

type policyDialer struct {
	policy   atomic.Pointer[policy]
	resolver *net.Resolver // nil is the system's
	families families
}

// set has d go by p from now on; an error changes nothing.
func (d *policyDialer) set(p Policy) error {
	checked, err := newPolicy(p)
	if err == nil {
		d.policy.Store(checked)
	}
	return err
}

func (d *policyDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	name, port, err := splitTarget(address)
	if err != nil {
		return nil, err
	}
	policy := d.policy.Load()
	if err := policy.checkName(name, port); err != nil {
		return nil, err
	}
	var tried attempts
	nd := net.Dialer{Resolver: d.resolver, FallbackDelay: d.families.lead(), Control: func(network, address string, raw syscall.RawConn) error {
		if err := policy.checkAddress(name, address); err != nil {
			return err
		}
		if fd.UsedUpBy(raw) { // the rest is for clients, to hear why
			return syscall.EMFILE
		}
		tried.note(network)
		return nil
	}}
	conn, err := nd.DialContext(ctx, network, address)
	if err == nil {
		d.families.note(conn, name, nd.FallbackDelay, tried.gap())
	}
	return conn, err
}

// dialTCP connects to a target, for the client whose use is that, and tells its round trip as far as the dial does.
func (n *Node) dialTCP(ctx context.Context, use *clientUse, host string, port uint16) (conn net.Conn, rtt time.Duration, err error) {
	switch {
	case isGateway(host, port):
		return newGateway(n, use), 0, nil
	case isYardstick(host, port):
		return newYardstick(), 0, nil
	}
	n.count.dials.Add(1)
	began := time.Now()
	conn, err = n.dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		n.dialFailed("dial failed", host, port, err)
	} else {
		buf.LimitUnsent(conn) // as in socks
	}
	buf.Linger(conn, buf.ByRST)
	return conn, min(time.Since(began), dialMost), err
}

// dialFailed counts a dial that failed, and has the log say so: aloud if it is no
// target's fault.
func (n *Node) dialFailed(what, host string, port uint16, err error) {
	n.log.Debug(what, "host", host, "port", port, "err", err)
	n.count.dialFailures.Add(1)
	if fd.IsShort(err) {
		n.short.Do(func() {
			n.log.Warn("too few file descriptors or too little memory for more connections", "err", err, "hint", fd.Hint)
		})
	}
}

// dial is the goroutine that connects the session.
func (s *tcpSession) dial(ctx context.Context, host string, port uint16) {
	defer s.stop()
	conn, rtt, err := s.node.dialTCP(ctx, s.node.keyUse, host, port)
	if err != nil {
		s.dialFailed(err)
		return
	}
	s.connected(conn, rtt)
}

// connected begins the session's work with its target, which is rtt away.
func (s *tcpSession) connected(conn net.Conn, rtt time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		_ = conn.Close() // the client went while it was dialled
		return
	}
	s.conn, s.dialing, s.rtt = conn, false, rtt
	s.active = time.Now()
	s.startWriter()
	// A goroutine of its own, for this one's stack has grown with the dial.
	s.node.work.Go(func() { s.readLoop(conn) })
	s.wake()
}

// dialFailed keeps the outcome for the op that asks next.
func (s *tcpSession) dialFailed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialing = false
	if !s.over {
		s.failure = connectFailed + outcome(err)
		s.shut()
	}
}

// outcome is what a client is told about a failed dial: one of wire.Reason's
// texts, or else the system's own word for it, and never an address.
func outcome(err error) string {
	reason := wire.ReasonOfDial(err)
	var errno syscall.Errno
	if reason == wire.Failed && errors.As(err, &errno) {
		return errno.Error()
	}
	return reason.String()
}
