package socks

import (
	"io"
	"testing"
	"testing/synctest"

	"relaymux/mux/stats"
)

// TestSettingsChange: users and the number of connections that there may be change while
// connections are open, which stay.
func TestSettingsChange(t *testing.T) {
	inBubble(t, Config{MaxConns: 2}, func(t *testing.T, s *Server, ln *memListener) {
		a := ln.connect("192.0.2.7:1")
		mustWrite(t, a, "\x05\x01\x00")
		mustRead(t, a, "\x05\x00")
		s.SetMaxConns(1)
		b := ln.connect("192.0.2.7:2")
		if _, err := b.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("one more than there may be now: %v", err)
		}
		s.SetMaxConns(3)
		s.SetUsers([]User{{"ann", "secret"}})
		c := ln.connect("192.0.2.7:3")
		mustWrite(t, c, "\x05\x02\x00\x02")
		mustRead(t, c, "\x05\x02") // a password is asked for
		s.SetUsers(nil)
		d := ln.connect("192.0.2.7:4")
		mustWrite(t, d, "\x05\x01\x00")
		mustRead(t, d, "\x05\x00")
		synctest.Wait()
		if n := s.Stats().Open; n != 3 {
			t.Errorf("%d are open", n)
		}
		a.Close()
		c.Close()
		d.Close()
	})
}

// TestBlocksChange: what is dropped changes for an association that is open.
func TestBlocksChange(t *testing.T) {
	n := newFarSide()
	p, st := startUDP(t, n, nil)
	a := p.associated(t)
	quic := toHost("a.test", quicPort) + "hello"
	mustWrite(t, a.socket, quic)
	n.next(t, "a.test")
	p.SetBlocks(true, false)
	mustWrite(t, a.socket, quic)
	mustWrite(t, a.socket, toIPv4)
	n.next(t, "203.0.113.5") // and what came before it has been looked at
	dropped(t, st, stats.DropQUIC, 1)
}
