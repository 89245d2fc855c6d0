package exit

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"relaymux/mux/wire"
)

// A zone answers what a resolver is asked, in memory. What it does to the nth question
// of a name is its first field's.
type zone struct {
	answer func(n int, q dnsmessage.Question, m *dnsmessage.Message) // changes the answer; m.Header.ID 0 is silence

	mu    sync.Mutex
	asked map[string]int // by name and type
}

// resolver asks z. It uses TCP's form of messages, for a pipe is no net.PacketConn.
func (z *zone) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go z.serve(far)
		return near, nil
	}}
}

func (z *zone) serve(c net.Conn) {
	defer c.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		text := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, text); err != nil {
			return
		}
		reply := z.reply(text)
		if reply == nil {
			_, _ = io.Copy(io.Discard, c) // until the resolver gives up
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

func (z *zone) reply(text []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(text) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	z.mu.Lock()
	if z.asked == nil {
		z.asked = make(map[string]int)
	}
	key := q.Name.String() + q.Type.String()
	n := z.asked[key]
	z.asked[key]++
	z.mu.Unlock()
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: true, RecursionAvailable: true}
	m.Additionals = nil
	z.answer(n, q, &m)
	if m.ID == 0 {
		return nil
	}
	reply, err := m.Pack()
	if err != nil {
		panic(err) // a mistake of the test
	}
	return reply
}

// add appends addresses of the type that was asked for, which live for no time at all.
func add(m *dnsmessage.Message, q dnsmessage.Question, addrs ...string) {
	for _, a := range addrs {
		addr := netip.MustParseAddr(a)
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, Type: q.Type}
		switch {
		case q.Type == dnsmessage.TypeA && addr.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: addr.As4()}})
		case q.Type == dnsmessage.TypeAAAA && addr.Is6():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
}

// alias appends a CNAME.
func alias(m *dnsmessage.Message, from, to string) {
	m.Answers = append(m.Answers, dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(from), Class: dnsmessage.ClassINET, Type: dnsmessage.TypeCNAME},
		Body:   &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(to)},
	})
}

// always is a zone in which every name has these addresses.
func always(addrs ...string) *zone {
	return &zone{answer: func(_ int, q dnsmessage.Question, m *dnsmessage.Message) { add(m, q, addrs...) }}
}

// dialerOf is the node's dialer, that asks z for names.
func dialerOf(t *testing.T, p Policy, z *zone) *policyDialer {
	t.Helper()
	d := &policyDialer{resolver: z.resolver()}
	if err := d.set(p); err != nil {
		t.Fatal(err)
	}
	// The resolver's own state must be made outside of a bubble: it is shared by all.
	_, _ = always().resolver().LookupHost(t.Context(), "warm.test")
	return d
}

// accepting is the port of a listener at all of hosts, which are of loopback, that
// notes to whom a connection was made.
func accepting(t *testing.T, hosts ...string) (port string, reached func() []string) {
	t.Helper()
	var mu sync.Mutex
	var to []string
	var work sync.WaitGroup
	t.Cleanup(work.Wait) // after the listeners are closed
	for _, host := range hosts {
		if port == "" {
			port = "0"
		}
		ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Skip("this machine has no such address, or the port is taken:", err)
		}
		_, port, _ = net.SplitHostPort(ln.Addr().String())
		work.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				mu.Lock()
				to = append(to, c.LocalAddr().(*net.TCPAddr).IP.String())
				mu.Unlock()
				c.Close()
			}
		})
		t.Cleanup(func() { ln.Close() })
	}
	return port, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(to)
	}
}

// TestHostile55_Rebinding: a name whose address changes after it was looked at, whose
// answer has many addresses, or that is another's name: what counts is the address that
// is dialled, each time and for each of them.
func TestHostile55_Rebinding(t *testing.T) {
	port, reached := accepting(t, "127.0.0.1")
	_, portUDP, _ := net.SplitHostPort(udpTarget(t, "udp4", "127.0.0.1:0").LocalAddr().String())
	inner := []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fd00:ec2::254", "10.0.0.1", "100.64.0.1", "0.0.0.0", "64:ff9b::7f00:1"}
	zones := map[string]*zone{
		"many addresses": always(inner...),
		"a name in the cloud": {answer: func(_ int, q dnsmessage.Question, m *dnsmessage.Message) {
			alias(m, q.Name.String(), "metadata.google.internal.")
			q.Name = dnsmessage.MustNewName("metadata.google.internal.")
			add(m, q, "169.254.169.254", "fd20:ce::254")
		}},
	}
	for _, addr := range inner {
		zones["only "+addr] = always(addr)
	}
	for name, z := range zones {
		for network, port := range map[string]string{"tcp": port, "udp": portUDP} {
			d := dialerOf(t, Policy{}, z)
			for _, host := range []string{"rebound.test", "rebound.test.", "127.0.0.1.rebound.test"} {
				conn, err := d.DialContext(t.Context(), network, net.JoinHostPort(host, port))
				if conn != nil {
					conn.Close()
				}
				if !isDenied(err) && !noRoute(err) {
					t.Errorf("%s, %s %s: %v", name, network, host, err)
				}
			}
		}
	}
	// The address that was right the first time is another the second time.
	z := &zone{answer: func(n int, q dnsmessage.Question, m *dnsmessage.Message) {
		add(m, q, []string{"127.0.0.1", "127.0.0.2"}[min(n, 1)])
	}}
	d := dialerOf(t, Policy{Allow: []string{"127.0.0.1"}}, z)
	for i, denied := range []bool{false, true} {
		conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort("rebound.test", port))
		if conn != nil {
			conn.Close()
		}
		if isDenied(err) != denied {
			t.Errorf("dial %d: %v", i+1, err)
		}
	}
	if n := len(reached()); n > 1 {
		t.Errorf("loopback was reached %d times", n)
	}
}

// TestHostile55_HundredAddresses: those that are closed are passed over, however many.
func TestHostile55_HundredAddresses(t *testing.T) {
	port, reached := accepting(t, "127.0.0.1")
	var addrs []string
	for i := range 99 {
		addrs = append(addrs, "10.0.0."+strconv.Itoa(i+1), "fd00::"+strconv.Itoa(i+1))
	}
	d := dialerOf(t, Policy{Allow: []string{"127.0.0.1"}}, always(append(addrs, "127.0.0.1")...))
	conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort("many.test", port))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	for len(reached()) == 0 {
		runtime.Gosched()
	}
	d = dialerOf(t, Policy{}, always(addrs...))
	if _, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort("many.test", port)); !isDenied(err) && !noRoute(err) {
		t.Errorf("none is open: %v", err)
	}
}

// TestHostile85_Resolver is what becomes of what resolvers do: a name without an
// address is one that does not exist, within the time of a dial, and what one server
// does not know another may.
func TestHostile85_Resolver(t *testing.T) {
	silence := func(_ int, _ dnsmessage.Question, m *dnsmessage.Message) { m.ID = 0 }
	code := func(c dnsmessage.RCode) func(int, dnsmessage.Question, *dnsmessage.Message) {
		return func(_ int, _ dnsmessage.Question, m *dnsmessage.Message) { m.RCode = c }
	}
	// Once it is asked again, it knows: as the next server, or at the next attempt.
	thenWell := func(first func(int, dnsmessage.Question, *dnsmessage.Message)) func(int, dnsmessage.Question, *dnsmessage.Message) {
		return func(n int, q dnsmessage.Question, m *dnsmessage.Message) {
			if n == 0 {
				first(n, q, m)
			} else {
				add(m, q, "127.0.0.1")
			}
		}
	}
	lame := func(_ int, _ dnsmessage.Question, m *dnsmessage.Message) { m.RecursionAvailable = false }
	for _, c := range []struct {
		name   string
		answer func(int, dnsmessage.Question, *dnsmessage.Message)
		want   wire.Reason // OK: it connects
		within time.Duration
	}{
		{"no such name", code(dnsmessage.RCodeNameError), wire.NameNotFound, 0},
		{"no address", func(int, dnsmessage.Question, *dnsmessage.Message) {}, wire.NameNotFound, 0},
		{"SERVFAIL", code(dnsmessage.RCodeServerFailure), wire.NameNotFound, 0},
		{"REFUSED", code(dnsmessage.RCodeRefused), wire.NameNotFound, 0},
		{"a lame server", lame, wire.NameNotFound, 0},
		{"silence", silence, wire.NameNotFound, dialLimit},
		{"SERVFAIL of the first", thenWell(code(dnsmessage.RCodeServerFailure)), wire.OK, 0},
		{"a lame first", thenWell(lame), wire.OK, 0},
		{"silence of the first", thenWell(silence), wire.OK, dialLimit / 2},
		{"another's answer", func(_ int, _ dnsmessage.Question, m *dnsmessage.Message) {
			m.Questions[0].Name = dnsmessage.MustNewName("other.test.")
		}, wire.NameNotFound, dialLimit},
		{"a loop of names", func(_ int, q dnsmessage.Question, m *dnsmessage.Message) {
			alias(m, q.Name.String(), "b.test.")
			alias(m, "b.test.", q.Name.String())
		}, wire.NameNotFound, 0},
		{"a name of itself", func(_ int, q dnsmessage.Question, m *dnsmessage.Message) { alias(m, q.Name.String(), q.Name.String()) }, wire.NameNotFound, 0},
		{"a long way to the address", func(_ int, q dnsmessage.Question, m *dnsmessage.Message) {
			for i := range 30 {
				alias(m, fmt.Sprintf("n%d.test.", i), fmt.Sprintf("n%d.test.", i+1))
			}
			add(m, q, "127.0.0.1")
		}, wire.OK, 0},
		{"60 KB of text", func(_ int, q dnsmessage.Question, m *dnsmessage.Message) {
			for range 240 {
				m.Answers = append(m.Answers, dnsmessage.Resource{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, Type: dnsmessage.TypeTXT},
					Body:   &dnsmessage.TXTResource{TXT: []string{strings.Repeat("x", 240)}},
				})
			}
		}, wire.NameNotFound, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			port, _ := accepting(t, "127.0.0.1")
			d := dialerOf(t, Policy{AllowPrivate: true}, &zone{answer: c.answer})
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), dialLimit)
				defer cancel()
				began := time.Now()
				conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort("a.test", port))
				if took := time.Since(began); took > c.within+time.Second {
					t.Errorf("took %v", took)
				}
				if conn != nil {
					conn.Close()
				}
				if got := wire.ReasonOfDial(err); err == nil != (c.want == wire.OK) || err != nil && got != c.want {
					t.Errorf("%v: %v, want %v", err, got, c.want)
				}
			})
		})
	}
}

// TestHostile85_ResolverOnTheWire: the client hears of a name that has no address, and
// how the resolver failed stays at the node.
func TestHostile85_ResolverOnTheWire(t *testing.T) {
	d := dialerOf(t, Policy{}, &zone{answer: func(_ int, _ dnsmessage.Question, m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeServerFailure }})
	bubble(t, Config{Dialer: d}, func(t *testing.T, r *rig) {
		for _, o := range []wire.Op{connectOp("a.test"), connectData("a.test", "x")} {
			if got, want := string(r.batch(o)[0].Err), connectFailed+wire.NameNotFound.String(); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	})
}

// TestHostile84_OneFamily: a name with addresses of both families is reached by the one
// that there is, wherever in the answer it stands.
func TestHostile84_OneFamily(t *testing.T) {
	for _, here := range []string{"127.0.0.1", "::1"} {
		t.Run(here, func(t *testing.T) {
			port, _ := accepting(t, here)
			for _, addrs := range [][]string{{"127.0.0.1", "::1"}, {"::1", "127.0.0.1"}, {here}} {
				d := dialerOf(t, Policy{AllowPrivate: true}, always(addrs...))
				conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort("both.test", port))
				if err != nil {
					t.Fatalf("%v: %v", addrs, err)
				}
				conn.Close()
			}
		})
	}
}
