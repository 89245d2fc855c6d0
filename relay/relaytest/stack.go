package relaytest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"relaymux/mux"
	"relaymux/mux/gso"
	"relaymux/mux/link"
	"relaymux/mux/secret"
	"relaymux/mux/stats"
	"relaymux/relay"
	"relaymux/relay/exit"
	"relaymux/relay/fronted"
	"relaymux/relay/h3"
	"relaymux/socks"
)

// The keys of a Stack.
const (
	AuthKey    = "auth-key-of-the-script"
	TunnelKey  = "tunnel-key-of-the-node"
	LinkSecret = "a secret of the client and the node alone"
)

// StackConfig says which program to put together. The zero value is a proxy
// that goes straight to a node, on the loopback interface, without TLS.
type StackConfig struct {
	// Memory is the network that all parts are on; nil is loopback. In memory
	// all time is virtual inside a testing/synctest bubble.
	Memory *Network

	Scripts   int           // deployments of the emulated relay that are scripts
	Workers   int           // and that carry bytes; without either all goes straight to the node
	Link      bool          // the native link, not the JSON wire
	Slots     int           // of each deployment; 0 is 30
	RTT       time.Duration // of the exchanges of the relay, from the first on; Relay.Set changes it
	Confirmed bool
	Users     []socks.User
	TLS       bool   // towards the node, and towards the relay if it only has workers
	HTTP      string // that the client speaks, as in its config; "3" and "auto" want TLS; in memory TCP is said to have BBR
	Early     bool   // h3.Config.Early
	Mortal    bool   // Stack.RestartNode works; in memory only
	IPv6      bool   // all parts are on ::1, not on 127.0.0.1

	// Dial is how the client connects over TCP; nil is by the Stack's network.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Foreign is served where else the node would be, if not nil: a node of
	// another program, or one that comes and goes. Stack.Node is nil then.
	Foreign http.Handler

	Mux   func(*mux.Config)  // changes the client's settings, if not nil
	Node  func(*exit.Config) // likewise
	UDP   func(*socks.UDP)   // likewise
	Relay func(*RelayConfig) // likewise
	Log   *slog.Logger       // nil is silence
}

// A Stack is the whole program in one process: the proxy, the mux, the
// emulated relay if there is one, and the node.
type Stack struct {
	Proxy string     // address of the proxy's port
	Relay *Relay     // nil without scripts
	Node  *exit.Node // nil with StackConfig.Foreign
	Exit  *url.URL   // where the node is served
	Mux   *mux.Mux
	Stats *stats.Mux
	UDP   *stats.UDP // of the proxy and the mux

	NodeUDP        *stats.UDP // of the node
	QUIC, NodeQUIC *stats.UDP // of HTTP/3, at either end

	config StackConfig
	parts  errgroup.Group
	ctx    context.Context // of the node and the relay
	stop   context.CancelFunc
	socks  *socks.Server
	ds     []mux.Deployment

	settings mux.Config // of Mux

	mortal    *mortalListener // of the node, if it is one
	nodeStop  context.CancelFunc
	nodeEnded chan struct{} // the node has stopped
}

// NewStack starts a Stack, which the end of the test stops.
func NewStack(t testing.TB, c StackConfig) *Stack {
	t.Helper()
	if c.Slots == 0 {
		c.Slots = 30
	}
	s := &Stack{config: c, Stats: new(stats.Mux), UDP: new(stats.UDP), NodeUDP: new(stats.UDP), QUIC: new(stats.UDP), NodeQUIC: new(stats.UDP)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Errorf("stopping the stack: %v", err)
		}
	})
	for _, start := range []func() error{s.startNode, s.startRelay, s.startMux, s.startProxy} {
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *Stack) startNode() error {
	ln, err := s.Listen()
	if err != nil {
		return err
	}
	scheme := "http"
	if s.config.Foreign != nil {
		s.parts.Go(func() error { return serveForeign(s.ctx, ln, s.config.Foreign) })
	} else if scheme, err = s.startOurNode(ln); err != nil {
		return err
	}
	s.Exit = &url.URL{Scheme: scheme, Host: ln.Addr().String()}
	return s.addWay()
}

// startOurNode serves a node of ours on ln, and returns its URL's scheme.
func (s *Stack) startOurNode(ln net.Listener) (scheme string, err error) {
	c := exit.Config{
		Key: secret.New(TunnelKey), Policy: exit.Policy{AllowPrivate: true}, Log: s.config.Log,
		UDP: exit.UDP{GSO: true, Stats: s.NodeUDP},
	}
	if m := s.config.Memory; m != nil {
		c.Dialer = dialFunc(m.Dial)
	}
	if s.config.Link {
		c.Clients = []link.Client{{Name: "stack", Secret: link.NewSecret(LinkSecret)}}
	}
	if s.config.Node != nil {
		s.config.Node(&c)
	}
	if s.Node, err = exit.New(c); err != nil {
		return "", err
	}
	scheme = "http"
	if s.config.TLS && s.config.Scripts == 0 {
		scheme = "https"
	}
	server, err := exit.NewServer(s.Node, exit.TLS{Plain: scheme == "http", SelfSigned: scheme == "https"})
	if err != nil {
		return "", err
	}
	if s.config.HTTP == "3" || s.config.HTTP == "auto" {
		q := exit.QUIC{Yield: s.config.Memory != nil, UDP: gso.Options{GSO: true, GRO: true, Stats: s.NodeQUIC}}
		if m := s.config.Memory; m != nil {
			if q.Socket, err = m.ListenPacket(ln.Addr().String()); err != nil {
				return "", err
			}
		}
		if err := server.ListenQUIC(ln.Addr(), q); err != nil {
			return "", err
		}
	}
	if s.config.Mortal {
		s.mortal = &mortalListener{Listener: ln}
		ln = s.mortal
	}
	var ctx context.Context
	ctx, s.nodeStop = context.WithCancel(s.ctx)
	ended := make(chan struct{})
	s.nodeEnded = ended
	s.parts.Go(func() error { defer close(ended); return server.Serve(ctx, ln) })
	return scheme, nil
}

// serveForeign serves h on ln until ctx ends, then closes both.
func serveForeign(ctx context.Context, ln net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the foreign node: %w", err)
	}
	return nil
}

// addWay makes the deployments by which the node is reached: itself, or scripts
// that the Relay will serve.
func (s *Stack) addWay() error {
	if s.config.Scripts+s.config.Workers == 0 {
		return s.addDeployment("direct", TunnelKey, s.Exit)
	}
	rc := RelayConfig{AuthKey: AuthKey, TunnelKey: TunnelKey, Node: s.Exit, Seed: 1}
	for i := range s.config.Scripts {
		rc.Deployments = append(rc.Deployments, fmt.Sprintf("d%d", i))
	}
	for i := range s.config.Workers {
		rc.Workers = append(rc.Workers, fmt.Sprintf("w%d", i))
	}
	switch m := s.config.Memory; {
	case m != nil:
		rc.Transport = m.Transport()
	case s.config.TLS:
		rc.Transport = &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 256,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	}
	if s.config.Relay != nil {
		s.config.Relay(&rc)
	}
	s.Relay = NewRelay(rc)
	s.Relay.Set(func(k *Knobs) { k.RTT = s.config.RTT })
	return nil
}

func (s *Stack) startRelay() error {
	if s.Relay == nil {
		return nil
	}
	ln, err := s.Listen()
	if err != nil {
		return err
	}
	scheme := "http"
	if s.config.TLS && s.config.Scripts == 0 {
		scheme = "https"
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{Certificate()}})
	}
	s.parts.Go(func() error { return ServeRelay(s.ctx, ln, s.Relay) })
	for _, id := range s.Relay.config.Deployments {
		u := &url.URL{Scheme: scheme, Host: ln.Addr().String(), Path: "/macros/s/" + id + "/exec"}
		if err := s.addDeployment(id, AuthKey, u); err != nil {
			return err
		}
	}
	for _, id := range s.Relay.config.Workers {
		u := &url.URL{Scheme: scheme, Host: ln.Addr().String(), Path: "/w/" + id}
		key := TunnelKey // the JSON wire's key is the node's, for a worker leaves it as it is
		if s.config.Link {
			key = AuthKey
		}
		if err := s.addDeployment(id, key, u); err != nil {
			return err
		}
	}
	return nil
}

// Certificate is one that nobody trusts.
func Certificate() tls.Certificate {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return s.TLS.Certificates[0]
}

func (s *Stack) addDeployment(name, key string, u *url.URL) error {
	dial := s.config.Dial
	if dial == nil {
		dial = s.Dial
	}
	t, err := s.transport(fronted.Config{
		Name: name, URL: u, Key: secret.New(key), InsecureSkipVerify: s.config.TLS, HTTP: s.config.HTTP, Dial: dial})
	if err != nil {
		return err
	}
	s.ds = append(s.ds, mux.Deployment{
		Name: name, Key: secret.New(key), Script: t.Script(), Link: s.config.Link, Transport: t, Account: mux.NewAccount(s.config.Slots, name)})
	return nil
}

func (s *Stack) transport(c fronted.Config) (carrier, error) {
	q := h3.Config{Config: c, UDP: gso.Options{GSO: true, GRO: true, Stats: s.QUIC}, Early: s.config.Early, Yield: s.config.Memory != nil, Log: s.config.Log}
	if m := s.config.Memory; m != nil {
		q.Listen = func(context.Context) (net.PacketConn, error) { return m.ListenPacket("127.0.0.1:0") }
	}
	switch s.config.HTTP {
	case "3":
		return h3.New(q)
	case "auto":
		return h3.NewAuto(q)
	}
	return fronted.New(c)
}

// A carrier is a transport of either kind.
type carrier interface {
	relay.Transport
	Script() bool
}

// stale is what users get.
const stale = 3 * time.Second

func (s *Stack) startMux() error {
	c := mux.Config{
		Deployments: s.ds, MaxOps: 50, MaxBytes: 4 << 20,
		CoalesceStep: 10 * time.Millisecond, CoalesceMax: time.Second,
		Memory: 256 << 20, Stale: stale, Log: s.config.Log, Stats: s.Stats, UDP: s.UDP,
	}
	if s.config.Link {
		c.Link = &mux.Link{Secret: link.NewSecret(LinkSecret), HedgePercent: 2, Grace: 2 * time.Minute}
	}
	if s.config.Mux != nil {
		s.config.Mux(&c)
	}
	s.settings = c
	s.Mux = mux.New(c)
	return nil
}

func (s *Stack) startProxy() error {
	ln, err := s.Listen()
	if err != nil {
		return err
	}
	s.Proxy = ln.Addr().String()
	udp := &socks.UDP{Open: socks.OpenUDP(s.Mux), Options: gso.Options{GSO: true, GRO: true, Buffer: 1 << 20, Stats: s.UDP}}
	if m := s.config.Memory; m != nil {
		udp.Listen = func(addr netip.Addr) (net.PacketConn, error) {
			return m.ListenPacket(netip.AddrPortFrom(addr, 0).String())
		}
	}
	if s.config.UDP != nil {
		s.config.UDP(udp)
	}
	s.socks = socks.New(socks.Config{
		Users: s.config.Users, Handle: socks.Carry(s.Mux, s.config.Confirmed), Dial: s.Mux.Dial, UDP: udp, Log: s.config.Log})
	s.parts.Go(func() error { return s.socks.Serve(ln) })
	return nil
}

// close stops all parts, the outer ones first.
func (s *Stack) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if s.socks != nil {
		done, cancel := context.WithCancel(ctx)
		cancel() // tests are over: whatever is open is to be cut
		_ = s.socks.Shutdown(done)
	}
	if s.Mux != nil {
		_ = s.Mux.Close(ctx)
	}
	for _, d := range s.ds {
		d.Transport.Close()
	}
	s.stop()
	return s.parts.Wait()
}
