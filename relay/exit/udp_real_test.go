package exit

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"relaymux/mux/stats"
	"relaymux/mux/wire"
)

// realRig is a node that may dial this machine, with real sockets.
func realRig(t *testing.T, c Config) *rig {
	t.Helper()
	d, err := NewDialer(Policy{AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	c.Dialer, c.LongPoll, c.UDP.GSO = d, 5*time.Second, true
	return newRig(t, c)
}

// udpTarget listens on the loopback interface.
func udpTarget(t *testing.T, network, address string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenPacket(network, address)
	if err != nil {
		t.Skip(err) // no IPv6 here
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

// echoTarget sends everything back until it is closed.
func echoTarget(t *testing.T, network, address string) *net.UDPConn {
	c := udpTarget(t, network, address)
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return c
}

func openAt(c *net.UDPConn, data string) wire.Op {
	a := addrPort(c)
	o := udpOpen(a.Addr().String(), data)
	o.Port = a.Port()
	return o
}

func addrPort(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// collect polls sid until there are n datagrams.
func (r *rig) collect(sid []byte, n int, first ...wire.Result) []string {
	r.t.Helper()
	got := pkts(first...)
	for len(got) < n {
		res := r.batch(udpPoll(sid))
		if len(res[0].Pkts) == 0 {
			r.t.Fatalf("%d datagrams, then %+v", len(got), res[0])
		}
		got = append(got, pkts(res...)...)
	}
	return got
}

// TestHostile24_Sizes: whatever fits a datagram goes both ways, whole.
func TestHostile24_Sizes(t *testing.T) {
	for _, c := range []struct {
		network, address string
		most             int
	}{{"udp4", "127.0.0.1:0", maxPayload4}, {"udp6", "[::1]:0", maxPayload6}} {
		r := realRig(t, Config{})
		target := echoTarget(t, c.network, c.address)
		res := r.batch(openAt(target, "hi"))
		sid := slices.Clone(res[0].SID)
		if got, ip := r.collect(sid, 1, res...), string(res[0].IP); got[0] != "hi" || ip != addrPort(target).Addr().String() {
			t.Fatalf("%q from %q", got, ip)
		}
		for _, size := range []int{0, 1, 1200, 9001, 65507, c.most} {
			data := strings.Repeat("0123456789", size/10+1)[:size]
			o := udpData(sid, data)
			o.Empty = size == 0
			if got := r.collect(sid, 1, r.batch(o)...); len(got) != 1 || got[0] != data {
				t.Errorf("%s, %d bytes: %d datagrams of %d", c.network, size, len(got), len(got[0]))
			}
		}
		r.batch(udpData(sid, strings.Repeat("x", c.most+1)))
		r.wantDropped(t, map[stats.Drop]uint64{stats.DropTooLarge: 1})
	}
}

// TestHostile27_OtherRemote: only the target is heard, not its machine, and not
// another one.
func TestHostile27_OtherRemote(t *testing.T) {
	r := realRig(t, Config{LongPoll: time.Second})
	target := udpTarget(t, "udp4", "127.0.0.1:0")
	res := r.batch(openAt(target, "hi"))
	b := make([]byte, 10)
	_, node, err := target.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"127.0.0.1:0", "127.0.0.2:0"} {
		if _, err := udpTarget(t, "udp4", address).WriteToUDPAddrPort([]byte("forged"), node); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := target.WriteToUDPAddrPort([]byte("answer"), node); err != nil {
		t.Fatal(err)
	}
	if got := r.collect(res[0].SID, 1); !slices.Equal(got, []string{"answer"}) {
		t.Errorf("%q", got)
	}
}

// TestUDPRefused: a closed port ends its session by ICMP, and no other.
func TestUDPRefused(t *testing.T) {
	r := realRig(t, Config{})
	echo := echoTarget(t, "udp4", "127.0.0.1:0")
	gone := udpTarget(t, "udp4", "127.0.0.1:0")
	ops := []wire.Op{openAt(gone, "x"), openAt(echo, "y")}
	gone.Close()
	res := r.batch(ops...)
	sids := [][]byte{slices.Clone(res[0].SID), slices.Clone(res[1].SID)}
	for end := res[0].EOF; !end; {
		end = r.batch(udpPoll(sids[0]))[0].EOF
	}
	r.collect(sids[1], 1, res[1])
	if got := r.collect(sids[1], 1, r.batch(udpData(sids[1], "z"))...); got[0] != "z" {
		t.Errorf("%q", got)
	}
}

// TestUDPBurst: a batch of datagrams goes out and comes back in order, by trains
// where the system has them.
func TestUDPBurst(t *testing.T) {
	const n = 64
	r := realRig(t, Config{})
	res := r.batch(openAt(echoTarget(t, "udp4", "127.0.0.1:0"), "first"))
	sid := slices.Clone(res[0].SID)
	r.collect(sid, 1, res...)
	var ops []wire.Op
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("%04d%s", i, strings.Repeat("x", 1196)))
		ops = append(ops, udpData(sid, want[i]))
	}
	if got := r.collect(sid, n, r.batch(ops...)...); !slices.Equal(got, want) {
		t.Errorf("%d datagrams, or in another order", len(got))
	}
	r.wantDropped(t, nil)
}

// TestUDPIdleSocketsOwnNoBuffer while they wait.
func TestUDPIdleSocketsOwnNoBuffer(t *testing.T) {
	const n, most = 200, 12 << 10
	r := realRig(t, Config{})
	open := openAt(udpTarget(t, "udp4", "127.0.0.1:0"), "")
	ops := slices.Repeat([]wire.Op{open}, n)
	r.batch(ops...)
	before := memory()
	res := r.batch(ops...)
	for i := range res {
		if len(res[i].Err) > 0 {
			t.Fatalf("%q", res[i].Err)
		}
	}
	if each := (memory() - before) / n; each > most {
		t.Errorf("%d bytes for an idle session", each)
	}
	if m := r.node.Stats().Memory; m != 0 {
		t.Errorf("%d bytes charged", m)
	}
}

// TestHostile55_UDP: the policy is asked about each datagram's destination, for a
// session has one only, whatever the name said.
func TestHostile55_UDP(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1", "localhost", "10.0.0.1", "100.64.0.1", "169.254.169.254", "fd00:ec2::254", "0.0.0.0",
		"192.0.2.1", "198.18.0.1", "224.0.0.251", "255.255.255.255", "ff02::fb", "metadata.google.internal"} {
		wantUDPDenied(t, Policy{}, host, 53)
	}
	// Mail goes by TCP; a port that is closed is closed for both.
	wantUDPDenied(t, Policy{AllowPrivate: true}, "127.0.0.1", 25)
	wantUDPDenied(t, Policy{AllowPrivate: true, Deny: []string{"127.0.0.0/8"}}, "127.0.0.1", 53)
	wantUDPDenied(t, Policy{AllowPrivate: true, Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:8443")}}, "127.0.0.1", 8443)
}

func TestHostile56_UDP(t *testing.T) {
	for _, host := range []string{"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::ffff:127.0.0.1", "::127.0.0.1", "::ffff:0:7f00:1"} {
		wantUDPDenied(t, Policy{}, host, 53)
	}
}

// wantUDPDenied checks that neither a dial nor a udp_open gets to host.
func wantUDPDenied(t *testing.T, p Policy, host string, port uint16) {
	t.Helper()
	d, err := NewDialer(p)
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.DialContext(context.Background(), "udp", net.JoinHostPort(host, fmt.Sprint(port)))
	if err == nil {
		c.Close()
	}
	if !isDenied(err) && !noRoute(err) {
		t.Errorf("%s: %v", host, err)
	}
	r := newRig(t, Config{Dialer: d})
	o := udpOpen(host, "x")
	o.Port = port
	if res := r.batch(o)[0]; !noRoute(err) && string(res.Err) != udpFailed+errDenied().Error() {
		t.Errorf("%s: %+v", host, res)
	}
}

// noRoute reports whether this machine could not even ask: it has no IPv6.
func noRoute(err error) bool {
	r := wire.ReasonOfDial(err)
	return r == wire.NetUnreachable || r == wire.HostUnreachable
}
