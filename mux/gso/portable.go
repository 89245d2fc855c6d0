package gso

import (
	"net"
	"net/netip"

	"relaymux/mux/buf"
)

// portable uses single datagrams.
type portable struct {
	packet net.PacketConn
	conn   net.Conn
	o      Options
}

func (p *portable) ReadTrains(ts []Train) (int, error) {
	b := buf.Get(buf.Max)
	var n int
	var err error
	var peer netip.AddrPort
	if p.conn != nil {
		n, err = p.conn.Read(b.B[:cap(b.B)])
	} else {
		var from net.Addr
		n, from, err = p.packet.ReadFrom(b.B[:cap(b.B)])
		if u, ok := from.(*net.UDPAddr); ok {
			peer = netip.AddrPortFrom(u.AddrPort().Addr().Unmap(), u.AddrPort().Port())
		}
	}
	if err != nil {
		b.Release()
		return 0, err
	}
	b.B = b.B[:n]
	ts[0] = Train{Peer: peer, Buf: b.Fit()}
	p.o.Stats.Received.Add(1, n)
	return 1, nil
}

func (p *portable) WriteTrains(ts []Train) (sent int, err error) {
	for i := range ts {
		t := &ts[i]
		for k := range t.Count() {
			if p.conn != nil {
				_, err = p.conn.Write(t.At(k))
			} else {
				_, err = p.packet.WriteTo(t.At(k), net.UDPAddrFromAddrPort(t.Peer))
			}
			if err != nil {
				return sent, err
			}
			sent++
		}
	}
	return sent, nil
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
