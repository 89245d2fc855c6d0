package relaytest

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// udpgw is the client's side of the protocol that tun2proxy speaks in a TCP
// connection to an address that no one has:
//
//	LEN u16 | FLAGS u8 | CONN_ID u16 [| ATYP | ADDR | PORT | DATA]
type udpgw struct{ net.Conn }

const (
	udpgwKeepalive = 0x01
	udpgwData      = 0x02
	udpgwError     = 0x20
)

// send writes a frame, to addr if that is not empty.
func (g udpgw) send(t *testing.T, flags byte, id uint16, addr string, data []byte) {
	t.Helper()
	b := binary.BigEndian.AppendUint16([]byte{0, 0, flags}, id)
	if addr != "" {
		var err error
		b, err = appendSOCKSAddress(b, addr)
		check(t, err)
	}
	b = append(b, data...)
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	_, err := g.Write(b)
	check(t, err)
}

// receive reads a frame.
func (g udpgw) receive(t *testing.T) (flags byte, id uint16, addr string, data []byte) {
	t.Helper()
	within(t, g, soon)
	var size [2]byte
	if _, err := io.ReadFull(g, size[:]); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(g, p); err != nil {
		t.Fatal(err)
	}
	flags, id, data = p[0], binary.BigEndian.Uint16(p[1:]), p[3:]
	if flags&udpgwData != 0 {
		var err error
		addr, data, err = cutSOCKSAddress(data)
		check(t, err)
	}
	return flags, id, addr, data
}

// wantEcho sends data, and checks that it comes back as it went.
func (g udpgw) wantEcho(t *testing.T, id uint16, addr string, data []byte) {
	t.Helper()
	g.send(t, udpgwData, id, addr, data)
	flags, gotID, from, got := g.receive(t)
	if flags != udpgwData || gotID != id || from != addr || !bytes.Equal(got, data) {
		t.Errorf("of %d bytes to %s came flags %#x, id %d, %d bytes of %s", len(data), addr, flags, gotID, len(got), from)
	}
}

// TestUDPGW: queries of names through CONNECT to either of its addresses, many in
// one connection, and what it refuses.
func TestUDPGW(t *testing.T) {
	t.Parallel()
	for _, gateway := range []string{"192.0.2.1:7300", "198.18.0.1:7300"} {
		for _, w := range allWays {
			t.Run(gateway+" "+w.name, func(t *testing.T) {
				run := func(t *testing.T, s *Stack) {
					dial := s.Connect
					if w.http {
						dial = s.ConnectHTTP
					}
					useUDPGW(t, s, udpgw{open(t, dial, gateway)})
				}
				if w.virtual {
					virtual(t, w.config, run)
					return
				}
				t.Parallel()
				run(t, NewStack(t, w.config))
			})
		}
	}
}

func useUDPGW(t *testing.T, s *Stack, g udpgw) {
	addr := s.servePackets(t, EchoPacket)
	g.send(t, udpgwKeepalive, 0, "", nil)
	if flags, _, _, data := g.receive(t); flags != udpgwKeepalive || len(data) > 0 {
		t.Errorf("a keepalive came back with flags %#x and %d bytes", flags, len(data))
	}
	for id, size := range []int{8, 40, 1200, 9001, maxDatagram4} {
		g.wantEcho(t, uint16(id), addr, nth(id, size))
	}
	seen := newSeen()
	for id := range 50 {
		g.send(t, udpgwData, uint16(id), addr, nth(id, 100))
	}
	for range 50 {
		_, id, _, data := g.receive(t)
		if numberOf(data) != int(id) {
			t.Errorf("connection %d got %d", id, numberOf(data))
		}
		seen.note(int(id))
	}
	if len(seen.times) != 50 {
		t.Errorf("%d of 50 came back", len(seen.times))
	}
	g.send(t, udpgwData, 7, net.JoinHostPort("192.0.2.77", "443"), []byte("QUIC"))
	if flags, id, _, _ := g.receive(t); flags&udpgwError == 0 || id != 7 {
		t.Errorf("QUIC got flags %#x of %d, want an error", flags, id)
	}
	g.send(t, 0x80, 8, "", nil)
	if flags, _, _, _ := g.receive(t); flags&udpgwError == 0 {
		t.Errorf("unknown flags got %#x, want an error", flags)
	}
	g.wantEcho(t, 9, addr, []byte("still there"))
}

// TestUDPGWEnds: with its connection everything at the node ends.
func TestUDPGWEnds(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
		s.servePacketsAt(t, at(target6, 53), answerAfter(30*time.Millisecond))
		s.servePacketsAt(t, targetName+":53", EchoPacket)
		g := udpgw{open(t, s.Connect, "192.0.2.1:7300")}
		g.wantEcho(t, 1, at(target6, 53), []byte("over IPv6"))
		g.wantEcho(t, 1, targetName+":53", []byte("by name"))
		g.Close()
		s.wantQuiet(t)
		s.wantNoUDP(t)
		cut := udpgw{open(t, s.Connect, "192.0.2.1:7300")}
		_, err := cut.Write([]byte{0, 1, 0}) // a length that cannot be
		check(t, err)
		if a := arrive(cut); a.err == nil || a.Bytes > 0 {
			t.Errorf("after a wrong length: %d bytes, %v", a.Bytes, a.err)
		}
		g = udpgw{open(t, s.Connect, "192.0.2.1:7301")}
		within(t, g, soon)
		if a := arrive(g); a.err == nil {
			t.Error("another port is served")
		}
		cut.Close()
		g.Close()
		s.wantQuiet(t)
	})
}
