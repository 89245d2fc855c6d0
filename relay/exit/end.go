package exit

import "net"

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
	linger(s.conn, byFIN)
	s.hardClose()
}

// How the close of a socket ends its connection.
const (
	byRST = 0
	byFIN = -1 // when all has been sent, in the background
)

// linger sets how the close of conn, which may be nil, ends it. It is by RST from the
// dial on, for the system closes what a process leaves behind that is killed: a target
// must not take what had come until then for all.
func linger(conn net.Conn, how int) {
	if c, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = c.SetLinger(how) // best effort: without it each close is a FIN
	}
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
