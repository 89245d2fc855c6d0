package buf

import (
	"io"
	"net"
)

// Read waits until conn has something to read and only then takes a buffer,
// so that an idle connection owns none. It returns what one read gave, in a
// buffer whose size fits it, which the caller owns; or an error, io.EOF at the
// end. The read deadline of conn applies.
func Read(conn net.Conn) (*Buf, error) {
	b, err := readReady(conn)
	if err != nil {
		return nil, err
	}
	return b.fit(), nil
}

// fit is the hand-over rule: content of at least half the buffer is given
// away with it, less is copied into one of its own size.
func (b *Buf) fit() *Buf {
	if len(b.B) >= cap(b.B)/2 {
		return b
	}
	small := Copy(b.B)
	b.Release()
	return small
}

// readSmall is the way without readiness: it waits in a read with a small
// buffer, and reads on into a large one only if that came back full.
func readSmall(conn net.Conn) (*Buf, error) {
	b := Get(1 << minBits)
	n, err := conn.Read(b.B[:cap(b.B)])
	if n == 0 {
		b.Release()
		if err == nil {
			err = io.ErrNoProgress
		}
		return nil, err
	}
	b.B = b.B[:n]
	if n < cap(b.B) {
		return b, nil
	}
	large := Get(Max)
	large.B = append(large.B, b.B...)
	b.Release()
	return large, nil
}
