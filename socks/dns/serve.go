package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"relaymux/mux/fd"
	"relaymux/mux/rule"
)

const (
	maxQuery   = 4096 // bytes of a query by UDP
	localSize  = 4096 // bytes of an answer by UDP to a program of this machine,
	remoteSize = ourSize

	maxConns     = 64               // of TCP, of all programs,
	maxConnsOf   = 32               // and of one source
	maxPipelined = 32               // queries of one connection that are being answered
	connIdle     = 10 * time.Second // between two queries of a connection
	readPause    = 100 * time.Millisecond
)

// ServeUDP answers the queries that come on c, which it closes, until Close. A source
// that is of no private network is not answered: its address may be somebody's who is
// to drown in answers.
func (s *Server) ServeUDP(c net.PacketConn) {
	defer closeWith(s.ctx, c)()
	b := make([]byte, maxQuery)
	for s.ctx.Err() == nil {
		n, from, err := c.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // on some systems about an answer that somebody did not take
			s.failed.Do(func() { s.log.Warn("reading DNS queries", "err", err) })
			pause(s.ctx)
			continue
		}
		limit, ok := sizeFor(from)
		if !ok {
			continue
		}
		msg := bytes.Clone(b[:n])
		s.start(func() {
			if answer := s.reply(sourceOf(from), msg, limit); answer != nil {
				_, _ = c.WriteTo(answer, from) // who asked asks again
			}
		})
	}
}

// sizeFor is how large an answer to that source may be, and whether it gets one.
func sizeFor(source net.Addr) (limit int, ok bool) {
	addr := sourceOf(source)
	if addr.IsLoopback() {
		return localSize, true
	}
	return remoteSize, addr.IsValid() && (rule.IsPrivate(addr) || addr.IsLinkLocalUnicast())
}

// sourceOf is the address of a program's end, without its port, the zero value if that is
// no IP address.
func sourceOf(a net.Addr) netip.Addr {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// ServeTCP answers the queries that come on connections of ln, which it closes, until
// Close.
func (s *Server) ServeTCP(ln net.Listener) {
	ln = fd.Patient(ln, s.log)
	defer closeWith(s.ctx, ln)()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.log.Error("DNS by TCP has ended", "listener", ln.Addr().String(), "err", err)
			}
			return
		}
		if fd.UsedUp(conn) {
			s.short.Do(func() { s.log.Warn("too few file descriptors for DNS connections", "hint", fd.Hint) })
			conn.Close()
			continue
		}
		c := &client{Conn: conn, source: sourceOf(conn.RemoteAddr())}
		if _, ok := sizeFor(conn.RemoteAddr()); !ok || !s.clients.enter(c) {
			conn.Close()
			continue
		}
		if !s.start(func() { s.serveConn(c) }) {
			conn.Close()
		}
	}
}

// serveConn answers what comes on conn, each query when its answer is there.
func (s *Server) serveConn(conn *client) {
	defer s.clients.leave(conn)
	defer closeWith(s.ctx, conn)()
	var writing sync.Mutex
	var answering sync.WaitGroup
	defer answering.Wait() // before the connection is closed
	room := make(chan struct{}, maxPipelined)
	for {
		conn.SetReadDeadline(time.Now().Add(connIdle))
		msg, err := readMessage(conn)
		if err != nil {
			return
		}
		room <- struct{}{} // within patience one comes free
		s.clients.begins(conn)
		answering.Go(func() {
			defer func() { <-room }()
			defer s.clients.ended(conn)
			answer := s.reply(conn.source, msg, 0)
			if answer == nil {
				return
			}
			writing.Lock()
			defer writing.Unlock()
			conn.SetWriteDeadline(time.Now().Add(writeTime))
			_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)) // the next read tells
		})
	}
}

// closeWith closes c when ctx ends, or when what it returns is called.
func closeWith(ctx context.Context, c interface{ Close() error }) func() {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	return func() {
		stop()
		c.Close()
	}
}

// pause lets the cause of an error pass.
func pause(ctx context.Context) {
	t := time.NewTimer(readPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
