package fronted

import (
	"errors"
	"io"
	"sync"
)

// loan lends the caller's request body to net/http and takes it back.
//
// An http.Transport may go on reading a body after RoundTrip has returned:
// when the server answers early, and when the request is given up. So net/http
// never sees the slice: it reads copies under the loan's lock, and after end
// only an error.
type loan struct {
	mu    sync.Mutex
	data  []byte // borrowed until end
	ended bool

	progress func() // called after each read; must not block
}

var errLoanEnded = errors.New("the exchange is over, its request body was taken back")

// reader is a new body that reads the loan from its start.
func (l *loan) reader() (io.ReadCloser, error) { return &loanReader{loan: l}, nil }

// end takes the slice back: nothing reads it any more when end has returned.
// It waits for a copy at most, never for the network.
func (l *loan) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.data, l.ended = nil, true
}

// readAt copies what follows offset.
func (l *loan) readAt(p []byte, offset int) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ended:
		return 0, errLoanEnded
	case offset >= len(l.data):
		return 0, io.EOF
	}
	return copy(p, l.data[offset:]), nil
}

// loanReader is one reading of a loan; net/http asks for another when it
// repeats a request of which nothing was sent.
type loanReader struct {
	loan   *loan
	offset int
}

func (r *loanReader) Read(p []byte) (int, error) {
	n, err := r.loan.readAt(p, r.offset)
	r.offset += n
	if n > 0 {
		r.loan.progress()
	}
	return n, err
}

func (r *loanReader) Close() error { return nil }
