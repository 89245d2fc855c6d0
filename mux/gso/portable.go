package gso

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"relaymux/mux/buf"
	"relaymux/mux/stats"
)

// portable sends and receives single datagrams, by any system's socket or by
// none. While it waits for one it holds a buffer of 64 KiB, for it cannot ask
// whether there is something to read.
type portable struct {
	packet net.PacketConn // one of the two
	conn   net.Conn
	direct addrPortConn // packet, if it can do without a net.Addr per datagram
	o      Options
}

// addrPortConn is what a *net.UDPConn does without allocating.
type addrPortConn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error)
}

func newPortable(packet net.PacketConn, conn net.Conn, o Options) *portable {
	p := &portable{packet: packet, conn: conn, o: o}
	p.direct, _ = packet.(addrPortConn)
	if s, ok := packet.(bufferSetter); ok {
		setBuffers(s, o.Buffer)
	} else if s, ok := conn.(bufferSetter); ok {
		setBuffers(s, o.Buffer)
	}
	return p
}

// patience is how many errors in a row that concern one datagram a reader passes
// over: each read takes one from the socket, so more than a few are something
// else.
const patience = 64

func (p *portable) ReadTrains(ts []Train) (int, error) {
	for range patience {
		b := buf.Get(buf.Max)
		n, peer, err := p.read(b.B[:cap(b.B)])
		if err == nil {
			b.B = b.B[:n]
			ts[0] = Train{Peer: peer, Buf: b.Fit()}
			p.o.Stats.Received.Add(1, n)
			return 1, nil
		}
		b.Release()
		// What ICMP says of one peer is no matter of the others.
		if !oneDatagram(err) || p.conn != nil && errors.Is(err, syscall.ECONNREFUSED) {
			return 0, err
		}
	}
	return 0, errors.New("gso: nothing but errors to read")
}

func (p *portable) read(b []byte) (n int, peer netip.AddrPort, err error) {
	switch {
	case p.conn != nil:
		n, err = p.conn.Read(b)
	case p.direct != nil:
		n, peer, err = p.direct.ReadFromUDPAddrPort(b)
	default:
		var from net.Addr
		n, from, err = p.packet.ReadFrom(b)
		if u, ok := from.(*net.UDPAddr); ok {
			peer = u.AddrPort()
		} else if from != nil {
			peer, _ = netip.ParseAddrPort(from.String())
		}
	}
	return n, netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()), err
}

func (p *portable) WriteTrains(ts []Train) (sent int, refused error) {
	for i := range ts {
		t := &ts[i]
		if p.o.GSO && t.Count() > 1 {
			p.o.Stats.Fallback[stats.FallbackUnsupported].Add(1)
		}
		for k := range t.Count() {
			err := p.write(t.At(k), t.Peer)
			if p.conn != nil && errors.Is(err, syscall.ECONNREFUSED) {
				// It speaks of an earlier datagram; this one has not been sent.
				refused = err
				err = p.write(t.At(k), t.Peer)
			}
			switch {
			case err == nil:
				sent++
				p.o.Stats.Sent.Add(1, len(t.At(k)))
			case tooLarge(err):
				p.o.Stats.Drop(stats.DropTooLarge, 1)
			case oneDatagram(err):
				p.o.Stats.Drop(stats.DropSocket, 1)
			default:
				return sent, err
			}
		}
	}
	return sent, refused
}

func (p *portable) write(b []byte, peer netip.AddrPort) (err error) {
	switch {
	case p.conn != nil:
		_, err = p.conn.Write(b)
	case !peer.IsValid():
		return &net.AddrError{Err: "no address", Addr: peer.String()}
	case p.direct != nil:
		_, err = p.direct.WriteToUDPAddrPort(b, peer)
	default:
		_, err = p.packet.WriteTo(b, net.UDPAddrFromAddrPort(peer))
	}
	return err
}

// oneDatagram reports whether err is about one datagram and not about the
// socket: what the system said, or an address that is not of its family.
func oneDatagram(err error) bool {
	var errno syscall.Errno
	var addr *net.AddrError
	return errors.As(err, &addr) || errors.As(err, &errno) && errno != syscall.EBADF
}

// tooLarge knows EMSGSIZE, and WSAEMSGSIZE, which the syscall package does not
// name.
func tooLarge(err error) bool {
	const wsaEMSGSIZE = syscall.Errno(10040)
	return errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, wsaEMSGSIZE)
}

func (p *portable) LocalAddr() net.Addr {
	if p.conn != nil {
		return p.conn.LocalAddr()
	}
	return p.packet.LocalAddr()
}

func (p *portable) Close() error {
	if p.conn != nil {
		return p.conn.Close()
	}
	return p.packet.Close()
}

// bufferSetter is what a *net.UDPConn can do, on every system.
type bufferSetter interface {
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}

// setBuffers asks for buffers of size bytes, and for half of that as long as the
// system refuses: BSDs have a limit that they do not apply by themselves.
func setBuffers(s bufferSetter, size int) {
	for _, set := range []func(int) error{s.SetReadBuffer, s.SetWriteBuffer} {
		for n := size; n >= 64<<10 && set(n) != nil; n /= 2 {
		}
	}
}
