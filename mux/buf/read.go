package buf

import "net"

// A Reader reads from a connection into buffers that it has only while there is
// something to read: 10,000 idle connections own none.
type Reader struct {
	read    func() (*Buf, error)
	lend    func(size int) *Buf
	discard func(*Buf)
}

// NewReader returns a Reader for conn. lend hands out an empty buffer of about
// size bytes, and discard takes back one that was not needed: Get and Release,
// or what also charges a budget. Both are called without any lock of conn's
// owner, but from within a read, for which closing conn waits.
func NewReader(conn net.Conn, lend func(size int) *Buf, discard func(*Buf)) *Reader {
	r := &Reader{lend: lend, discard: discard}
	if r.read = r.whenReady(conn); r.read == nil {
		small := &smallReader{r: r, conn: conn, size: 1 << minBits}
		r.read = small.read
	}
	return r
}

// Read waits for something to read, as long as conn's read deadline allows, and
// returns what one read gave, in a buffer that the caller owns. With an error,
// io.EOF at the end, there may be a last buffer; without one there always is.
func (r *Reader) Read() (*Buf, error) { return r.read() }

// Fit is the hand-over rule: content of at least half its buffer is given away
// with it; of less, Fit makes a copy of its own size, so that 200 bytes that
// wait never pin 64 KiB. b is given up either way.
func (b *Buf) Fit() *Buf {
	if len(b.B) >= cap(b.B)/2 {
		return b
	}
	small := Copy(b.B)
	b.Release()
	return small
}

// A smallReader is for a connection that cannot be asked whether there is
// something to read. It owns a buffer while it waits: the smallest, and larger
// ones only while they get filled.
type smallReader struct {
	r    *Reader
	conn net.Conn
	size int
}

func (s *smallReader) read() (*Buf, error) {
	b := s.r.lend(s.size)
	n, err := s.conn.Read(b.B[:cap(b.B)])
	b.B = b.B[:n]
	switch {
	case n == 0:
		s.r.discard(b)
		return nil, err
	case n == cap(b.B):
		s.size = min(4*n, Max)
	default:
		s.size = 1 << minBits
	}
	return b, err
}

// Mostly reports whether parts, which are parts of b, are at least half of it:
// whether they may keep it as they are, by the same rule.
func (b *Buf) Mostly(parts [][]byte) bool {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	return n >= cap(b.B)/2
}
