package relaytest

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/mux/stats"
	"relaymux/relay/exit"
)

// udpWays are those in which datagrams can take to the target.
var udpWays = []way{
	{"by scripts", StackConfig{Scripts: 2}, false, true},
	{"straight", StackConfig{}, false, true},
	{"straight, IPv6", StackConfig{IPv6: true}, false, true},
	{"over loopback", StackConfig{}, false, false},
	{"over loopback, IPv6", StackConfig{IPv6: true}, false, false},
	{"over loopback by a script", StackConfig{Scripts: 1}, false, false},
}

// everyUDPWay runs test once for each of udpWays.
func everyUDPWay(t *testing.T, test func(t *testing.T, s *Stack)) {
	t.Helper()
	t.Parallel()
	for _, w := range udpWays {
		t.Run(w.name, func(t *testing.T) {
			if w.virtual {
				virtual(t, w.config, test)
				return
			}
			t.Parallel()
			if w.config.IPv6 {
				needIPv6(t)
			}
			test(t, NewStack(t, w.config))
		})
	}
}

// most is the largest payload that the header leaves room for.
func (s *Stack) most() int {
	if s.config.IPv6 {
		return maxDatagram6 - 22
	}
	return maxDatagram4 - 10
}

// TestHostile24_Sizes: from none to the largest that fits, each comes back whole.
func TestHostile24_Sizes(t *testing.T) {
	everyUDPWay(t, func(t *testing.T, s *Stack) {
		addr := s.servePackets(t, EchoPacket)
		a := associate(t, s)
		for _, size := range []int{0, 1, 1200, 9001, 0, s.most()} {
			wantEcho(t, a, addr, BurstRequest{Count: 2, Size: uint32(size)}.Packet(0))
		}
		s.wantNoDrops(t)
	})
}

// TestHostile24_OneMoreDown: what has no room behind the header is dropped and
// counted, and neither cut nor the end of anything.
func TestHostile24_OneMoreDown(t *testing.T) {
	everyUDPWay(t, func(t *testing.T, s *Stack) {
		addr := s.servePackets(t, Burst)
		a := associate(t, s)
		for _, size := range []int{s.most() + 1, s.most() + 10} {
			ask := BurstRequest{Count: 2, Size: uint32(size), Last: 9}
			put(t, a, addr, ask.bytes())
			if p, _, err := get(a, soon); err != nil || string(p) != string(ask.Packet(1)) {
				t.Errorf("beside one of %d bytes came %d, %v", size, len(p), err)
			}
		}
		wantDrops(t, "the proxy", s.UDP, stats.DropTooLarge, 2)
	})
}

// TestHostile24_OneMoreUp: an IPv6 association takes more than an IPv4 target can
// be sent.
func TestHostile24_OneMoreUp(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{IPv6: true}, func(t *testing.T, s *Stack) {
		addr := s.servePacketsAt(t, at(target4, 7), EchoPacket)
		a := associate(t, s)
		wantEcho(t, a, addr, make([]byte, maxDatagram4))
		put(t, a, addr, make([]byte, maxDatagram4+1))
		wantSilence(t, a, soon)
		wantDrops(t, "the node", s.NodeUDP, stats.DropTooLarge, 1)
		wantEcho(t, a, addr, []byte("still there"))
	})
}

func (r BurstRequest) bytes() []byte {
	p, _ := binary.Append(nil, binary.BigEndian, r)
	return p
}

// TestUDPAddresses: a target by address and by name. The answer has the address
// that the name led to, if it led to one.
func TestUDPAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []StackConfig{{Scripts: 1}, {}, {IPv6: true}} {
		virtual(t, c, func(t *testing.T, s *Stack) {
			for _, ip := range []netip.Addr{target4, target6} {
				s.servePacketsAt(t, at(ip, 7), EchoPacket)
			}
			s.servePacketsAt(t, "unknown.test:7", EchoPacket)
			a := associate(t, s)
			wantEcho(t, a, at(target4, 7), []byte("by address"))
			wantEcho(t, a, at(target6, 7), []byte("by address"))
			for _, ip := range []netip.Addr{target4, target6} {
				name := fmt.Sprintf("%d.%s:7", ip.BitLen(), targetName)
				s.config.Memory.SetName(fmt.Sprintf("%d.%s", ip.BitLen(), targetName), ip)
				for range 3 {
					wantEchoFrom(t, a, name, at(ip, 7), []byte("by name"))
				}
			}
			wantEcho(t, a, "unknown.test:7", []byte("the name as it was"))
		})
	}
}

// TestUDPTrains: a train up, and one down, keeps its order and its borders.
func TestUDPTrains(t *testing.T) {
	everyUDPWay(t, func(t *testing.T, s *Stack) {
		a := associate(t, s)
		echo, burst := s.servePackets(t, EchoPacket), s.servePackets(t, Burst)
		sent := time.Now()
		for i := range 40 {
			put(t, a, echo, nth(i, 1200-i%2*100))
		}
		got := gatherSome(a, 40, func(int) time.Time { return sent })
		got.want(t, "the app", 40, true)
		ask := BurstRequest{Count: 40, Size: 1200, Last: 77}
		put(t, a, burst, ask.bytes())
		for i := range ask.Count {
			if p, _, err := get(a, soon); err != nil || string(p) != string(ask.Packet(i)) {
				t.Fatalf("the %d. of a burst is %d bytes, %v", i, len(p), err)
			}
		}
	})
}

// TestUDP64Outstanding: as many echoes at once, all of which come back.
func TestUDP64Outstanding(t *testing.T) {
	everyUDPWay(t, func(t *testing.T, s *Stack) {
		e := echoes{c: associate(t, s), to: packetAddr(s.servePackets(t, EchoPacket)), outstanding: 64, size: 1200}
		got := e.run(t, func(sent int) bool { return sent < 640 })
		got.want(t, "the app", 640, false)
		s.wantNoDrops(t)
	})
}

// TestHostile25_ManyDestinations: 256 at once, all of which answer.
func TestHostile25_ManyDestinations(t *testing.T) {
	everyUDPWay(t, func(t *testing.T, s *Stack) {
		const n = 256
		a := associate(t, s)
		var addrs []string
		for range n {
			addrs = append(addrs, s.servePackets(t, EchoPacket))
		}
		count, began := s.exchanges(), time.Now()
		for i, addr := range addrs {
			put(t, a, addr, nth(i, 100))
		}
		got := gatherSome(a, n, func(int) time.Time { return began })
		got.want(t, "the app", n, false)
		t.Logf("%d destinations took %v and %d exchanges", n, got.quantile(1), count())
		if took := got.quantile(1); s.config.Memory != nil && took > 2*s.rtt()+time.Second {
			t.Errorf("%d destinations took %v", n, took)
		}
		s.wantNoDrops(t)
	})
}

// TestHostile25_TenThousandDestinations, five hundred in a second: one of them stays
// in use and keeps its flow, and another association can open its own.
func TestHostile25_TenThousandDestinations(t *testing.T) {
	t.Parallel()
	const live, other, sink = "live.test:7", "other.test:7", "sink.test:7"
	for _, scripts := range []int{0, 2} {
		c := StackConfig{Scripts: scripts, Node: func(c *exit.Config) {
			near := c.Dialer
			c.Dialer = dialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
				switch addr[0] {
				case 'd':
					addr = sink
				case 'b':
					addr = other
				}
				return near.DialContext(ctx, network, addr)
			})
		}}
		t.Run(fmt.Sprintf("%d scripts", scripts), func(t *testing.T) {
			virtual(t, c, func(t *testing.T, s *Stack) {
				var sources senders
				s.servePacketsAt(t, live, sources.echo)
				s.servePacketsAt(t, other, EchoPacket)
				s.servePacketsAt(t, sink, func(net.PacketConn, net.Addr, []byte) {})
				a, b := associate(t, s), associate(t, s)
				wantEcho(t, a, live, []byte("hello"))
				most, all := 0, crowd(10_000)
				for i := range all {
					put(t, a, fmt.Sprintf("d%d.test:7", i), nth(i, 100))
					if i%100 == 99 {
						put(t, a, live, nth(i, 100))
						most = max(most, int(s.UDP.FlowsOpen.Load()))
						time.Sleep(200 * time.Millisecond)
					}
					if i%1000 == 999 {
						put(t, b, fmt.Sprintf("b%d.test:7", i), nth(i, 100))
					}
				}
				began := time.Now()
				if others := gather(b, func(int) time.Time { return began }); len(others.seen) != all/1000 {
					t.Errorf("of the other's %d destinations %d answered", all/1000, len(others.seen))
				}
				got := gather(a, func(int) time.Time { return began })
				wantEcho(t, a, live, []byte("still there"))
				t.Logf("the live one answered %d of %d; the node had %d sessions, refused %d; dropped %v and %v",
					len(got.seen), all/100, s.Node.Stats().Sessions, s.Node.Stats().Refused, dropped(s.UDP), dropped(s.NodeUDP))
				if n := sources.count(); n != 1 || len(got.seen) < all/100*9/10 {
					t.Errorf("the live one answered %d of %d, and was sent to from %d sockets", len(got.seen), all/100, n)
				}
				if most > 256+10 {
					t.Errorf("the proxy had %d flows", most)
				}
			})
		})
	}
}

// senders is who sent to a target.
type senders struct {
	mu  sync.Mutex
	who map[string]int
}

// echo notes the sender, and sends back what came.
func (s *senders) echo(c net.PacketConn, from net.Addr, p []byte) {
	s.mu.Lock()
	if s.who == nil {
		s.who = make(map[string]int)
	}
	s.who[from.String()]++
	s.mu.Unlock()
	EchoPacket(c, from, p)
}

func (s *senders) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.who)
}

// TestUDPHangingDial: a destination that cannot be reached for ten seconds, and
// one whose name is never found, hold up nobody.
func TestUDPHangingDial(t *testing.T) {
	t.Parallel()
	for _, scripts := range []int{0, 1} {
		c := StackConfig{Scripts: scripts, Node: func(c *exit.Config) {
			near := c.Dialer
			c.Dialer = dialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
				switch host, _, _ := net.SplitHostPort(addr); host {
				case "hang.test":
					<-ctx.Done()
					return nil, ctx.Err()
				case "nowhere.test":
					return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
				}
				return near.DialContext(ctx, network, addr)
			})
		}}
		virtual(t, c, func(t *testing.T, s *Stack) {
			addr := s.servePackets(t, EchoPacket)
			a, b := associate(t, s), associate(t, s)
			for range 2 {
				for _, hung := range []string{"hang.test:7", "nowhere.test:7"} {
					put(t, a, hung, []byte("anybody"))
				}
				for i, c := range []*Association{a, b, a} {
					if took := wantEcho(t, c, addr, nth(i, 100)); took > s.rtt()+100*time.Millisecond {
						t.Errorf("%d scripts: an echo beside took %v", scripts, took)
					}
					time.Sleep(time.Second)
				}
			}
			wantSilence(t, a, time.Minute)
		})
	}
}

// rtt is what an exchange takes at least.
func (s *Stack) rtt() time.Duration {
	if s.Relay != nil {
		return rtt
	}
	return 0
}

// TestHostile29_Associations: a hundred of them at once to one target, each of
// which hears its own.
func TestHostile29_Associations(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
		addr := s.servePackets(t, EchoPacket)
		var as []*Association
		relays := make(map[string]bool)
		for i := range 100 {
			a := associate(t, s)
			as, relays[a.Relay.String()] = append(as, a), true
			put(t, a, addr, nth(i, 50))
		}
		if len(relays) != len(as) {
			t.Errorf("%d addresses for %d associations", len(relays), len(as))
		}
		for i, a := range as {
			if p, from, err := get(a, soon); err != nil || from != addr || numberOf(p) != i {
				t.Errorf("association %d got %d of %s, %v", i, numberOf(p), from, err)
			}
		}
	})
}

// TestHostile27_Strangers: what somebody else sends to the node's socket is not
// delivered.
func TestHostile27_Strangers(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{}, func(t *testing.T, s *Stack) {
		var socket atomic.Value
		addr := s.servePackets(t, func(c net.PacketConn, from net.Addr, p []byte) {
			socket.Store(from)
			EchoPacket(c, from, p)
		})
		a := associate(t, s)
		wantEcho(t, a, addr, []byte("hello"))
		stranger, err := s.ListenPacket()
		check(t, err)
		defer stranger.Close()
		_, err = stranger.WriteTo([]byte("psst"), socket.Load().(net.Addr))
		check(t, err)
		wantSilence(t, a, soon)
	})
}
