package socks

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"relaymux/mux/gso"
	"relaymux/mux/stats"
)

// startUDP serves associations whose flows are n's.
func startUDP(t *testing.T, n *farSide, change func(*UDP)) (*proxy, *stats.UDP) {
	t.Helper()
	st := new(stats.UDP)
	u := &UDP{Open: n.open, Options: gso.Options{GSO: true, GRO: true, Stats: st}}
	if change != nil {
		change(u)
	}
	return start(t, Config{UDP: u}), st
}

// There and back: where a datagram goes to, and from where its answers come.
func TestDestinations(t *testing.T) {
	n := newFarSide()
	p, st := startUDP(t, n, nil)
	a := p.associated(t)
	mustWrite(t, a.control, "means nothing")
	type replies map[string]string // by the address that the node tells
	for _, test := range []struct {
		in, host string
		replies  replies
	}{
		{toIPv4, "203.0.113.5", replies{"": toIPv4, "203.0.113.5": toIPv4}},
		{toIPv6, "2001:db8::1", replies{"": toIPv6, "2001:db8::1": toIPv6}},
		{toName, "a.test", replies{
			"":                   toName, // as the application wrote it
			"2001:db8::1":        toIPv6,
			"203.0.113.5":        toIPv4[:8] + "\x1f\x90",
			"::ffff:203.0.113.5": toIPv4[:8] + "\x1f\x90",
		}},
		{toHost("203.0.113.6", 53), "203.0.113.6", replies{"": toIPv4[:7] + "\x06\x00\x35"}},
		{toHost("0xcb.0x7107", 53), "203.0.113.7", replies{"": "\x00\x00\x00\x01\xcb\x00\x71\x07\x00\x35"}},
		{toHost("2001:db8::1", 443), "2001:db8::1", replies{"": toIPv6[:20] + "\x01\xbb"}},
		{"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x01\x02\x03\x04\x01\xbb", "1.2.3.4",
			replies{"": "\x00\x00\x00\x01\x01\x02\x03\x04\x01\xbb"}},
	} {
		mustWrite(t, a.socket, test.in+"hello")
		f := n.next(t, test.host)
		f.want(t, "hello")
		for from, head := range test.replies {
			f.back(from, "hi", "", "there")
			for _, p := range []string{"hi", "", "there"} {
				a.want(t, head+p)
			}
		}
	}
	dropped(t, st, stats.Drops, 0)
}

// However a destination is written, it is one flow.
func TestOneFlowPerDestination(t *testing.T) {
	n := newFarSide()
	p, _ := startUDP(t, n, nil)
	a := p.associated(t)
	for _, spellings := range [][]string{
		{toHost("a.Test.", 9), toHost("a.test", 9), toHost("A.TEST", 9), toHost("a.Test.", 9)},
		{toIPv4, toHost("203.0.113.5", 53), "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xcb\x00\x71\x05\x00\x35"},
	} {
		var f *fakeFlow
		for i, in := range spellings {
			mustWrite(t, a.socket, in+"x")
			if i == 0 {
				f = soon(t, n.opened)
			}
			f.want(t, "x")
		}
		f.back("", "y")
		a.want(t, spellings[0]+"y")
	}
	mustWrite(t, a.socket, toHost("a.test", 10)+"x")
	n.next(t, "a.test").want(t, "x")
}

// What the request says about where the application sends from is not refused,
// whatever it is.
func TestAssociateHint(t *testing.T) {
	n := newFarSide()
	p, _ := startUDP(t, n, nil)
	for _, hint := range []string{
		"\x01\x00\x00\x00\x00\x00\x00", "\x01\x00\x00\x00\x00\x12\x34", "\x01\xff\xff\xff\xff\xff\xff", "\x01\x7f\x00\x00\x01\x00\x01",
		"\x03\x00\x00\x00", "\x03\x03a b\x00\x00", "\x03\x0bexample.com\x00\x50", "\x04" + strings.Repeat("\x00", 18),
	} {
		a := &app{control: p.dial(t)}
		mustWrite(t, a.control, "\x05\x01\x00\x05\x03\xff"+hint)
		mustRead(t, a.control, "\x05\x00")
		a.relay = readBound(t, a.control)
		a.socket = a.dial(t, nil)
		mustWrite(t, a.socket, toIPv4+"x")
		n.next(t, "203.0.113.5").want(t, "x")
	}
}

func TestAssociateRefused(t *testing.T) {
	if out := start(t, Config{}).talk(t, "\x05\x01\x00"+associate5); out != "\x05\x00"+refused5(7) {
		t.Errorf("not configured: %q", out)
	}
	p, _ := startUDP(t, newFarSide(), func(u *UDP) {
		u.Listen = func(netip.Addr) (net.PacketConn, error) { return nil, syscall.EMFILE }
	})
	if out := p.talk(t, "\x05\x01\x00"+associate5); out != "\x05\x00"+refused5(1) {
		t.Errorf("no socket: %q", out)
	}
	locked := start(t, Config{UDP: &UDP{Open: newFarSide().open}, Users: []User{{"ann", "secret"}}})
	if out := locked.talk(t, "\x05\x01\x00"+associate5); out != "\x05\xff" {
		t.Errorf("no login: %q", out)
	}
}

// What is no datagram of SOCKS is dropped, and does not decide who the
// application is.
func TestHostile19_BadHeaders(t *testing.T) {
	n := newFarSide()
	p, st := startUDP(t, n, nil)
	a := p.associated(t)
	other := a.dial(t, nil)
	bad := badHeaders()
	for i, in := range bad {
		mustWrite(t, other, in)
		counted(t, st, stats.DropHeader, i+1)
	}
	mustWrite(t, a.socket, toIPv4+"good")
	f := n.next(t, "203.0.113.5")
	f.want(t, "good")
	for i, in := range bad {
		mustWrite(t, a.socket, in)
		counted(t, st, stats.DropHeader, len(bad)+i+1)
	}
	mustWrite(t, a.socket, toIPv4+"good")
	f.want(t, "good")
	dropped(t, st, stats.DropHeader, uint64(2*len(bad)))
}

func TestHostile20_Fragments(t *testing.T) {
	n := newFarSide()
	p, st := startUDP(t, n, nil)
	a := p.associated(t)
	other := a.dial(t, nil)
	for frag := 1; frag < 256; frag++ {
		mustWrite(t, other, "\x00\x00"+string([]byte{byte(frag)})+toIPv4[3:]+"part")
		counted(t, st, stats.DropFragment, frag)
	}
	mustWrite(t, a.socket, toIPv4+"whole") // they have not latched
	f := n.next(t, "203.0.113.5")
	f.want(t, "whole")
	f.back("", "answer")
	a.want(t, toIPv4+"answer")
	dropped(t, st, stats.DropFragment, 255)
}

func TestHostile21_RSV(t *testing.T) {
	n := newFarSide()
	p, _ := startUDP(t, n, nil)
	a := p.associated(t)
	mustWrite(t, a.socket, "\xff\x01"+toIPv4[2:]+"x")
	f := n.next(t, "203.0.113.5")
	f.want(t, "x")
	mustWrite(t, a.socket, toIPv4+"y")
	f.want(t, "y")
	f.back("", "z")
	a.want(t, toIPv4+"z")
}

func TestHostile22_Sources(t *testing.T) {
	n := newFarSide()
	p, st := startUDP(t, n, nil)
	a := p.associated(t)
	sent := uint64(0)
	if runtime.GOOS == "linux" { // elsewhere 127.0.0.2 is not there
		for range 3 {
			mustWrite(t, a.dial(t, net.IPv4(127, 0, 0, 2)), toIPv4+"of another address")
			sent++
		}
	}
	mustWrite(t, a.socket, toIPv4+"first")
	f := n.next(t, "203.0.113.5")
	f.want(t, "first")
	mustWrite(t, a.dial(t, nil), toIPv4+"of another port")
	mustWrite(t, a.dial(t, nil), "garbage of another port")
	mustWrite(t, a.socket, toIPv4+"second")
	f.want(t, "second")
	dropped(t, st, stats.DropSource, sent+2)
	f.back("", "answer")
	a.want(t, toIPv4+"answer")
}

// Somebody else on the machine who is first has the association, and with garbage has
// nothing. The program whose it is gets no answers of another's, and asks for a new one.
func TestHostile22_StrangerFirst(t *testing.T) {
	n := newFarSide()
	p, st := startUDP(t, n, nil)
	a := p.associated(t)
	stranger := a.dial(t, nil)
	mustWrite(t, stranger, toIPv4+"mine")
	f := n.next(t, "203.0.113.5")
	f.want(t, "mine")
	mustWrite(t, a.socket, toIPv4+"the program's")
	counted(t, st, stats.DropSource, 1)
	f.back("", "answer")
	if got := read(t, stranger); got != toIPv4+"answer" {
		t.Errorf("the stranger got %q", got)
	}
	b := p.associated(t)
	mustWrite(t, stranger, toIPv4+"to the old one")
	f.want(t, "to the old one")
	mustWrite(t, b.socket, toIPv4+"again")
	n.next(t, "203.0.113.5").want(t, "again")
	dropped(t, st, stats.DropSource, 1)
}

func read(t *testing.T, conn *net.UDPConn) string {
	t.Helper()
	b := make([]byte, 1<<16)
	n, err := readSoon(conn, b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestHostile09to12_Datagrams(t *testing.T) {
	n := newFarSide()
	p, st := startUDP(t, n, nil)
	a := p.associated(t)
	own := netip.MustParseAddrPort(p.addr)
	bad := []string{
		toHost("example.com", 0), toIPv4[:8] + "\x00\x00",
		toHost("127.0.0.1", a.relay.Port()), toHost("localhost", a.relay.Port()), toHost("0x7f.1", a.relay.Port()),
		"\x00\x00\x00\x04" + strings.Repeat("\x00", 16) + "\x00\x50",
	}
	for _, host := range append(badHosts, undialableHosts...) {
		if len(host) < 256 {
			bad = append(bad, toHost(host, 80))
		}
	}
	for i, in := range bad {
		mustWrite(t, a.socket, in+"x")
		mustWrite(t, a.socket, in+"x")
		counted(t, st, stats.DropName, 2*i+2)
	}
	mustWrite(t, a.socket, toHost("127.0.0.1", a.relay.Port()+1)+"x")
	n.next(t, "127.0.0.1").want(t, "x")
	mustWrite(t, a.socket, toHost("127.0.0.1", own.Port())+"x") // there we listen for TCP
	n.next(t, "127.0.0.1").want(t, "x")
	dropped(t, st, stats.DropName, 2*uint64(len(bad)))
}

// The largest datagrams, of each family: one byte more does not go, and nothing
// is cut.
func TestHostile24_Sizes(t *testing.T) {
	for _, test := range []struct {
		on, to  string
		largest int // payload
	}{
		{"127.0.0.1:0", toIPv4, 65497},
		{"[::1]:0", toIPv6, 65505},
		{"[::1]:0", toIPv4, 65517},
	} {
		n := newFarSide()
		p, st := startUDP(t, n, nil)
		if test.on[0] == '[' {
			p.addr = listenIPv6(t, p, test.on)
		}
		a := p.associated(t)
		if err := a.socket.SetReadBuffer(1 << 20); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, a.socket, test.to)
		f := soon(t, n.opened)
		f.want(t, "")
		big := strings.Repeat("0123456789", 6552)
		for _, size := range []int{0, 1, 1472, 4097, 9001, test.largest - 1, test.largest} {
			mustWrite(t, a.socket, test.to+big[:size])
			f.want(t, big[:size])
			f.back("", big[:size])
			a.want(t, test.to+big[:size])
		}
		if _, err := a.socket.Write([]byte(test.to + big[:test.largest+1])); !errors.Is(err, syscall.EMSGSIZE) && runtime.GOOS != "windows" {
			t.Errorf("%s: the system sends more: %v", test.on, err)
		}
		f.back("", big[:test.largest+1], "next")
		a.want(t, test.to+"next")
		dropped(t, st, stats.DropTooLarge, 1)
	}
}

func listenIPv6(t *testing.T, p *proxy, on string) string {
	t.Helper()
	probe, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6:", err)
	}
	probe.Close()
	return p.listen(t, on)
}

func TestHostile30_Families(t *testing.T) {
	n := newFarSide()
	p, st := startUDP(t, n, nil)
	check := func(relay, to string) {
		t.Helper()
		a := p.associated(t)
		if got := a.relay.Addr().String(); got != relay {
			t.Errorf("BND %v, want %v", a.relay, relay)
		}
		mustWrite(t, a.socket, to+"x")
		f := soon(t, n.opened)
		f.want(t, "x")
		f.back("", "y")
		a.want(t, to+"y")
	}
	check("127.0.0.1", toIPv6)
	p.addr = listenIPv6(t, p, "[::1]:0")
	check("::1", toIPv4)
	// Both families on one listener: its IPv4 connections are mapped.
	_, port, _ := net.SplitHostPort(p.listen(t, "[::]:0"))
	p.addr = "127.0.0.1:" + port
	check("127.0.0.1", toName)
	p.addr = "[::1]:" + port
	check("::1", toName)
	dropped(t, st, stats.Drops, 0)
}

func TestBlocked(t *testing.T) {
	stun := "\x00\x01\x00\x00\x21\x12\xa4\x42twelve bytes"
	for _, test := range []struct {
		quic, stun bool
		in         string
		why        stats.Drop
	}{
		{true, false, toHost("a.test", 443) + "x", stats.DropQUIC},
		{true, false, toHost("a.test", 442) + "x", carried},
		{true, false, toHost("a.test", 3478) + stun, carried},
		{false, true, toHost("a.test", 443) + "x", carried},
		{false, true, toHost("a.test", 443) + stun, stats.DropSTUN},
		{false, true, toHost("a.test", 3478) + "x", stats.DropSTUN},
		{false, true, toHost("a.test", 5349) + "x", stats.DropSTUN},
		{false, true, toHost("a.test", 19302) + "x", stats.DropSTUN},
		{false, true, toHost("a.test", 3479) + "x", carried},
		{false, true, toHost("a.test", 3479) + stun[:19], carried},
		{false, false, toHost("a.test", 443) + stun, carried},
	} {
		n := newFarSide()
		p, st := startUDP(t, n, func(u *UDP) { u.BlockQUIC, u.BlockSTUN = test.quic, test.stun })
		a := p.associated(t)
		mustWrite(t, a.socket, test.in)
		mustWrite(t, a.socket, toIPv4)
		if test.why == carried {
			n.next(t, "a.test")
		}
		n.next(t, "203.0.113.5").want(t, "")
		count := uint64(1)
		if test.why == carried {
			count = 0
		}
		dropped(t, st, test.why, count)
	}
}

func TestAssociationCountsAgainstMaxConns(t *testing.T) {
	p := start(t, Config{MaxConns: 2, UDP: &UDP{Open: newFarSide().open}})
	a, b := p.associated(t), p.associated(t)
	if st := p.Stats(); st.Open != 2 {
		t.Errorf("stats %+v", st)
	}
	if n, err := p.dial(t).Read(make([]byte, 1)); err == nil {
		t.Errorf("one too many: %d bytes", n)
	}
	a.control.Close()
	for p.Stats().Open != 1 {
		runtime.Gosched()
	}
	p.associated(t)
	b.control.Close()
}
