package gso

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"relaymux/mux/stats"
)

// A quicWriter is what WriteMsgUDP has learnt of the socket.
type quicWriter struct {
	off    atomic.Bool    // no trains at all; what is below it is set before
	why    stats.Fallback // if counts
	counts bool           // off against the operator's wish
	faulty bool           // the kernel corrupts trains that leave the machine

	struck   atomic.Bool // there are refusals
	mu       sync.Mutex
	refusals refusals
}

// setUp takes over what the socket's own writer has found out.
func (o *quicWriter) setUp(w *writer) {
	o.off.Store(w.off)
	o.why, o.counts, o.faulty = w.why, w.counts, w.faulty
}

// WriteMsgUDP sends b to an address, waiting for room in the socket's buffer. If
// oob asks for segments and the system refuses, or is known to, the datagrams go
// singly, in order and once each. quic-go does as much for EIO, but has a data race
// there (v0.65). An error is one that concerns the connection, for quic-go ends it
// then, but EMSGSIZE, which it takes for a probe of the path's MTU.
func (c *quicConn) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	// quic-go asks for segments also where there is one, and that may be refused too.
	if at, size := findSegment(oob); size == 0 {
		err = c.sendOne(b, oob, to)
	} else {
		err = c.sendTrain(b, oob, at, size, to)
	}
	if err != nil {
		return 0, 0, err
	}
	return len(b), len(oob), nil
}

// sendOne sends one datagram. What the system has no buffer for, or the device fails
// to send, is lost, as it may be anywhere on the way: that is no reason to end a
// connection, nor is for a server whatever else the system says of one datagram. And quic-go must never hear of EIO where it asked for no segments: it
// would send nothing, for ever (v0.65, sconn.Write).
func (c *quicConn) sendOne(b, oob []byte, to *net.UDPAddr) error {
	err := c.try(b, oob, to)
	switch {
	case err == nil:
		c.o.Stats.Sent.Add(1, len(b))
	case errors.Is(err, unix.EMSGSIZE): // of a probe, and told
	case errors.Is(err, unix.EIO), c.lost(err):
		c.o.Stats.Drop(stats.DropSocket, 1)
		return nil
	}
	return err
}

// lost reports whether what was not sent for err counts as lost on the way.
func (c *quicConn) lost(err error) bool {
	return noBuffers(err) || c.o.Serves && oneDatagram(err)
}

// try sends a message, a few times if the system has no buffer for it.
func (c *quicConn) try(b, oob []byte, to *net.UDPAddr) error {
	for tries := 0; ; tries++ {
		_, _, err := c.send(b, oob, to)
		if err == nil || !noBuffers(err) || tries == buffersTries {
			return err
		}
		time.Sleep(buffersWait << tries)
	}
}

func noBuffers(err error) bool { return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) }

// sendTrain sends b in segments of size, which oob asks for at at.
func (c *quicConn) sendTrain(b, oob []byte, at, size int, to *net.UDPAddr) error {
	peer := to.AddrPort()
	if c.refuses(peer) {
		return c.sendSingles(b, withoutSegment(oob, at), size, to)
	}
	err := c.try(b, oob, to)
	count := (len(b) + size - 1) / size
	switch {
	case err == nil:
		c.o.Stats.Sent.Add(count, len(b))
		c.taken(peer)
		return nil
	case errors.Is(err, unix.EMSGSIZE):
		c.o.Stats.Fallback[stats.FallbackSize].Add(1) // only of this train
	case errors.Is(err, unix.EINVAL):
		c.o.Stats.Fallback[stats.FallbackInvalid].Add(1)
		c.strike(peer)
	case errors.Is(err, unix.EIO):
		c.o.Stats.Fallback[stats.FallbackDevice].Add(1)
		c.device()
	case c.lost(err):
		c.o.Stats.Drop(stats.DropSocket, count)
		return nil
	default:
		return err
	}
	return c.sendSingles(b, withoutSegment(oob, at), size, to)
}

// sendSingles sends the datagrams of a train. One that is too large does not keep
// the others back; quic-go is told of it in the end.
func (c *quicConn) sendSingles(b, oob []byte, size int, to *net.UDPAddr) (late error) {
	for len(b) > 0 {
		n := min(size, len(b))
		err := c.sendOne(b[:n], oob, to)
		if errors.Is(err, unix.EMSGSIZE) {
			c.o.Stats.Drop(stats.DropTooLarge, 1)
			late = err
		} else if err != nil {
			return err
		}
		b = b[n:]
	}
	return late
}

// refuses reports whether no more trains go to peer, and counts it.
func (c *quicConn) refuses(peer netip.AddrPort) bool {
	o := &c.out
	switch {
	case o.off.Load():
		if o.counts {
			c.o.Stats.Fallback[o.why].Add(1)
		}
		return true
	case o.faulty && !peer.Addr().Unmap().IsLoopback():
		c.o.Stats.Fallback[stats.FallbackKernel].Add(1)
		return true
	case !o.struck.Load():
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refusals.off(peer) {
		c.o.Stats.Fallback[stats.FallbackInvalid].Add(1)
		return true
	}
	return false
}

// device notes that no train leaves by this socket.
func (c *quicConn) device() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if !c.out.off.Load() {
		c.out.why, c.out.counts = stats.FallbackDevice, true
		c.out.off.Store(true)
	}
}

func (c *quicConn) strike(peer netip.AddrPort) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.refusals.strike(peer)
	c.out.struck.Store(true)
}

func (c *quicConn) taken(peer netip.AddrPort) {
	if !c.out.struck.Load() {
		return
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.refusals.taken(peer)
}

// findSegment finds where oob asks for segments, and of what size: 0 is nowhere.
func findSegment(oob []byte) (at, size int) {
	for p := oob; len(p) >= unix.SizeofCmsghdr; {
		h, data, rest, err := unix.ParseOneSocketControlMessage(p)
		if err != nil {
			break
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_SEGMENT && len(data) >= 2 {
			return len(oob) - len(p), int(binary.NativeEndian.Uint16(data))
		}
		p = rest
	}
	return 0, 0
}

// withoutSegment is a copy of oob that does not ask for segments at at.
func withoutSegment(oob []byte, at int) []byte {
	rest := oob[at+min(unix.CmsgSpace(2), len(oob)-at):]
	return append(append(make([]byte, 0, len(oob)), oob[:at]...), rest...)
}
