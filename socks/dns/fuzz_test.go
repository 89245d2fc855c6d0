package dns

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// FuzzStream: whatever a program writes on a connection, in whatever pieces, and whatever
// the server says to that, the connection ends, and each answer is one to a query that
// was asked, with the question that it had.
func FuzzStream(f *testing.F) {
	framed := func(list ...[]byte) (all []byte) {
		for _, m := range list {
			all = append(binary.BigEndian.AppendUint16(all, uint16(len(m))), m...)
		}
		return all
	}
	one, two := ask(1, "a.example", typeA), ask(2, "b.Example", dnsmessage.TypeAAAA, edns(512))
	good := answerTo(one, dnsmessage.RCodeSuccess, addressOf(one, 60))
	f.Add(framed(one, two), byte(255), slices.Concat(good[2:12], good[len(one):]), true)
	f.Add(framed(one, ask(7, "A.eXample", typeA)), byte(200), slices.Concat(good[2:12], good[len(one):]), true)
	f.Add(framed(one, one), byte(0), []byte("\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00"), true)
	f.Add(framed(ask(3, longName, dnsmessage.TypeAXFR)), byte(3), framed(good), false)
	f.Add([]byte("\x00\x00\x00\x05hello\xff\xff"), byte(1), []byte("\xff\xff"), false)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), byte(9), []byte{}, false)
	f.Fuzz(func(t *testing.T, stream []byte, step byte, said []byte, fits bool) {
		if len(stream) > 4<<10 {
			return
		}
		asked := make(map[uint16][][]byte)
		for r := bytes.NewReader(stream); ; {
			m, err := readMessage(r)
			if err != nil {
				break
			}
			if len(m) >= headerLen {
				id := binary.BigEndian.Uint16(m)
				asked[id] = append(asked[id], m)
			}
		}
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(conn net.Conn, msg []byte) {
				q, _, ok := parseQuery(msg)
				if !ok || q.raw == nil {
					t.Errorf("the server is asked %x", msg)
					return
				}
				if !fits || len(said) < headerLen-2 {
					_, _ = conn.Write(said)
					return
				}
				send(conn, slices.Concat(msg[:2], said[:headerLen-2], q.raw, said[headerLen-2:]))
			})
			here, there := net.Pipe()
			c := &client{Conn: there, source: netip.MustParseAddr("127.0.0.1")}
			if !r.clients.enter(c) || !r.start(func() { r.serveConn(c) }) {
				t.Fatal("the first is refused")
			}
			go func() {
				for piece := range slices.Chunk(stream, int(step)+1) {
					if _, err := here.Write(piece); err != nil {
						return
					}
				}
			}()
			began := time.Now()
			for {
				a, err := readMessage(here)
				if err != nil {
					break
				}
				checkReply(t, asked, a)
			}
			if took := time.Since(began); took > 2*time.Minute {
				t.Errorf("it ends after %v", took)
			}
			here.Close()
			r.Close()
		})
	})
}

// checkReply takes the query that a answers off those that were asked.
func checkReply(t *testing.T, asked map[uint16][][]byte, a []byte) {
	if len(a) < headerLen || a[2]&0x80 == 0 {
		t.Errorf("no answer: %x", a)
		return
	}
	id := binary.BigEndian.Uint16(a)
	i := slices.IndexFunc(asked[id], func(m []byte) bool {
		q, _, ok := parseQuery(m)
		return ok && (q.raw == nil) == (binary.BigEndian.Uint16(a[4:]) == 0) &&
			(q.raw == nil || len(a) >= headerLen+len(q.raw) && bytes.Equal(a[headerLen:headerLen+len(q.raw)], q.raw))
	})
	if i < 0 {
		t.Errorf("%x answers none of %x", a, asked[id])
		return
	}
	asked[id] = slices.Delete(asked[id], i, i+1)
}
