package exit

import "relaymux/mux/buf"

// How a TCP session ends. All of these are called with s.mu held.

// settle ends a session whose end has been told, when nothing is left to write.
func (s *tcpSession) settle() {
	if s.down.told && (s.up.done || s.down.rst) {
		s.forget()
		s.shut()
	}
}

// forget takes the session out of the table, where its end is remembered.
func (s *tcpSession) forget() {
	s.remember(s.reset || s.down.rst || s.failure != "")
}

// abortLocked is abort.
func (s *tcpSession) abortLocked() {
	if !s.over {
		s.reset = true
	}
	s.forget()
	s.hardClose()
}

// shut is hardClose by FIN, for what has ended well.
func (s *tcpSession) shut() {
	buf.Linger(s.conn, buf.ByFIN)
	s.hardClose()
}

// hardClose closes the socket by RST, frees the queues and makes room in the table. It
// is the last thing that happens to a session, and the second time does nothing.
func (s *tcpSession) hardClose() {
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
func (s *tcpSession) wake() {
	s.core.wake()
	s.room.Signal()
}
