package h3

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"go.uber.org/goleak"

	"relaymux/mux/gso"
	"relaymux/mux/stats"
	"relaymux/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rig is a server on loopback and what a transport needs to reach it.
type rig struct {
	testing.TB
	tls     *tls.Config
	leaf    *x509.Certificate
	to      *net.UDPAddr
	st      stats.UDP // the server's
	handler http.Handler
	key     quic.StatelessResetKey

	socket    *net.UDPConn
	transport *quic.Transport
	server    *http3.Server
	ended     chan struct{}
}

func newRig(t testing.TB, h http.HandlerFunc) *rig {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	r := &rig{TB: t, handler: h, to: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	r.check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"node.test"},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	r.check(err)
	r.leaf, err = x509.ParseCertificate(der)
	r.check(err)
	r.tls = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *rig) check(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// start opens the rig's port, and any at first.
func (r *rig) start() {
	r.Helper()
	var err error
	r.socket, err = net.ListenUDP("udp", r.to)
	r.check(err)
	r.to = r.socket.LocalAddr().(*net.UDPAddr)
	pc := gso.NewQUIC(r.socket, gso.Options{GSO: true, GRO: true, Buffer: gso.BigBuffer, Stats: &r.st})
	r.transport = &quic.Transport{Conn: pc, StatelessResetKey: &r.key}
	ln, err := r.transport.ListenEarly(http3.ConfigureTLSConfig(r.tls), &quic.Config{Allow0RTT: true, InitialStreamReceiveWindow: 8 << 20})
	r.check(err)
	r.server = &http3.Server{Handler: r.handler}
	r.ended = make(chan struct{})
	go func(s *http3.Server, ended chan struct{}) {
		defer close(ended)
		_ = s.ServeListener(ln)
	}(r.server, r.ended)
}

// kill ends the server without a word to anybody.
func (r *rig) kill() {
	r.socket.Close()
	r.transport.Close()
	r.server.Close()
	<-r.ended
}

// forget makes the server start anew with other keys of its tickets.
func (r *rig) forget() { r.tls = &tls.Config{Certificates: r.tls.Certificates} }

// config is of a transport that reaches the server as node.test.
func (r *rig) config() Config {
	c := Config{UDP: gso.Options{GSO: true, GRO: true}}
	c.Name, c.URL, c.ConnectTo = "test", &url.URL{Scheme: "https", Host: "node.test"}, r.to.String()
	c.RootCAs = x509.NewCertPool()
	c.RootCAs.AddCert(r.leaf)
	return c
}

func (r *rig) transportOf(change func(*Config)) *Transport {
	r.Helper()
	c := r.config()
	if change != nil {
		change(&c)
	}
	t, err := New(c)
	r.check(err)
	r.Cleanup(t.Close)
	return t
}

// link carries a message of the link.
func (r *rig) link(t *Transport, message string) (string, *relay.Failure) {
	r.Helper()
	return r.carry(r.Context(), t, &relay.Exchange{Body: []byte(message), Binary: true})
}

func (r *rig) carry(ctx context.Context, t *Transport, x *relay.Exchange) (string, *relay.Failure) {
	r.Helper()
	err := t.Exchange(ctx, x)
	if err == nil {
		return string(x.Answer), nil
	}
	f, ok := err.(*relay.Failure)
	if !ok {
		r.Fatalf("the error is a %T: %v", err, err)
	}
	return "", f
}

// must is link, whose answer is its message.
func (r *rig) must(t *Transport, message string) {
	r.Helper()
	if got, f := r.link(t, message); f != nil || got != message {
		r.Fatalf("%q came back as %.100q, %v", message, got, f)
	}
}

// echo answers with the request.
func echo(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	w.Header().Set("Content-Type", req.Header.Get("Content-Type"))
	_, _ = w.Write(body)
}

func sum(p []byte) [sha256.Size]byte { return sha256.Sum256(p) }

func random(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.Read(p)
	return p
}

// A road is a NAT between a transport and the server: what comes in by its one side
// goes out by a port of the other, which may change.
type road struct {
	near *net.UDPConn
	to   *net.UDPAddr

	mu     sync.Mutex
	far    *net.UDPConn
	client *net.UDPAddr
	cut    bool
	held   sync.Mutex // keeps back what comes down while it is locked
	work   sync.WaitGroup
}

func newRoad(r *rig) *road {
	r.Helper()
	near, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	r.check(err)
	return newRoadFrom(r, near)
}

// newRoadFrom is newRoad, whose one side is near.
func newRoadFrom(r *rig, near *net.UDPConn) *road {
	r.Helper()
	w := &road{near: near, to: r.to}
	w.turn(r)
	w.work.Go(w.up)
	r.Cleanup(func() {
		near.Close()
		w.far.Close()
		w.work.Wait()
	})
	return w
}

// turn lets the road have another port from now on.
func (w *road) turn(r *rig) {
	r.Helper()
	far, err := net.DialUDP("udp", nil, w.to)
	r.check(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.far != nil {
		w.far.Close()
	}
	w.far = far
	w.work.Go(func() { w.down(far) })
}

// block lets nothing through any more.
func (w *road) block() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
}

func (w *road) up() {
	b := make([]byte, 2048)
	for {
		n, from, err := w.near.ReadFromUDP(b)
		if err != nil {
			return
		}
		w.mu.Lock()
		w.client = from
		if !w.cut {
			_, _ = w.far.Write(b[:n])
		}
		w.mu.Unlock()
	}
}

func (w *road) down(far *net.UDPConn) {
	b := make([]byte, 2048)
	for {
		n, err := far.Read(b)
		if err != nil {
			if errors.Is(err, syscall.ECONNREFUSED) {
				continue
			}
			return
		}
		w.held.Lock()
		w.mu.Lock()
		if !w.cut {
			_, _ = w.near.WriteToUDP(b[:n], w.client)
		}
		w.mu.Unlock()
		w.held.Unlock()
	}
}
