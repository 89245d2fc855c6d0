package gso

import (
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"relaymux/mux/stats"
)

// A writer is what WriteTrains keeps: what it has learnt of the socket, and
// where it stands.
type writer struct {
	try func(fd uintptr) bool // tryWrite, bound once

	off      bool           // no trains at all
	why      stats.Fallback // if counts
	counts   bool           // off against the operator's wish
	faulty   bool           // the kernel corrupts trains that leave the machine
	segments int            // in a train, at most
	proven   bool           // the system has taken more than oldSegments
	begun    bool           // it has taken anything
	refusals refusals
	zone     zone

	ts      []Train
	at      cursor
	tries   int // of the message at the cursor
	sent    int
	refused error

	b       *batch
	n       int // messages in b
	waiting [batchSize]waiting
	done    int // what the last system call said
	errno   unix.Errno
}

// waiting is a message that is ready to be sent.
type waiting struct {
	message
	then cursor         // behind it
	fell bool           // it begins a train that goes as single datagrams
	why  stats.Fallback // if fell
}

// What a message may cost until it is given up.
const (
	buffersTries = 5                      // ENOBUFS: no event tells when that is over
	buffersWait  = 100 * time.Microsecond // before the first of those, then twice as long: 3.1 ms in all
)

func (w *writer) setUp(o Options, knows func() bool) {
	k := kernelOf(release())
	w.segments, w.faulty = k.segments, k.corrupts
	if !o.GSO {
		w.off = true
	} else if !k.gso || !knows() {
		w.off, w.counts, w.why = true, true, stats.FallbackUnsupported
	}
}

func (c *udpConn) WriteTrains(ts []Train) (int, error) {
	w := &c.w
	w.ts, w.at, w.tries, w.sent, w.refused = ts, cursor{}, 0, 0, nil
	w.b = batches.Get().(*batch)
	err := c.writeAll()
	batches.Put(w.b)
	w.b, w.ts = nil, nil
	if err == nil {
		err = w.refused
	}
	return w.sent, err
}

func (c *udpConn) writeAll() error {
	w := &c.w
	for c.fill() {
		err := c.raw.Write(w.try)
		w.b.clear(w.n)
		if err != nil {
			return err
		}
		c.advance()
		if w.errno != 0 {
			if err := c.refuse(); err != nil {
				return err
			}
		}
	}
	return nil
}

// tryWrite sends what is ready, and reports whether there is an outcome. If not,
// the poller waits for room.
func (c *udpConn) tryWrite(fd uintptr) bool {
	w := &c.w
	w.done, w.errno = c.sys.send(fd, w.b.msgs[:w.n])
	return w.errno != unix.EAGAIN
}

// fill makes messages of what follows the cursor, and reports whether there is
// any.
func (c *udpConn) fill() bool {
	w := &c.w
	w.n, w.done, w.errno = 0, 0, 0
	for at := w.at; at.train < len(w.ts) && w.n < batchSize; {
		t, x := &w.ts[at.train], &w.waiting[w.n]
		*x = waiting{}
		if !at.alone && t.Size > 0 && len(t.Buf.B) > t.Size {
			at.alone = c.single(t.Peer, x)
		}
		x.message = at.next(t, headersTo(c.to(t.Peer)), w.segments)
		x.then = at
		if !c.ready(w.n, t) {
			if w.n > 0 {
				break // what is ready goes first
			}
			c.o.Stats.Drop(stats.DropSocket, x.count)
			w.at = at
			continue
		}
		w.n++
	}
	return w.n > 0
}

// single reports whether a train to peer goes as single datagrams, and notes in
// x why, if that is to be counted.
func (c *udpConn) single(peer netip.AddrPort, x *waiting) bool {
	w := &c.w
	switch {
	case w.off:
		x.fell, x.why = w.counts, w.why
		return true
	case w.faulty && !c.to(peer).Addr().Unmap().IsLoopback(): // which no device segments
		x.fell, x.why = true, stats.FallbackKernel
		return true
	case w.refusals.off(peer):
		x.fell, x.why = true, stats.FallbackInvalid
		return true
	}
	return false
}

// ready puts message i into the batch, unless it cannot be addressed.
func (c *udpConn) ready(i int, t *Train) bool {
	w, m := &c.w, c.w.waiting[i].message
	var named uint32
	if !c.connected {
		if named = w.b.name(i, t.Peer, c.v6, w.zone.idOf(t.Peer.Addr().Zone())); named == 0 {
			return false
		}
	}
	oob := 0
	if m.count > 1 {
		oob = w.b.segment(i, t.Size)
	}
	w.b.point(i, t.Buf.B[m.from:m.to], named, oob)
	return true
}

// advance steps behind what was sent.
func (c *udpConn) advance() {
	w := &c.w
	for _, x := range w.waiting[:w.done] {
		w.at, w.tries, w.begun = x.then, 0, true
		w.sent += x.count
		c.o.Stats.Sent.Add(x.count, x.to-x.from)
		if x.fell {
			c.o.Stats.Fallback[x.why].Add(1)
		}
		if x.count > 1 {
			w.proven = w.proven || x.count > oldSegments
			w.refusals.taken(w.ts[x.train].Peer)
		}
	}
}

// refuse does what there is to do about the message at the cursor, which the
// system has not taken: change how it goes, try it again, or count it and step
// behind it. An error is the end of the socket.
func (c *udpConn) refuse() error {
	w, x := &c.w, &c.w.waiting[0]
	if w.done > 0 {
		return nil // the errno is of a later message and comes again
	}
	w.tries++
	switch w.errno {
	case unix.EMSGSIZE, unix.EINVAL, unix.EIO:
		if x.count > 1 {
			c.split(x)
			return nil
		}
	case unix.EPERM:
		if !w.begun && w.tries == 1 {
			return nil // a packet filter's state that is not there yet
		}
	case unix.ENOBUFS, unix.ENOMEM:
		if w.tries <= buffersTries {
			time.Sleep(buffersWait << (w.tries - 1))
			return nil
		}
	case unix.ECONNREFUSED:
		// It speaks of an earlier datagram; this one has not been sent.
		if c.connected {
			w.refused = os.NewSyscallError("sendmmsg", w.errno)
		}
		if w.tries == 1 {
			return nil
		}
	case unix.EBADF, unix.ENOTSOCK:
		return os.NewSyscallError("sendmmsg", w.errno)
	}
	why := stats.DropSocket
	if w.errno == unix.EMSGSIZE {
		why = stats.DropTooLarge
	}
	c.o.Stats.Drop(why, x.count)
	w.at, w.tries = x.then, 0
	return nil
}

// split lets the rest of a refused train go as single datagrams, and remembers
// of whom that was.
func (c *udpConn) split(x *waiting) {
	w := &c.w
	why := stats.FallbackSize // only of this train: the next may be of smaller segments
	switch w.errno {
	case unix.EINVAL:
		if x.count > oldSegments && w.segments > oldSegments && !w.proven {
			w.segments, w.tries = oldSegments, 0 // an older kernel than it says
			return
		}
		why = stats.FallbackInvalid
		w.refusals.strike(w.ts[x.train].Peer)
	case unix.EIO:
		why = stats.FallbackDevice
		w.off, w.counts, w.why = true, true, why
	}
	w.at.alone, w.tries = true, 0
	c.o.Stats.Fallback[why].Add(1)
}
