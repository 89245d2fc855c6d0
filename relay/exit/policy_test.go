package exit

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"relaymux/mux/rule"
	"relaymux/mux/wire"
)

func isDenied(err error) bool {
	var d *wire.DialError
	return errors.As(err, &d) && d.Reason == wire.Denied
}

func mustPolicy(t *testing.T, p Policy) *policy {
	t.Helper()
	checked, err := newPolicy(p)
	if err != nil {
		t.Fatal(err)
	}
	return checked
}

func TestHostile55_ClosedAddresses(t *testing.T) {
	private := []string{"127.0.0.1", "127.255.255.255", "::1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"100.64.0.1", "100.127.255.255", "fd12::1", "fc00::1", "fec0::1"}
	always := []string{"0.0.0.0", "0.1.2.3", "::", "169.254.169.254", "169.254.0.1", "fe80::1", "fd00:ec2::254",
		"100.100.100.200", "192.0.0.8", "198.18.0.1", "198.19.255.255", "240.0.0.1", "255.255.255.255", "224.0.0.1",
		"239.255.255.255", "ff02::1", "2001::1", "64:ff9b:1::a00:1", "168.63.129.16", "fd00:ec2::23", "fd20:ce::254", "192.0.0.192",
		"3fff::1", "5f00::1", "2001:2::1", "2001:db8::1", "100::1"}
	public := []string{"1.1.1.1", "9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255",
		"100.63.255.255", "100.128.0.0", "169.253.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255",
		"2606:4700::1111", "64:ff9b::101:101", "2002:101:101::1", "168.63.129.15", "168.63.129.17", "2001:4860::1", "4000::1"}
	check := func(p Policy, list []string, want bool) {
		t.Helper()
		checked := mustPolicy(t, p)
		for _, a := range list {
			err := checked.checkAddress(a, net.JoinHostPort(a, "443"))
			if isDenied(err) == want {
				t.Errorf("%+v: %s: %v", p, a, err)
			}
		}
	}
	check(Policy{}, private, false)
	check(Policy{}, always, false)
	check(Policy{}, public, true)
	check(Policy{AllowPrivate: true}, private, true)
	check(Policy{AllowPrivate: true}, always, false)
	check(Policy{AllowPrivate: true}, public, true)
}

func TestHostile56_WrappedAddresses(t *testing.T) {
	open := mustPolicy(t, Policy{})
	lan := mustPolicy(t, Policy{AllowPrivate: true})
	for _, c := range []struct {
		addr            string
		denied, lanDeny bool
	}{
		{"64:ff9b::7f00:1", true, false},
		{"64:ff9b::a9fe:a9fe", true, true},
		{"64:ff9b::808:808", false, false},
		{"2002:7f00:1::", true, false},
		{"2002:a9fe:a9fe::1", true, true},
		{"2002:808:808::1", false, false},
		{"::ffff:127.0.0.1", true, false},
		{"::ffff:169.254.169.254", true, true},
		{"::ffff:8.8.8.8", false, false},
		{"::127.0.0.1", true, false},
		{"::169.254.169.254", true, true},
		{"::ffff:0:7f00:1", true, false},
		{"64:ff9b::a83f:8110", true, true}, // Azure's host
		{"2002:a83f:8110::1", true, true},
		{"::ffff:0:a83f:8110", true, true},
		{"2001:0:808:808::1", true, true}, // Teredo, whatever it leads to
		{"64:ff9b:1:7f00::1", true, true}, // a NAT64 of the network's own
		{"fe80::1", true, true},
	} {
		address := net.JoinHostPort(c.addr, "80")
		if err := open.checkAddress("x", address); isDenied(err) != c.denied {
			t.Errorf("%s: %v", c.addr, err)
		}
		if err := lan.checkAddress("x", address); isDenied(err) != c.lanDeny {
			t.Errorf("%s with allow_private: %v", c.addr, err)
		}
	}
}

func TestHostile57_Ports(t *testing.T) {
	const host = "8.8.8.8"
	for _, c := range []struct {
		policy Policy
		port   string
		denied bool
	}{
		{Policy{}, "25", true},
		{Policy{}, "24", false},
		{Policy{}, "26", false},
		{Policy{}, "587", false},
		{Policy{Allow: []string{"25"}}, "25", false},
		{Policy{Allow: []string{"8.8.8.0/24"}}, "25", true},
		{Policy{Allow: []string{"8.8.8.8:25"}}, "25", false},
		{Policy{Allow: []string{"8.8.4.4:25"}}, "25", true},
		{Policy{AllowPrivate: true}, "25", true},
		{Policy{Deny: []string{"6667"}}, "6667", true},
	} {
		p := mustPolicy(t, c.policy)
		if err := p.checkAddress("dns.test", net.JoinHostPort(host, c.port)); isDenied(err) != c.denied {
			t.Errorf("%+v port %s: %v", c.policy, c.port, err)
		}
		if c.policy.Allow == nil { // wrapped, it is the same host
			if err := p.checkAddress("dns.test", net.JoinHostPort("64:ff9b::808:808", c.port)); isDenied(err) != c.denied {
				t.Errorf("%+v port %s by NAT64: %v", c.policy, c.port, err)
			}
		}
	}
}

// TestHostile57_Documented: who runs a node is told what is closed, and how to open it.
func TestHostile57_Documented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if words := strings.Join(strings.Fields(string(text)), " "); !strings.Contains(words, "and port 25, unless `[node.egress]` allows them") {
		t.Error("README.md does not say that port 25 is closed")
	}
}

// TestHostile55_OwnAddresses: neither the node's port nor anything else of its machine is
// reached by an address of an interface, public or not, wrapped or not, and by UDP as
// little as by TCP.
func TestHostile55_OwnAddresses(t *testing.T) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Skip(err)
	}
	listen := []netip.AddrPort{netip.MustParseAddrPort("[::]:8443")}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		own := []netip.Addr{p.Addr()}
		if p.Addr().Is4() {
			b := p.Addr().As4()
			wrapped := netip.MustParseAddr("64:ff9b::").As16()
			copy(wrapped[12:], b[:])
			own = append(own, netip.AddrFrom16(wrapped), netip.AddrFrom16(p.Addr().As16()))
		}
		for _, addr := range own {
			if err := mustPolicy(t, Policy{Listen: listen}).checkAddress("x.test", netip.AddrPortFrom(addr, 22).String()); !isDenied(err) {
				t.Errorf("another port of %v: %v", addr, err)
			}
			if err := mustPolicy(t, Policy{Listen: listen, AllowPrivate: true}).checkAddress("x.test", netip.AddrPortFrom(addr, 8443).String()); !isDenied(err) {
				t.Errorf("the node's port of %v: %v", addr, err)
			}
		}
	}
}

func TestPolicyRules(t *testing.T) {
	for _, c := range []struct {
		policy     Policy
		name, addr string
		port       uint16
		denied     bool
	}{
		{Policy{Deny: []string{"example.org"}}, "example.org", "8.8.8.8", 80, true},
		{Policy{Deny: []string{"Example.ORG."}}, "www.example.org", "8.8.8.8", 80, true},
		{Policy{Deny: []string{".example.org"}}, "www.example.org", "8.8.8.8", 80, true},
		{Policy{Deny: []string{"example.org"}}, "badexample.org", "8.8.8.8", 80, false},
		{Policy{Deny: []string{"example.org:22"}}, "example.org", "8.8.8.8", 22, true},
		{Policy{Deny: []string{"example.org:22"}}, "example.org", "8.8.8.8", 80, false},
		{Policy{Deny: []string{"8.8.0.0/16"}}, "x.test", "8.8.8.8", 80, true},
		{Policy{Deny: []string{"8.8.0.0/16:53"}}, "x.test", "8.8.8.8", 53, true},
		{Policy{Deny: []string{"8.8.0.0/16"}}, "x.test", "64:ff9b::808:808", 80, true},
		{Policy{Deny: []string{"8.8.0.0/16"}, Allow: []string{"8.8.8.8"}}, "x.test", "8.8.8.8", 80, false},
		{Policy{Deny: []string{"8.8.0.0/16"}, Allow: []string{"443"}}, "x.test", "8.8.8.8", 443, true},
		{Policy{Allow: []string{"10.1.0.0/16"}}, "x.test", "10.1.2.3", 80, false},
		{Policy{Allow: []string{"10.1.0.0/16"}}, "x.test", "10.2.2.3", 80, true},
		{Policy{Allow: []string{"nas.home"}}, "nas.home", "192.168.0.9", 80, false},
		{Policy{Allow: []string{"nas.home"}}, "other.home", "192.168.0.9", 80, true},
		{Policy{Allow: []string{"80"}}, "x.test", "192.168.0.9", 80, true},
		{Policy{Allow: []string{"[::1]:80"}}, "x.test", "::1", 80, false},
		{Policy{Allow: []string{"[::1]:80"}}, "x.test", "::1", 81, true},
		{Policy{Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:8443")}, AllowPrivate: true}, "x.test", "127.0.0.1", 8443, true},
		{Policy{Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:8443")}, AllowPrivate: true}, "x.test", "127.0.0.1", 8444, false},
		{Policy{Listen: []netip.AddrPort{netip.MustParseAddrPort("8.8.8.8:8443")}}, "x.test", "8.8.8.8", 8443, true},
	} {
		p := mustPolicy(t, c.policy)
		address := net.JoinHostPort(c.addr, strconv.Itoa(int(c.port)))
		if err := p.checkAddress(c.name, address); isDenied(err) != c.denied {
			t.Errorf("%+v: %s (%s): %v", c.policy, c.name, address, err)
		}
	}
}

// TestPolicyNameLeavesPortToAddress: an allow entry for one address and port is
// not defeated before the name is resolved.
func TestPolicyNameLeavesPortToAddress(t *testing.T) {
	p := mustPolicy(t, Policy{Allow: []string{"8.8.8.8:25"}})
	if err := p.checkName("mail.test", 25); err != nil {
		t.Errorf("the name: %v", err)
	}
	if err := mustPolicy(t, Policy{Allow: []string{"8.8.8.8:26"}}).checkName("mail.test", 25); !isDenied(err) {
		t.Errorf("a name that no address could open: %v", err)
	}
	if err := p.checkAddress("mail.test", "8.8.8.8:25"); err != nil {
		t.Errorf("the address: %v", err)
	}
	if err := p.checkAddress("mail.test", "8.8.4.4:25"); !isDenied(err) {
		t.Errorf("another address: %v", err)
	}
}

func TestHostile55_Names(t *testing.T) {
	p := mustPolicy(t, Policy{AllowPrivate: true})
	for _, name := range []string{"metadata.google.internal", "METADATA.google.internal.", "x.metadata.goog", "metadata", "instance-data", "instance-data.ec2.internal",
		"metadata.azure.internal", "metadata.tencentyun.com"} {
		if err := p.checkName(rule.Canonical(name), 80); !isDenied(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, entry := range []string{"", "a b", "10.0.0.0/33", "x:70000", "x:0", "0", "http://x/", "[::1", "x%y"} {
		if _, err := NewDialer(Policy{Allow: []string{entry}}); err == nil {
			t.Errorf("entry %q accepted", entry)
		}
	}
}

// TestHostile55_DialedAddress dials for real: what is checked is the address
// behind the name.
func TestHostile55_DialedAddress(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	own := ln.Addr().(*net.TCPAddr).AddrPort()
	port := strconv.Itoa(int(own.Port()))
	for _, c := range []struct {
		policy Policy
		host   string
		denied bool
	}{
		{Policy{}, "127.0.0.1", true},
		{Policy{}, "localhost", true},
		{Policy{}, "::ffff:127.0.0.1", true},
		{Policy{AllowPrivate: true}, "127.0.0.1", false},
		{Policy{AllowPrivate: true, Listen: []netip.AddrPort{own}}, "127.0.0.1", true},
		{Policy{Allow: []string{"127.0.0.1:" + port}}, "127.0.0.1", false},
		{Policy{Allow: []string{"127.0.0.1:" + port}}, "localhost", false},
		{Policy{}, "foo.localhost", true},
	} {
		d, err := NewDialer(c.policy)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(c.host, port))
		if isDenied(err) != c.denied {
			t.Errorf("%+v %s: %v", c.policy, c.host, err)
		}
		if conn != nil {
			conn.Close()
		}
	}
}

// TestHostile85_DialErrors is what becomes of every kind of failure.
func TestHostile85_DialErrors(t *testing.T) {
	op := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, c := range []struct {
		err  error
		want string
	}{
		{op(syscall.ECONNREFUSED), wire.Refused.String()},
		{op(syscall.ENETUNREACH), wire.NetUnreachable.String()},
		{op(syscall.EHOSTUNREACH), wire.HostUnreachable.String()},
		{op(syscall.ETIMEDOUT), wire.TimedOut.String()},
		{op(context.DeadlineExceeded), wire.TimedOut.String()},
		{op(&net.DNSError{Err: "i/o timeout", IsTimeout: true}), wire.NameNotFound.String()},
		{op(&net.DNSError{Err: "no such host", IsNotFound: true}), wire.NameNotFound.String()},
		{op(&net.DNSError{Err: "server misbehaving", IsTemporary: true, Server: "192.0.2.53:53"}), wire.NameNotFound.String()},
		{op(errDenied()), wire.Denied.String()},
		{op(syscall.EMFILE), "too many open files"},
		{op(errors.New("secret 192.0.2.1")), wire.Failed.String()},
	} {
		if got := outcome(c.err); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
	for _, host := range []string{"", "a b", "fe80::1%lo", "a\x00b", "a\r\nb"} {
		d, _ := NewDialer(Policy{})
		_, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(host, "80"))
		if wire.ReasonOfDial(err) != wire.NameNotFound {
			t.Errorf("host %q: %v", host, err)
		}
	}
}

func dialNowhere(context.Context, string, string) (net.Conn, error) {
	return nil, syscall.ECONNREFUSED
}
