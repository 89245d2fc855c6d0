package socks

import (
	"context"
	"net/netip"

	"relaymux/mux"
)

// Carry returns a Config.Handle that joins each Request to a stream of m.
//
// Optimistic, the application hears of success at once, and its first bytes
// travel with the request to connect; a failure comes as RST. Confirmed, it
// hears what the node found out, an exchange later.
func Carry(m *mux.Mux, confirmed bool) func(ctx context.Context, r *Request) {
	return func(ctx context.Context, r *Request) {
		s := m.Open(r.Host, r.Port)
		if confirmed {
			if err := s.Wait(r.Watch(ctx)); err != nil {
				r.Fail(err)
				return
			}
		}
		conn, early, err := r.Proceed()
		if err != nil {
			s.Abort()
			return
		}
		s.Relay(conn, early)
	}
}

// OpenUDP returns a UDP.Open that makes flows of m.
func OpenUDP(m *mux.Mux) func(string, uint16, func(netip.Addr, [][]byte), func(error)) Flow {
	return func(host string, port uint16, deliver func(from netip.Addr, pkts [][]byte), ended func(error)) Flow {
		return m.OpenUDP(host, port, deliver, ended)
	}
}
