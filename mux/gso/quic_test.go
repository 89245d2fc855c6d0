package gso

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"relaymux/mux/stats"
)

// quicTLS is what both ends of a test need.
func quicTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server = &tls.Config{NextProtos: []string{"test"}, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return server, &tls.Config{NextProtos: []string{"test"}, ServerName: "test", InsecureSkipVerify: true}
}

// A quicRig is two ends of quic-go, of which the server answers each stream with
// as many bytes as its request says, and closes it.
type quicRig struct {
	t      testing.TB
	conn   *quic.Conn // the client's
	served chan [sha256.Size]byte
}

// newQUICRig listens on in and connects to it from out, at to.
func newQUICRig(t testing.TB, in, out net.PacketConn, to net.Addr) *quicRig {
	t.Helper()
	serverTLS, clientTLS := quicTLS(t)
	config := &quic.Config{
		InitialStreamReceiveWindow: 8 << 20, InitialConnectionReceiveWindow: 8 << 20,
		MaxStreamReceiveWindow: 16 << 20, MaxConnectionReceiveWindow: 16 << 20,
	}
	g := &quicRig{t: t, served: make(chan [sha256.Size]byte, 1)}
	far, near := &quic.Transport{Conn: in}, &quic.Transport{Conn: out}
	ln, err := far.Listen(serverTLS, config)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.serve(ln)
	}()
	t.Cleanup(func() {
		if g.conn != nil {
			_ = g.conn.CloseWithError(0, "")
		}
		near.Close()
		ln.Close()
		far.Close()
		<-ended
		in.Close()
		out.Close()
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if g.conn, err = near.Dial(ctx, to, clientTLS, config); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *quicRig) serve(ln *quic.Listener) {
	conn, err := ln.Accept(context.Background())
	if err != nil {
		return
	}
	for {
		s, err := conn.AcceptStream(context.Background())
		if err != nil {
			return
		}
		var n int64
		if _, err := fmt.Fscanf(s, "%d\n", &n); err != nil {
			return
		}
		h := sha256.New()
		_, _ = io.Copy(io.MultiWriter(s, h), io.LimitReader(zeros{}, n))
		s.Close()
		g.served <- [sha256.Size]byte(h.Sum(nil))
	}
}

// zeros is what is to be read: each 8 KiB begin with their number.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i * i >> 3)
	}
	return len(p), nil
}

// fetch reads n bytes from the server, which must be those that it sent.
func (g *quicRig) fetch(n int64) {
	g.t.Helper()
	s, err := g.conn.OpenStreamSync(context.Background())
	if err != nil {
		g.t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(60 * time.Second))
	fmt.Fprintf(s, "%d\n", n)
	h := sha256.New()
	got, err := io.Copy(h, s)
	if err != nil || got != n {
		g.t.Fatalf("%d of %d bytes: %v", got, n, err)
	}
	s.Close()
	if sum := <-g.served; sum != [sha256.Size]byte(h.Sum(nil)) {
		g.t.Error("other bytes arrived than were sent")
	}
}

func quicSocket(t testing.TB, network string, o Options) (net.PacketConn, *net.UDPConn) {
	u := listen(t, network)
	_ = u.SetReadDeadline(time.Time{})
	o.Buffer = BigBuffer
	return NewQUIC(u, o), u
}

const quicBytes = 20 << 20

// What quic-go sends and reads through the sockets, with all offloads and without.
func TestQUIC(t *testing.T) {
	for _, network := range []string{"udp4", "udp6", "mapped", "any6"} {
		for _, o := range []Options{{GSO: true, GRO: true}, {GSO: true}, {GRO: true}, {}} {
			t.Run(fmt.Sprintf("%s/gso=%v,gro=%v", network, o.GSO, o.GRO), func(t *testing.T) {
				family, at := network, network
				switch network {
				case "mapped": // both families at both ends, and IPv4 between them
					family = "udp"
				case "any6":
					family, at = "udp", "udp6"
				}
				si, so := new(stats.UDP), new(stats.UDP)
				o.Stats = si
				in, u := quicSocket(t, family, o)
				o.Stats = so
				out, _ := quicSocket(t, family, o)
				g := newQUICRig(t, in, out, net.UDPAddrFromAddrPort(portOf(u, at)))
				g.fetch(quicBytes)
				expectTrains(t, "sent", &si.Sent, o.GSO && trainsHere)
				expectTrains(t, "read", &so.Received, o.GSO && o.GRO && trainsHere)
				for _, st := range []*stats.UDP{si, so} {
					for i := range st.Fallback {
						if n := st.Fallback[i].Load(); n > 0 {
							t.Errorf("%d trains fell back: %v", n, stats.Fallback(i))
						}
					}
				}
			})
		}
	}
}

// expectTrains checks that counted trains have more than one datagram, or that
// none have. Where nothing is counted, nothing is expected.
func expectTrains(t *testing.T, what string, c *stats.Trains, want bool) {
	t.Helper()
	trains, datagrams := c.Trains.Load(), c.Datagrams.Load()
	t.Logf("%s %d datagrams in %d trains", what, datagrams, trains)
	if !trainsHere {
		return
	}
	if c.Bytes.Load() < quicBytes || want != (datagrams >= 2*trains) {
		t.Errorf("%s %d datagrams in %d trains, %d bytes", what, datagrams, trains, c.Bytes.Load())
	}
}
