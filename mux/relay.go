package mux

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"relaymux/mux/buf"
)

// firstWait is how long an application may take to say its first bytes, which
// then travel with the request to connect. A server-speaks-first protocol
// pays it once; mhrv-rs waits 50 ms.
const firstWait = 50 * time.Millisecond

// serverFirst lists the ports whose servers speak first: FTP, SSH, Telnet,
// SMTP, POP3, IMAP, submission. Nobody waits there for the client.
func serverFirst(port uint16) bool {
	switch port {
	case 21, 22, 23, 25, 110, 143, 587:
		return true
	}
	return false
}

// Relay joins s to an application's socket until both directions have ended,
// and closes the socket. early is what the application had sent already; it
// is copied. What was read is given away, not copied; an idle stream owns no
// buffer.
func (s *Stream) Relay(conn net.Conn, early []byte) {
	s.join(conn)
	if _, err := s.Write(early); err == nil {
		s.readLoop(conn, len(early) > 0)
	}
	s.mu.Lock()
	for s.err == nil {
		s.cond.Wait()
	}
	s.mu.Unlock()
}

func (s *Stream) join(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	buf.Linger(conn, buf.ByRST)
	if s.err != nil { // ended before it was joined
		conn.Close()
		return
	}
	s.serve()
}

// readLoop moves what the application sends to the outbox.
func (s *Stream) readLoop(conn net.Conn, spoken bool) {
	r := buf.NewReader(conn, buf.Get, (*buf.Buf).Release)
	if !spoken && !s.readFirst(conn, r) {
		return
	}
	for s.readSome(r) {
	}
}

// readFirst waits a little for first bytes, and lets the session open without
// them if there are none.
func (s *Stream) readFirst(conn net.Conn, r *buf.Reader) bool {
	if serverFirst(s.fl.port) {
		s.start()
		return true
	}
	conn.SetReadDeadline(time.Now().Add(firstWait))
	more := s.readSome(r)
	conn.SetReadDeadline(time.Time{})
	return more
}

// readSome does one read and reports whether another may follow.
func (s *Stream) readSome(r *buf.Reader) bool {
	b, err := r.Read()
	if b != nil && s.push(b.Fit()) != nil {
		return false
	}
	switch {
	case err == nil:
		return true
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.start()
		return true
	case err == io.EOF:
		s.CloseWrite()
	default:
		s.end(errAborted, true)
	}
	return false
}

// writeMost bounds one write to an application, so that a slow one frees its
// memory, and asks for more, as it goes.
const writeMost = 1 << 20

// writeLoop moves the inbox to the application until there is nothing left. It
// runs only while there is something: an idle stream has no such goroutine.
func (s *Stream) writeLoop() {
	var pieces []piece
	var vec net.Buffers
	for {
		s.mu.Lock()
		pieces = s.in.take(pieces[:0], writeMost)
		if s.err != nil || len(pieces) == 0 {
			s.endWriting()
			return
		}
		s.mu.Unlock()
		n, spare, err := writePieces(s.conn, pieces, &vec)
		if s.wrote(n, spare, err) {
			s.wake()
		}
	}
}

// endWriting ends the write loop; mu is held and given up. The target's FIN is
// passed on here, for only here all before it is written.
func (s *Stream) endWriting() {
	s.writing = false
	told := s.err == nil && s.in.eof() && !s.eofRead
	switch {
	case told && s.in.rst:
		s.finish(ErrReset) // only now: all before it is written
	case told:
		s.eofRead = true
		if c, ok := s.conn.(interface{ CloseWrite() error }); ok {
			c.CloseWrite()
		}
		s.endIfDone()
	}
	s.mu.Unlock()
	if told {
		s.wake()
	}
}

// writePieces writes all pieces with one writev where the system has it, and
// releases them. It returns how many bytes they were, written or not, and what
// was charged beyond these.
func writePieces(conn net.Conn, pieces []piece, vec *net.Buffers) (n, spare int, err error) {
	all := (*vec)[:0]
	for _, p := range pieces {
		all = append(all, p.p)
		n += len(p.p)
		spare += p.spare
	}
	*vec = all
	_, err = vec.WriteTo(conn)
	*vec = all[:0]
	clear(all)
	for _, p := range pieces {
		p.b.Release()
	}
	return n, spare, err
}

// wrote accounts for n bytes that left the inbox, and reports whether the loop
// has to know.
func (s *Stream) wrote(n, spare int, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	hungry := s.taken(n, spare)
	if err != nil && s.err == nil {
		s.finish(errAborted)
		return true
	}
	return hungry
}
