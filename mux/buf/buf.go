// Package buf holds the program's pooled buffers, each with one owner at a
// time, and the budget that bounds what they may take together.
//
// A Buf is got with one reference. Passing it on gives it away; a second
// owner is made by Retain; each owner calls Release once. The bytes of a
// released Buf must not be touched.
package buf

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/valyala/bytebufferpool"
)

// Reads come in classes of fixed size, powers of two. The smallest is what a
// keystroke or an ack of a protocol needs; the largest is one read of a socket
// in full flow.
const (
	minBits = 9  // 512 B
	maxBits = 16 // 64 KiB

	// Max is the largest fixed size. What needs more is a Body.
	Max = 1 << maxBits
)

// A Buf is a pooled buffer. B is its content; its capacity is fixed.
type Buf struct {
	B     []byte
	refs  atomic.Int32
	class int8 // index into pools, -1: a body
	body  *bytebufferpool.ByteBuffer
}

// Two pools, because they behave differently: a fixed size needs no
// statistics, while requests and answers vary from 100 bytes to 50 MiB, which
// is what bytebufferpool's calibration is for. They are package variables as
// sync.Pool is: memory without meaning.
var (
	pools  [maxBits - minBits + 1]sync.Pool
	bodies bytebufferpool.Pool
	shells = sync.Pool{New: func() any { return &Buf{class: -1} }}
)

// Get returns an empty buffer of at least size bytes of capacity, size <= Max.
func Get(size int) *Buf {
	c := classOf(size)
	if b, _ := pools[c].Get().(*Buf); b != nil {
		b.refs.Store(1)
		return b
	}
	b := &Buf{B: make([]byte, 0, 1<<(c+minBits)), class: int8(c)}
	b.refs.Store(1)
	return b
}

func classOf(size int) int {
	if size <= 1<<minBits {
		return 0
	}
	if size > Max {
		panic(fmt.Sprintf("buf: %d bytes asked for, %d is the most", size, Max))
	}
	return bits.Len(uint(size-1)) - minBits
}

// Body returns an empty buffer that may grow by append, for a request or an
// answer: whatever was appended to B is put back into B before Release.
func Body() *Buf {
	b := shells.Get().(*Buf)
	b.body = bodies.Get()
	b.B = b.body.B[:0]
	b.refs.Store(1)
	return b
}

// Copy returns a buffer of the smallest fitting class that holds p. It is for
// small content in a large buffer, so that 200 bytes that wait never pin
// 64 KiB. len(p) <= Max.
func Copy(p []byte) *Buf {
	b := Get(len(p))
	b.B = append(b.B, p...)
	return b
}

// Retain makes one more owner.
func (b *Buf) Retain() *Buf {
	if b.refs.Add(1) <= 1 {
		panic("buf: Retain of a released buffer")
	}
	return b
}

// Release gives up one ownership; the last one puts the buffer back. One
// Release too many panics, for the buffer may have a new owner by then.
func (b *Buf) Release() {
	switch n := b.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("buf: Release of a released buffer")
	}
	if b.class >= 0 {
		b.B = b.B[:0]
		pools[b.class].Put(b)
		return
	}
	// The pool learns from the length what sizes are in use, so put before
	// resetting.
	b.body.B = b.B
	bodies.Put(b.body)
	b.body, b.B = nil, nil
	shells.Put(b)
}
