package exit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/stats"
)

// dest is CONN_ID, ATYP, ADDR and PORT.
func dest(id uint16, host string, port uint16) []byte {
	p := []byte{byte(id >> 8), byte(id)}
	a, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		p = append(append(p, atypName, byte(len(host))), host...)
	case a.Is4():
		p = append(append(p, atypIPv4), a.AsSlice()...)
	default:
		p = append(append(p, atypIPv6), a.AsSlice()...)
	}
	return append(p, byte(port>>8), byte(port))
}

// dataFrame is a datagram to, or from, host.
func dataFrame(id uint16, host string, port uint16, data string) string {
	return string(appendFrame(nil, flagData, dest(id, host, port), []byte(data)))
}

func controlFrame(flags byte, id uint16) string {
	return string(appendFrame(nil, flags, []byte{byte(id >> 8), byte(id)}, nil))
}

func openGateway(r *rig) []byte {
	o := connectOp("192.0.2.1")
	o.Port = gatewayPort
	return slices.Clone(r.batch(o)[0].SID)
}

// TestUDPGWDestination: the gateway has one address, and its former one.
func TestUDPGWDestination(t *testing.T) {
	for _, c := range []struct {
		host string
		port uint16
		want bool
	}{
		{"192.0.2.1", 7300, true}, {"198.18.0.1", 7300, true},
		{"192.0.2.1", 7301, false}, {"192.0.2.2", 7300, false}, {"198.18.0.2", 7300, false}, {"::ffff:192.0.2.1", 7300, false},
	} {
		if got := isGateway(c.host, c.port); got != c.want {
			t.Errorf("%s:%d: %v", c.host, c.port, got)
		}
	}
}

// TestUDPGWFlows: CONN_ID and destination tell flows apart, of any address type,
// and each has its socket.
func TestUDPGWFlows(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := openGateway(r)
		var want []string
		for _, f := range []string{
			dataFrame(1, "echo.test", 53, "name"), dataFrame(2, "echo.test", 53, "another id"), dataFrame(1, "echo.test", 54, "another port"),
			dataFrame(1, "six.test", 53, ""),
		} {
			want = append(want, f)
			if got := text(r.batch(write(sid, f))[0]); got != f {
				t.Errorf("%q for %q", got, f)
			}
		}
		if n := r.node.Stats().UDPSockets; n != 4 {
			t.Errorf("%d sockets", n)
		}
		got := text(r.batch(write(sid, strings.Join(want, "")))[0])
		if len(got) != len(strings.Join(want, "")) {
			t.Errorf("%q", got)
		}
		for _, f := range want {
			if !strings.Contains(got, f) {
				t.Errorf("%q has no answer", f)
			}
		}
		if n := r.node.Stats().UDPSockets; n != 4 {
			t.Errorf("%d sockets after more of the same", n)
		}
		r.batch(closeOp(sid))
		synctest.Wait()
		if n := r.node.Stats().UDPSockets; n != 0 || !r.world.socket("six.test").isClosed() {
			t.Errorf("%d sockets after the session", n)
		}
		r.wantDropped(t, nil)
	})
}

// TestUDPGWLiterals are dialled as such, and the policy is asked.
func TestUDPGWLiterals(t *testing.T) {
	r := realRig(t, Config{})
	target := addrPort(echoTarget(t, "udp4", "127.0.0.1:0"))
	ask := func(r *rig, f string) string {
		sid := openGateway(r)
		got := text(r.batch(write(sid, f))[0])
		for len(got) == 0 {
			got = text(r.batch(poll(sid))[0])
		}
		return got
	}
	f := dataFrame(1, target.Addr().String(), target.Port(), "hi")
	if got := ask(r, f); got != f {
		t.Errorf("%q", got)
	}
	d, err := NewDialer(Policy{})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "64:ff9b::7f00:1", "::1", "localhost"} {
		if got := ask(newRig(t, Config{Dialer: d}), dataFrame(1, host, target.Port(), "hi")); got != controlFrame(flagError, 1) {
			t.Errorf("%s: %q", host, got)
		}
	}
}

// TestUDPGWErrors: what is not carried is told, and the stream goes on.
func TestUDPGWErrors(t *testing.T) {
	stun := "\x00\x01\x00\x00\x21\x12\xa4\x42" + "transaction_"
	for _, c := range []struct {
		name  string
		udp   UDP
		frame string
		error bool
		why   stats.Drop
		n     uint64
	}{
		{"QUIC", UDP{}, dataFrame(1, "echo.test", 443, "x"), true, stats.DropQUIC, 1},
		{"QUIC allowed", UDP{BlockQUIC: BlockOff}, dataFrame(1, "echo.test", 443, "x"), false, 0, 0},
		{"DNS", UDP{}, dataFrame(1, "echo.test", 53, "x"), false, 0, 0},
		{"STUN", UDP{BlockSTUN: true}, dataFrame(1, "echo.test", 53, stun), true, stats.DropSTUN, 1},
		{"STUN's port", UDP{BlockSTUN: true}, dataFrame(1, "echo.test", 3478, "x"), true, stats.DropSTUN, 1},
		{"STUN allowed", UDP{}, dataFrame(1, "echo.test", 3478, stun), false, 0, 0},
		{"unknown flags", UDP{}, controlFrame(0x44, 1), true, 0, 0},
		{"no flags", UDP{}, controlFrame(0, 1), true, 0, 0},
		{"unknown address type", UDP{}, string(appendFrame(nil, flagData, []byte{0, 1, 2}, nil)), true, 0, 0},
		{"no such name", UDP{}, dataFrame(1, "nowhere.test", 53, "x"), true, stats.DropEnded, 1},
		{"denied", UDP{}, dataFrame(1, "denied.test", 53, "x"), true, stats.DropDenied, 1},
	} {
		bubble(t, Config{UDP: c.udp}, func(t *testing.T, r *rig) {
			sid := openGateway(r)
			want := c.frame
			if c.error {
				want = controlFrame(flagError, 1)
			}
			if got := text(r.batch(write(sid, c.frame))[0]); got != want {
				t.Errorf("%s: %q", c.name, got)
			}
			alive := controlFrame(flagKeepalive, 0xbeef)
			if got := text(r.batch(write(sid, controlFrame(flagError, 1)+alive))[0]); got != alive {
				t.Errorf("%s, then a keepalive: %q", c.name, got)
			}
			r.wantDropped(t, map[stats.Drop]uint64{c.why: c.n})
		})
	}
}

// TestUDPGWTargetEnds: ICMP is an error of its flow, after what came before.
func TestUDPGWTargetEnds(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := openGateway(r)
		got := text(r.batch(write(sid, dataFrame(1, "closed.test", 53, "x")))[0])
		last := dataFrame(1, "closed.test", 53, "last")
		if !strings.Contains(got, last) || !strings.Contains(got, controlFrame(flagError, 1)) {
			t.Errorf("%q", got)
		}
		if got := text(r.batch(write(sid, dataFrame(1, "echo.test", 53, "x")))[0]); got == "" {
			t.Error("another flow ended too")
		}
	})
}

// TestUDPGWLength: a length that no frame has is the end, by RST, and at both
// sides of the limits.
func TestUDPGWLength(t *testing.T) {
	long := func(n int) string { // a keepalive of so many bytes
		f := make([]byte, lenLen+n)
		f[0], f[1], f[2] = byte(n>>8), byte(n), flagKeepalive
		return string(f)
	}
	for _, c := range []struct {
		name, frame string
		ok          bool
	}{
		{"least", long(frameHead), true},
		{"too little", long(frameHead - 1), false},
		{"none", "\x00\x00", false},
		{"most", long(maxFrame), true},
		{"too much", long(maxFrame + 1), false},
		{"address cut", string(appendFrame(nil, flagData, dest(1, "1.1.1.1", 53)[:8], nil)), false},
		{"name cut", string(appendFrame(nil, flagData, []byte{0, 1, atypName}, nil)), false},
		{"no address", controlFrame(flagData, 1), false},
	} {
		bubble(t, Config{}, func(t *testing.T, r *rig) {
			sid := openGateway(r)
			res := r.batch(write(sid, controlFrame(flagKeepalive, 7)+c.frame))[0]
			if !strings.HasPrefix(text(res), controlFrame(flagKeepalive, 7)) || res.EOF == c.ok || res.Rst == c.ok {
				t.Errorf("%s: %q, eof %v, rst %v", c.name, text(res), res.EOF, res.Rst)
			}
		})
	}
}

// TestUDPGWFlowBound: the flow that was silent for longest makes room.
func TestUDPGWFlowBound(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := openGateway(r)
		host := func(i int) string { return fmt.Sprint(i, ".test") }
		for i := range maxGatewayFlows {
			r.batch(write(sid, dataFrame(uint16(i), host(i), 53, "x")))
		}
		r.batch(write(sid, dataFrame(0, host(0), 53, "x")))
		if n := r.node.Stats().UDPSockets; n != maxGatewayFlows {
			t.Errorf("%d sockets", n)
		}
		r.batch(write(sid, dataFrame(0, "echo.test", 53, "x")))
		if n := r.node.Stats().UDPSockets; n != maxGatewayFlows {
			t.Errorf("%d sockets after one more", n)
		}
		if r.world.socket(host(0)).isClosed() || !r.world.socket(host(1)).isClosed() || r.world.socket(host(2)).isClosed() {
			t.Error("not the oldest flow was closed")
		}
	})
}

// TestUDPGWSocketLimit is the node's, which sessions and gateways share.
func TestUDPGWSocketLimit(t *testing.T) {
	bubble(t, Config{Streams: 4}, func(t *testing.T, r *rig) {
		r.openUDP("silent.test")
		sid := openGateway(r)
		if got := text(r.batch(write(sid, dataFrame(1, "echo.test", 53, "x")))[0]); got != dataFrame(1, "echo.test", 53, "x") {
			t.Errorf("%q", got)
		}
		if got := text(r.batch(write(sid, dataFrame(2, "echo.test", 53, "x")))[0]); got != controlFrame(flagError, 2) {
			t.Errorf("%q", got)
		}
	})
}

// TestUDPGWReap: a silent flow goes, the session with its keepalives stays.
func TestUDPGWReap(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := openGateway(r)
		start := time.Now()
		r.batch(write(sid, dataFrame(1, "echo.test", 53, "x")))
		for time.Since(start) < 118*time.Second {
			r.batch(write(sid, controlFrame(flagKeepalive, 1)))
			time.Sleep(time.Second)
		}
		if r.node.Stats().UDPSockets != 1 {
			t.Error("reaped before its time")
		}
		time.Sleep(20 * time.Second)
		if s := r.node.Stats(); s.UDPSockets != 0 || s.Sessions != 1 {
			t.Errorf("%+v", s)
		}
		if got := text(r.batch(write(sid, dataFrame(1, "echo.test", 53, "again")))[0]); got != dataFrame(1, "echo.test", 53, "again") {
			t.Errorf("%q", got)
		}
	})
}

// newTestGateway is a gateway that a test reads and writes itself.
func newTestGateway(t testing.TB, c Config) (*rig, *gateway) {
	r := newRig(t, c)
	g := newGateway(r.node, r.node.keyUse)
	t.Cleanup(func() { g.Close() })
	return r, g
}

// TestUDPGWUnread: a client that does not read loses the oldest datagrams, and
// hears of its keepalives.
func TestUDPGWUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := newTestGateway(t, Config{})
		_, _ = io.WriteString(g, dataFrame(1, "silent.test", 53, "x"))
		synctest.Wait()
		c := r.world.socket("silent.test")
		c.say("lost", "lost")
		for i := range maxDatagrams {
			c.say(fmt.Sprint(i))
		}
		for range 2 * maxControl {
			_, _ = io.WriteString(g, controlFrame(flagKeepalive, 1))
		}
		synctest.Wait()
		r.wantDropped(t, map[stats.Drop]uint64{stats.DropQueue: 2})
		if n := len(g.control); n < maxControl || n > maxControl+10 {
			t.Errorf("%d bytes of keepalives wait", n)
		}
		b := make([]byte, 1<<20)
		n, _ := g.Read(b)
		if first := dataFrame(1, "silent.test", 53, "0"); !bytes.HasPrefix(b, []byte(controlFrame(flagKeepalive, 1))) || !bytes.Contains(b[:n], []byte(first)) {
			t.Errorf("%d bytes, %q...", n, b[:40])
		}
		g.Close()
		if _, err := g.Read(b); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

// TestUDPGWStale: what waited too long is not read either.
func TestUDPGWStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := newTestGateway(t, Config{UDP: UDP{Stale: time.Second}})
		_, _ = io.WriteString(g, dataFrame(1, "echo.test", 53, "old"))
		time.Sleep(time.Second + 1)
		_, _ = io.WriteString(g, dataFrame(1, "echo.test", 53, "new"))
		synctest.Wait()
		b := make([]byte, 100)
		n, _ := g.Read(b)
		if got := string(b[:n]); got != dataFrame(1, "echo.test", 53, "new") {
			t.Errorf("%q", got)
		}
		r.wantDropped(t, map[stats.Drop]uint64{stats.DropStale: 1})
	})
}

// TestUDPGWTooLarge: the largest datagram to IPv4 passes both ways; what fits no
// frame is dropped, and what fits no datagram.
func TestUDPGWTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := newTestGateway(t, Config{})
		fits := dataFrame(1, "echo.test", 53, strings.Repeat("x", maxPayload4))
		_, _ = io.WriteString(g, fits)
		synctest.Wait()
		b := make([]byte, 1<<17)
		if n, _ := g.Read(b); string(b[:n]) != fits {
			t.Errorf("%d bytes", n)
		}
		_, _ = io.WriteString(g, dataFrame(1, "echo.test", 53, strings.Repeat("x", maxPayload4+1)))
		r.world.socket("echo.test").say(strings.Repeat("y", maxPayload6))
		synctest.Wait()
		r.wantDropped(t, map[stats.Drop]uint64{stats.DropTooLarge: 2})
	})
}

// TestUDPGWCarryAllocates nothing, once a flow is going.
func TestUDPGWCarryAllocates(t *testing.T) {
	r, g := newTestGateway(t, Config{})
	sid := dataFrame(1, "deaf.test", 53, strings.Repeat("x", 1200))
	p := []byte(sid)
	_, _ = g.Write(p)
	for r.node.Stats().BytesUp == 0 {
		time.Sleep(time.Millisecond)
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = g.Write(p) }); n != 0 {
		t.Errorf("%v allocations for a frame", n)
	}
}

// FuzzUDPGW: the frames are the same, however the stream is cut, and whatever
// they are, they parse or end it.
func FuzzUDPGW(f *testing.F) {
	all := dataFrame(1, "echo.test", 53, "x") + controlFrame(flagKeepalive, 2) + dataFrame(3, "1.1.1.1", 443, "") +
		dataFrame(4, "2606:4700::1111", 853, "yy") + controlFrame(flagError, 5) + controlFrame(0x40, 6)
	f.Add([]byte(all), uint16(1))
	f.Add([]byte(all+"\x00\x02"), uint16(7))
	f.Add([]byte(all+"\xff\xff"), uint16(30))
	f.Add([]byte("\xff\xfe\x02\x00\x01\x03\xff"), uint16(3))
	f.Fuzz(func(t *testing.T, stream []byte, step uint16) {
		whole, err := assemble(t, stream, len(stream))
		cut, cutErr := assemble(t, stream, int(step)+1)
		if !slices.EqualFunc(whole, cut, bytes.Equal) || !errors.Is(cutErr, err) {
			t.Fatalf("whole: %x, %v\nin pieces of %d: %x, %v", whole, err, step+1, cut, cutErr)
		}
		var again []byte
		for _, p := range whole {
			fr, err := parseFrame(p)
			if err == nil && fr.path != nil {
				if len(fr.host()) == 0 && fr.path[2] != atypName || fr.port() == 0 && p[len(fr.path)] != 0 {
					t.Fatalf("%x: no destination", p)
				}
				again = appendFrame(again, fr.flags, fr.path, fr.data)
			} else {
				again = appendFrame(again, p[0], p[1:], nil)
			}
		}
		if !bytes.HasPrefix(stream, again) {
			t.Fatalf("%x\nbecame %x", stream, again)
		}
	})
}

// assemble cuts a stream that comes in pieces into frames, copies of them.
func assemble(t *testing.T, stream []byte, step int) (frames [][]byte, err error) {
	a := assembler{claim: claim{budget: buf.NewBudget(1 << 20)}}
	defer func() {
		a.drop()
		if n := a.claim.budget.Used(); n != 0 {
			t.Fatalf("%d bytes still charged", n)
		}
	}()
	for piece := range slices.Chunk(stream, max(step, 1)) {
		for len(piece) > 0 {
			p, used, err := a.next(piece)
			if err != nil {
				return frames, err
			}
			if p != nil {
				frames = append(frames, slices.Clone(p))
			}
			piece = piece[used:]
		}
	}
	return frames, nil
}

// TestHostile25_SilentGateways: the silent sockets of udpgw make room too, for
// sessions and for the gateway itself.
func TestHostile25_SilentGateways(t *testing.T) {
	bubble(t, Config{Streams: 16}, func(t *testing.T, r *rig) {
		sid := openGateway(r)
		for i := range 8 {
			r.batch(write(sid, dataFrame(uint16(i), fmt.Sprint(i, ".test"), 53, "x")))
		}
		time.Sleep(100 * time.Second)
		if res := r.batch(udpOpen("echo.test", "x"))[0]; len(res.Err) > 0 {
			t.Errorf("all UDP sockets silent for 100 s, a new flow gets %q", res.Err)
		}
		if got := text(r.batch(write(sid, dataFrame(99, "echo.test", 53, "x")))[0]); got == controlFrame(flagError, 99) {
			t.Errorf("nor a new flow of the gateway itself")
		}
	})
}
