package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// idleTime ends a connection without queries: an open one costs exchanges, and a
	// new one no more than its first query does.
	idleTime = 10 * time.Second

	// tries are for when others' new connections end at once, too.
	tries = 3

	// writeTime is how long the tunnel may take no more bytes.
	writeTime = 5 * time.Second
)

var (
	errBusy   = errors.New("65,536 queries wait for the server")
	errSilent = errors.New("the server is silent")
	errClosed = errors.New("the resolver is closed")
	errAnswer = errors.New("the server's answer is about something else, or not whole")
)

// An upstream is the way to the server: at most one connection at a time, which is made
// when it is needed.
type upstream struct {
	dial func(ctx context.Context) (net.Conn, error)

	mu      sync.Mutex
	session *session // nil: there is none, or it is over
	closed  bool
	readers sync.WaitGroup
}

// exchange returns the server's answer to q. A query that has gone with a connection
// which was there before goes once more by a new one: the server may just have closed
// it for being idle (RFC 7766, section 6.2.4).
func (u *upstream) exchange(ctx context.Context, q *query) ([]byte, error) {
	for try := 1; ; try++ {
		s, fresh, err := u.get(ctx)
		if err != nil {
			return nil, err
		}
		a, err := s.ask(ctx, q)
		switch {
		case err == nil && !q.answers(a):
			return nil, errAnswer
		case err == nil || fresh || try == tries || ctx.Err() != nil || errors.Is(err, errBusy):
			return a, err
		}
	}
}

// get returns the session, and whether it was made for this.
func (u *upstream) get(ctx context.Context) (s *session, fresh bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil, false, errClosed
	}
	if u.session != nil && !u.session.isOver() {
		return u.session, false, nil
	}
	conn, err := u.dial(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("connecting to the server: %w", err)
	}
	s = &session{conn: conn, waiting: make(map[uint16]chan []byte), over: make(chan struct{})}
	u.session = s
	u.readers.Go(s.read)
	return s, true, nil
}

func (u *upstream) close() {
	u.mu.Lock()
	u.closed = true
	s := u.session
	u.mu.Unlock()
	if s != nil {
		s.end(errClosed)
	}
	u.readers.Wait()
}

// A session is one connection to the server, with the queries that wait for it.
type session struct {
	conn net.Conn
	over chan struct{} // closed when it is

	writing sync.Mutex

	mu      sync.Mutex
	waiting map[uint16]chan []byte
	next    uint16    // an id
	heard   time.Time // when an answer came last
	idle    *time.Timer
	err     error // not nil: it is over
}

func (s *session) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

// ask sends q and waits for its answer.
func (s *session) ask(ctx context.Context, q *query) ([]byte, error) {
	id, answer, err := s.enter()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	defer s.leave(id)
	if err := s.write(q.request(id)); err != nil {
		s.end(err)
		return nil, err
	}
	select {
	case a := <-answer:
		return a, nil
	case <-s.over:
		s.mu.Lock()
		defer s.mu.Unlock()
		return nil, s.err
	case <-ctx.Done():
		if s.silentSince(began) {
			s.end(errSilent)
		}
		return nil, ctx.Err()
	}
}

// enter finds an id that no other query has.
func (s *session) enter() (id uint16, answer chan []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return 0, nil, s.err
	case len(s.waiting) == 1<<16:
		return 0, nil, errBusy
	}
	for s.waiting[s.next] != nil {
		s.next++
	}
	id, answer = s.next, make(chan []byte, 1)
	s.waiting[id] = answer
	s.next++
	if s.idle != nil {
		s.idle.Stop()
	}
	return id, answer, nil
}

func (s *session) leave(id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, id)
	switch {
	case len(s.waiting) > 0 || s.err != nil:
	case s.idle == nil:
		s.idle = time.AfterFunc(idleTime, s.endIfIdle)
	default:
		s.idle.Reset(idleTime)
	}
}

func (s *session) endIfIdle() {
	s.mu.Lock()
	idle := len(s.waiting) == 0
	s.mu.Unlock()
	if idle {
		s.end(io.EOF) // a query that comes in between goes by the next one
	}
}

func (s *session) silentSince(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard.Before(t)
}

func (s *session) write(frame []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err := s.conn.Write(frame)
	return err
}

// read hands answers to those who wait for them, until the connection ends.
func (s *session) read() {
	for {
		msg, err := readMessage(s.conn)
		if err != nil {
			s.end(err)
			return
		}
		if len(msg) < headerLen {
			s.end(errAnswer)
			return
		}
		s.mu.Lock()
		s.heard = time.Now()
		id := binary.BigEndian.Uint16(msg)
		if answer := s.waiting[id]; answer != nil {
			select {
			case answer <- msg:
			default: // it has got one
			}
		}
		s.mu.Unlock()
	}
}

// end makes it over, because of err.
func (s *session) end(err error) {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = err
		close(s.over)
		if s.idle != nil {
			s.idle.Stop()
		}
	}
	s.mu.Unlock()
	if first {
		s.conn.Close()
	}
}

// readMessage reads a message behind its length.
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, msg)
	return msg, err
}
