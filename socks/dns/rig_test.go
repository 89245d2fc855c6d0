package dns

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a Server whose DNS server is the test.
type rig struct {
	*Server
	far *farSide
}

// reply is that to a program of this machine.
func (r *rig) reply(msg []byte, limit int) []byte {
	return r.Server.reply(netip.MustParseAddr("127.0.0.1"), msg, limit)
}

// farSide is the server at the other end of the tunnel. Each connection is served by
// answer, which gets the messages that came and writes what it wants to.
type farSide struct {
	answer func(conn net.Conn, msg []byte)

	mu    sync.Mutex
	dials int
	asked []string // the names, in their order
	refu  error    // of the next dials
}

func newRig(t *testing.T, answer func(net.Conn, []byte)) *rig {
	t.Helper()
	r := &rig{far: &farSide{answer: answer}}
	r.Server = New(Config{Dial: r.far.dial, Host: "192.0.2.53", Port: 53})
	t.Cleanup(r.Close)
	return r
}

func (f *farSide) dial(context.Context, string, uint16) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials++
	if f.refu != nil {
		return nil, f.refu
	}
	here, there := net.Pipe()
	go f.serve(there)
	return here, nil
}

func (f *farSide) serve(conn net.Conn) {
	defer conn.Close()
	for {
		msg, err := readMessage(conn)
		if err != nil {
			return
		}
		f.mu.Lock()
		if q, _, ok := parseQuery(msg); ok && q.raw != nil {
			f.asked = append(f.asked, q.name())
		}
		f.mu.Unlock()
		f.answer(conn, msg)
	}
}

func (f *farSide) count() (dials, asked int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials, len(f.asked)
}

// send writes a message behind its length, in one piece.
func send(conn net.Conn, msg []byte) {
	conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
}

// echoing answers every query with one address of that time to live.
func echoing(ttl uint32) func(net.Conn, []byte) {
	return func(conn net.Conn, msg []byte) {
		send(conn, answerTo(msg, dnsmessage.RCodeSuccess, addressOf(msg, ttl)))
	}
}

func addressOf(msg []byte, ttl uint32) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: questionOf(msg).Name, Class: dnsmessage.ClassINET, TTL: ttl},
		Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}},
	}
}

func questionOf(msg []byte) dnsmessage.Question {
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil {
		panic(err)
	}
	return m.Questions[0]
}

// answerTo is an answer with these records: an SOA goes into the authority section.
func answerTo(msg []byte, code dnsmessage.RCode, records ...dnsmessage.Resource) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil {
		panic(err)
	}
	m.Response, m.RecursionAvailable, m.RCode = true, true, code
	for _, r := range records {
		if _, soa := r.Body.(*dnsmessage.SOAResource); soa {
			m.Authorities = append(m.Authorities, r)
		} else {
			m.Answers = append(m.Answers, r)
		}
	}
	packed, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

// ask is a query as a program sends it.
func ask(id uint16, name string, kind dnsmessage.Type, change ...func(*dnsmessage.Message)) []byte {
	m := dnsmessage.Message{
		Header: dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName(name + "."), Type: kind, Class: dnsmessage.ClassINET}},
	}
	for _, c := range change {
		c(&m)
	}
	packed, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

// edns adds OPT to a query.
func edns(size uint16) func(*dnsmessage.Message) {
	return func(m *dnsmessage.Message) {
		m.Additionals = append(m.Additionals, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("."), Class: dnsmessage.Class(size)},
			Body:   &dnsmessage.OPTResource{Options: []dnsmessage.Option{{Code: 8, Data: []byte("who I am")}}},
		})
	}
}

// parsed is what a program makes of an answer.
func parsed(t *testing.T, msg []byte) dnsmessage.Message {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil {
		t.Fatalf("%x: %v", msg, err)
	}
	return m
}

// want checks an answer: its id, its code, and the addresses' time to live.
func want(t *testing.T, msg []byte, id uint16, code dnsmessage.RCode, ttls ...uint32) {
	t.Helper()
	m := parsed(t, msg)
	var got []uint32
	for _, r := range m.Answers {
		got = append(got, r.Header.TTL)
	}
	if m.ID != id || !m.Response || m.RCode != code || len(got) != len(ttls) || len(got) > 0 && got[0] != ttls[0] {
		t.Fatalf("id %d, response %v, %v, times to live %v; want id %d, %v, %v", m.ID, m.Response, m.RCode, got, id, code, ttls)
	}
}

var longName = strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 61)
