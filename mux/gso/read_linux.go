package gso

import (
	"os"

	"golang.org/x/sys/unix"

	"relaymux/mux/buf"
	"relaymux/mux/stats"
)

// A reader is what ReadTrains keeps.
type reader struct {
	try     func(fd uintptr) bool // tryRead, bound once: a read allocates nothing
	ts      []Train
	n       int    // of ts that are filled
	want    int    // messages per system call: as many as there were, and one that finds the socket empty
	err     error  // found behind trains that had to be returned first
	errors  int    // in a row
	dropped uint32 // by the socket so far, as SO_RXQ_OVFL tells; it wraps
	zone    zone
}

func (c *udpConn) ReadTrains(ts []Train) (int, error) {
	r := &c.r
	r.ts, r.n = ts, 0
	if r.err == nil {
		if err := c.raw.Read(r.try); err != nil {
			return 0, err
		}
	}
	r.ts = nil
	if r.n > 0 {
		return r.n, nil
	}
	err := r.err
	r.err = nil
	return 0, err
}

// readBatch is how many messages are read per system call: of 1,200 bytes, four
// at a time cost 0.40 µs each, one at a time 0.55 and sixteen, whose buffers no
// cache holds any more, 0.55 (Linux 6.18, loopback).
const readBatch = 4

// tryRead reads until the socket is empty, ts is full or there is an error, and
// reports whether any of that is worth returning for.
func (c *udpConn) tryRead(fd uintptr) bool {
	r := &c.r
	b := batches.Get().(*batch)
	defer batches.Put(b)
	for r.n < len(r.ts) {
		k := min(max(r.want, 2), len(r.ts)-r.n, readBatch)
		got, errno := c.receive(fd, b, k)
		switch {
		case errno == unix.EAGAIN:
			return r.n > 0
		case errno != 0:
			if r.err = c.readError(errno); r.err != nil {
				return true
			}
			continue
		}
		r.want = got + 1
		if got == k {
			r.want = 2 * got
		} else if r.n > 0 {
			return true
		}
	}
	return true
}

// receive reads at most k messages, and lends them buffers for that long.
func (c *udpConn) receive(fd uintptr, b *batch, k int) (int, unix.Errno) {
	named := uint32(unix.SizeofSockaddrInet6)
	if c.connected {
		named = 0
	}
	for i := range k {
		b.bufs[i] = buf.Get(buf.Max)
		b.point(i, b.bufs[i].B[:buf.Max], named, oobBytes)
	}
	n, errno := c.sys.recv(fd, b.msgs[:k])
	for i := range k {
		if i < n {
			c.deliver(b, i)
		} else {
			b.bufs[i].Release()
		}
		b.bufs[i] = nil
	}
	b.clear(k)
	return n, errno
}

// deliver makes a train of message i.
func (c *udpConn) deliver(b *batch, i int) {
	r, m, data, a := &c.r, &b.msgs[i], b.bufs[i], b.arrival(i)
	data.B = data.B[:m.Len]
	r.errors = 0
	c.overflown(a.dropped)
	flags := int(m.Hdr.Flags)
	if flags&unix.MSG_TRUNC != 0 || c.gro && a.size == 0 && flags&unix.MSG_CTRUNC != 0 {
		c.o.Stats.Drop(stats.DropCut, 1)
		data.Release()
		return
	}
	t := Train{Buf: data}
	if a.size > 0 && a.size < len(data.B) {
		t.Size = a.size
	}
	if !c.connected {
		peer, zone := b.peer(i)
		t.Peer = r.zone.add(peer, zone)
	}
	c.o.Stats.Received.Add(t.Count(), len(data.B))
	t.Buf = data.Fit()
	r.ts[r.n] = t
	r.n++
}

// overflown counts what the socket has had no room for, of which total is what it
// says.
func (c *udpConn) overflown(total uint32) {
	if r := &c.r; total != 0 && total != r.dropped {
		c.o.Stats.Drop(stats.DropOverflow, int(total-r.dropped))
		r.dropped = total
	}
}

// readError is nil for what is to be passed over: ICMP's news of one peer is no
// matter of the others.
func (c *udpConn) readError(errno unix.Errno) error {
	c.r.errors++
	end := errno == unix.EBADF || errno == unix.ENOTSOCK || c.r.errors > patience
	if end || c.connected && errno == unix.ECONNREFUSED {
		return os.NewSyscallError("recvmmsg", errno)
	}
	return nil
}
