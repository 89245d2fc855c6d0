package exit

import "relaymux/mux/wire"

// How a session ends. All of these are called with s.mu held.

// tellFailure reports that the dial failed. A client that has not heard of the
// session yet never will.
func (s *session) tellFailure(t *task, r *wire.Result) {
	r.Err = []byte(s.failure)
	if t.connect {
		s.node.table.drop(s.id)
		return
	}
	r.SID, r.EOF, r.Rst, r.HasOff = s.sid, true, true, true
	s.forget()
}

// settle ends a session whose end has been told, when nothing is left to write.
func (s *session) settle() {
	if s.down.told && (s.up.done || s.down.rst) {
		s.forget()
		s.shut()
	}
}

// forget takes the session out of the table, where its end is remembered.
func (s *session) forget() {
	s.node.table.remove(s.id, ending{
		off: s.down.off, rst: s.reset || s.down.rst || s.failure != "", failure: s.failure,
	})
}

// abortLocked is abort.
func (s *session) abortLocked() {
	if !s.over {
		s.reset = true
	}
	s.forget()
	s.hardClose()
}

// hardClose closes the socket by RST and not by FIN.
func (s *session) hardClose() {
	if c, ok := s.conn.(interface{ SetLinger(sec int) error }); ok {
		_ = c.SetLinger(0) // best effort: without it the target sees a FIN
	}
	s.shut()
}

// shut closes the socket, frees the queues and makes room in the table. It is
// the last thing that happens to a session, and the second time does nothing.
func (s *session) shut() {
	if s.over {
		return
	}
	s.over = true
	s.stop()
	if s.conn != nil {
		_ = s.conn.Close() // nobody is left to be told
	}
	s.down.drop()
	s.up.drop()
	s.node.table.freed(s)
	s.wake()
}

// wake has everybody look again who waits for the session.
func (s *session) wake() {
	for _, x := range s.waiters {
		x.signal()
	}
	s.room.Signal()
}
