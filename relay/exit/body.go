package exit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"relaymux/mux/buf"
)

const (
	maxBody  = 16 << 20 // as it comes; a script cannot send more than 50 MiB, and ours sends 4
	maxPlain = 32 << 20 // once decompressed

	// bodiesEnough is what bodies should have together of a small memory too: one of
	// the 4 MiB that a client sends, charged with half as much again.
	bodiesEnough = 6 << 20

	bodyLimit = 60 * time.Second // for a whole request body: 280 KB/s for the largest
)

var (
	errTooLarge = errors.New("request too large")
	errMemory   = errors.New("no memory for the request")
)

// A request is the text of one, in a pooled buffer that is charged to the
// node's budget. Whoever has it calls release.
type request struct {
	n        *Node
	b        *buf.Buf
	charged  int
	stranger bool // what fill has charged is also of what strangers may have together,
	lent     int  // which is so much
}

func (n *Node) newRequest() *request { return &request{n: n, b: buf.Body()} }

func (q *request) release() {
	q.b.Release()
	q.n.bodies.Return(q.charged)
	q.n.strange.Return(q.lent)
}

// charge accounts for n more bytes, which are there already.
func (q *request) charge(n int) {
	q.charged += n
	q.n.bodies.Force(n)
}

// receive reads the body of r, decompressed if it was gzip, whatever its path is: how
// long that takes, and that memory may be short for it, tells a probe nothing.
func (n *Node) receive(w http.ResponseWriter, r *http.Request) (*request, error) {
	q := n.newRequest()
	q.stranger = isStrangers(r)
	if err := q.fill(r.Body, maxBody); err != nil {
		q.release()
		return nil, err
	}
	// What net/http reads from now on is only to notice that the client went.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if bytes.HasPrefix(q.b.B, gzipMagic) {
		return q.gunzip()
	}
	return q, nil
}

// gunzip returns the decompressed request in place of q, which it releases.
func (q *request) gunzip() (*request, error) {
	defer q.release()
	plain := q.n.newRequest()
	plain.stranger = q.stranger
	if err := q.n.codec.gunzip(plain, q.b.B); err != nil {
		plain.release()
		return nil, err
	}
	return plain, nil
}

// fill appends what r has, at most limit bytes.
func (q *request) fill(r io.Reader, limit int) error {
	for {
		if err := q.grow(); err != nil {
			return err
		}
		room := q.b.B[len(q.b.B):min(cap(q.b.B), limit+1, q.charged)]
		k, err := r.Read(room)
		q.b.B = q.b.B[:len(q.b.B)+k]
		switch {
		case len(q.b.B) > limit:
			return errTooLarge
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading the request: %w", err)
		}
	}
}

// A body is charged and read in steps of growLeast at first, as who sends nothing is
// to cost little, and of growStep once as much has come. The pool's buffers have any
// capacity, so what counts is how much of one is used.
const (
	growLeast = 4 << 10
	growStep  = 64 << 10
)

// grow makes room for the next read and charges it.
func (q *request) grow() error {
	step := min(max(growLeast, len(q.b.B)), growStep)
	if want := len(q.b.B) + step; want > q.charged {
		if !q.try(max(step, q.charged/2)) {
			return errMemory
		}
	}
	if cap(q.b.B)-len(q.b.B) < bytes.MinRead {
		q.b.B = slices.Grow(q.b.B, max(step, len(q.b.B)))
	}
	return nil
}

// try charges n bytes, if the node has them for who has sent the request.
func (q *request) try(n int) bool {
	if q.stranger && !q.n.strange.Try(n) {
		return false
	}
	if q.stranger {
		q.lent += n
	}
	if !q.n.bodies.Try(n) {
		return false
	}
	q.charged += n
	return true
}
