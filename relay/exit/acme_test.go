package exit

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"golang.org/x/crypto/acme"

	"relaymux/mux/gso"
	"relaymux/relay/relaytest/testca"
)

// An ear hears what is logged.
type ear struct {
	slog.Handler
	lines chan string
}

func newEar() *ear { return &ear{slog.DiscardHandler, make(chan string, 64)} }

func (e *ear) Enabled(context.Context, slog.Level) bool { return true }

func (e *ear) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	fmt.Fprint(&b, r.Level, " ", r.Message)
	r.Attrs(func(a slog.Attr) bool { fmt.Fprint(&b, " ", a); return true })
	e.lines <- b.String()
	return nil
}

// hear waits for a line with part in it.
func (e *ear) hear(t *testing.T, part string) string {
	t.Helper()
	for {
		select {
		case line := <-e.lines:
			if strings.Contains(line, part) {
				return line
			}
			t.Log(line)
		case <-time.After(20 * time.Second):
			t.Fatalf("nothing is logged with %q", part)
		}
	}
}

const acmeName, acmeOther = "node.test.example", "www.test.example"

// An acmeRig is a server that gets its certificate from a CA.
type acmeRig struct {
	t       *testing.T
	ca      *testca.CA
	acme    ACME
	address string // of TCP and UDP
	port80  string // where the CA asks by HTTP
	server  *Server
	*ear
}

// newACMERig opens the ports, and a CA that asks there: by TLS, or by HTTP.
func newACMERig(t *testing.T, dir string, byHTTP bool) (*acmeRig, net.Listener, net.PacketConn) {
	t.Helper()
	ln, socket := portOfBoth(t)
	r := &acmeRig{t: t, ear: newEar(), address: ln.Addr().String(),
		acme: ACME{Domains: []string{acmeName, acmeOther}, Email: "me@test.example", Dir: dir}}
	port80 := portOf(closedPort(t))
	if byHTTP {
		var err error
		if r.acme.Port80, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		r.port80, port80 = r.acme.Port80.Addr().String(), portOf(r.acme.Port80.Addr())
	}
	r.ca = testca.New(t, port80, portOf(ln.Addr()))
	r.acme.Directory, r.acme.Roots = r.ca.Directory, r.ca.HTTPS
	return r, ln, socket
}

// serve runs the server until stop, or the end of the test.
func (r *acmeRig) serve(ln net.Listener, socket net.PacketConn) (stop func()) {
	r.t.Helper()
	s, err := NewServer(newRig(r.t, Config{Log: slog.New(r.ear)}).node, TLS{ACME: &r.acme})
	if err == nil {
		err = s.ListenQUIC(ln.Addr(), QUIC{Socket: socket})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.server = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	ended := false
	stop = func() {
		if cancel(); !ended {
			ended = true
			if err := <-done; err != nil {
				r.t.Errorf("Serve: %v", err)
			}
		}
	}
	r.t.Cleanup(stop)
	return stop
}

func portOf(a net.Addr) int { return a.(*net.TCPAddr).Port }

// portOfBoth opens one port in TCP and UDP.
func portOfBoth(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 20 { // the number may be somebody else's in UDP
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: portOf(ln.Addr())}); err == nil {
			return ln, gso.NewQUIC(u, gso.Options{Buffer: gso.BigBuffer})
		}
		ln.Close()
	}
	t.Fatal("no port is free in both")
	return nil, nil
}

// closedPort was open a moment ago.
func closedPort(t *testing.T) net.Addr {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr()
}

// shown is the certificate that a client gets who trusts the CA.
func (r *acmeRig) shown(name string, protocols ...string) (*x509.Certificate, error) {
	conn, err := tls.Dial("tcp", r.address, &tls.Config{ServerName: name, RootCAs: r.ca.Roots, NextProtos: protocols})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if p := conn.ConnectionState().NegotiatedProtocol; len(protocols) > 0 && p != protocols[0] {
		r.t.Errorf("%s is spoken, not %s", p, protocols[0])
	}
	return conn.ConnectionState().PeerCertificates[0], nil
}

// TestACME: the CA is asked, answered and believed, by either way; HTTP/3 has the same
// certificate; and the next start needs no CA.
func TestACME(t *testing.T) {
	testca.Hurry(t)
	for way, byHTTP := range map[string]bool{"tls-alpn-01": false, "http-01": true} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r, ln, socket := newACMERig(t, dir, byHTTP)
			stop := r.serve(ln, socket)
			r.hear(t, "INFO certificate from the CA domains=["+acmeName+" "+acmeOther+"] issuer=CN=Pebble")
			r.sameEverywhere()
			if byHTTP {
				r.hidesAtPort80()
			}
			if _, err := r.shown(acmeName, acme.ALPNProto); err == nil {
				t.Error("a challenge is answered when there is none")
			}
			stop()
			r.keeps(dir)

			r.ca.Close()
			ln, socket = portOfBoth(t)
			r.address = ln.Addr().String()
			if byHTTP {
				if r.acme.Port80, _ = net.Listen("tcp", "127.0.0.1:0"); r.acme.Port80 == nil {
					t.Fatal("no port")
				}
			}
			r.serve(ln, socket)()
			select {
			case line := <-r.lines:
				if strings.Contains(line, "CA") {
					t.Errorf("the second start logs %q", line)
				}
			default:
			}
		})
	}
}

// sameEverywhere checks that both names and all versions of HTTP have one certificate.
func (r *acmeRig) sameEverywhere() {
	r.t.Helper()
	first, err := r.shown(acmeName, "h2")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, protocol := range []string{"h2", "http/1.1"} {
		if c, err := r.shown(acmeOther, protocol); err != nil || !c.Equal(first) {
			r.t.Errorf("%s: %v", protocol, err)
		}
	}
	tr := &http3.Transport{TLSClientConfig: &tls.Config{ServerName: acmeOther, RootCAs: r.ca.Roots}}
	defer tr.Close()
	resp, err := (&http.Client{Transport: tr}).Get("https://" + r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
	if !resp.TLS.PeerCertificates[0].Equal(first) {
		r.t.Error("HTTP/3 has another certificate")
	}
	// Scanners come without a name, or with another one.
	conn, err := tls.Dial("tcp", r.address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	if !conn.ConnectionState().PeerCertificates[0].Equal(first) {
		r.t.Error("without a name there is another certificate")
	}
}

// hidesAtPort80: whoever is not the CA finds what there is at the node's own port.
func (r *acmeRig) hidesAtPort80() {
	r.t.Helper()
	for _, path := range []string{"/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/x", "/tunnel/link"} {
		resp, err := http.Get("http://" + r.port80 + path)
		if err != nil {
			r.t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound || string(text) != "404 page not found\n" {
			r.t.Errorf("%s: %d %q", path, resp.StatusCode, text)
		}
	}
}

// keeps checks that what has keys in it is its owner's alone.
func (r *acmeRig) keeps(dir string) {
	r.t.Helper()
	for _, path := range []string{ACMEFile(dir, r.ca.Directory), filepath.Join(acmeDir(dir, r.ca.Directory), "account.pem")} {
		info, err := os.Stat(path)
		if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			r.t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

// TestACMERenewal: a certificate of which a third or less is left serves on, until there
// is another.
func TestACMERenewal(t *testing.T) {
	testca.Hurry(t)
	dir := t.TempDir()
	r, ln, socket := newACMERig(t, dir, false)
	now := time.Now()
	old := oldCertificate(t, ACMEFile(dir, r.ca.Directory), now.Add(-3*time.Hour), now.Add(time.Hour), acmeName, acmeOther)
	certs, err := newACMECerts(r.acme, slog.New(r.ear))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := certs.get(&tls.ClientHelloInfo{ServerName: acmeName}); err != nil || !bytes.Equal(got.Certificate[0], old) {
		t.Errorf("what was kept is not shown: %v", err)
	}
	r.serve(ln, socket)
	r.hear(t, "certificate from the CA")
	first, err := r.shown(acmeName)
	if err != nil || bytes.Equal(first.Raw, old) {
		t.Errorf("after the renewal: %v", err)
	}
	if err := r.server.acme.renew(t.Context()); err != nil { // by an account that the CA knows
		t.Errorf("the next renewal: %v", err)
	}
	if c, err := r.shown(acmeName); err != nil || c.Equal(first) {
		t.Errorf("after the next renewal: %v", err)
	}
}

// oldCertificate writes one to path, and returns it.
func oldCertificate(t *testing.T, path string, from, to time.Time, names ...string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := certificateOf([][]byte{der}, key)
	if err == nil {
		err = keep(path, text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestACMEUnreachable: the log has the CA's own reason, and what to do; the node goes on,
// and ends at once when it is told to.
func TestACMEUnreachable(t *testing.T) {
	testca.Hurry(t)
	r, ln, socket := newACMERig(t, t.TempDir(), false)
	r.ca = testca.New(t, 1, portOf(closedPort(t)))
	r.acme.Directory, r.acme.Roots = r.ca.Directory, r.ca.HTTPS
	stop := r.serve(ln, socket)
	line := r.hear(t, "ERROR no certificate from the CA")
	for _, part := range []string{"the CA does not find this node at ", "test.example: acme: authorization error", "Failed to connect", "port 443 of each domain", "again_in=2m0s"} {
		if !strings.Contains(line, part) {
			t.Errorf("no %q in %s", part, line)
		}
	}
	if _, err := r.shown(acmeName); err == nil {
		t.Error("there is a certificate")
	}
	stop()
}

func TestACMETimes(t *testing.T) {
	now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	of := func(from, to time.Duration) *tls.Certificate {
		return &tls.Certificate{Leaf: &x509.Certificate{NotBefore: now.Add(from), NotAfter: now.Add(to)}}
	}
	const day = 24 * time.Hour
	for _, c := range []struct {
		cert *tls.Certificate
		want time.Duration
	}{{nil, 0}, {of(0, 90*day), 60 * day}, {of(-60*day, 30*day), 0}, {of(-60*day+time.Second, 30*day+time.Second), time.Second}, {of(-6*day, 0), -2 * day}} {
		if got := untilDue(c.cert, now); got != c.want {
			t.Errorf("due in %v, want %v", got, c.want)
		}
	}
	limited := func(seconds string) error {
		return fmt.Errorf("ordering: %w", &acme.Error{ProblemType: "urn:ietf:params:acme:error:rateLimited", Header: http.Header{"Retry-After": {seconds}}})
	}
	failed := errors.New("failed")
	for _, c := range []struct {
		err  error
		n    int
		want time.Duration
	}{{failed, 1, 2 * time.Minute}, {failed, 2, 8 * time.Minute}, {failed, 3, 32 * time.Minute}, {failed, 4, time.Hour}, {failed, 1000, time.Hour},
		{limited("1"), 1, time.Hour}, {limited("7200"), 1, 2 * time.Hour}, {limited("99999999"), 1, day}} {
		if got := retryAfter(c.err, c.n); got != c.want {
			t.Errorf("%v, %d: again in %v, want %v", c.err, c.n, got, c.want)
		}
	}
}

func TestACMEFiles(t *testing.T) {
	const directory = "https://ca.example:14000/dir"
	dir := t.TempDir()
	if got, want := ACMEFile(dir, directory), filepath.Join(dir, "acme", "ca.example_14000", "certificate.pem"); got != want {
		t.Errorf("got %s", got)
	}
	path, now := ACMEFile(dir, directory), time.Now()
	oldCertificate(t, path, now.Add(-time.Hour), now.Add(time.Hour), acmeName)
	if loadCertificate(path, []string{acmeName}) == nil || loadCertificate(path, []string{acmeName, acmeOther}) != nil {
		t.Error("a certificate is for the names in it")
	}
	key, err := loadAccount(dir, directory)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := loadAccount(dir, directory); err != nil || !key.(*ecdsa.PrivateKey).Equal(again) {
		t.Errorf("another account: %v", err)
	}
	account := filepath.Join(filepath.Dir(path), "account.pem")
	for _, text := range []string{"", "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"} {
		if err := os.WriteFile(account, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadAccount(dir, directory); err == nil || !strings.Contains(err.Error(), "remove it for a new account") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
