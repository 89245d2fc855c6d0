package socks

import "sync/atomic"

// blocks is what is dropped of UDP, which may change while associations go on.
type blocks struct{ quic, stun atomic.Bool }

// SetUsers replaces the users. Who has logged in already stays. Whoever is connected
// without a login must log in for what is asked for from now on. When there are no users
// any more, whoever had to log in has to connect anew: see Retire.
func (s *Server) SetUsers(users []User) {
	s.guard.setUsers(users)
	if len(users) == 0 {
		s.gate.retire(func(c *client) bool { return c.login })
	}
}

// ForgetOrigins has http:// requests from now on be answered by connections that are
// dialed from now on, because Dial decides otherwise than before.
func (s *Server) ForgetOrigins() { s.front.origins.forget() }

// SetMaxConns replaces Config.MaxConns. Who is in already stays.
func (s *Server) SetMaxConns(n int) { s.gate.setMax(n) }

// SetBlocks replaces UDP.BlockQUIC and UDP.BlockSTUN, for associations that are open too.
func (s *Server) SetBlocks(quic, stun bool) {
	s.blocks.quic.Store(quic)
	s.blocks.stun.Store(stun)
}
