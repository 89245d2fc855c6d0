// Package testca is a CA for tests, which is asked for certificates by ACME (RFC 8555):
// Pebble, Let's Encrypt's own for this purpose, in the test's process.
package testca

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// Goroutine is what stays when a CA has ended: it has no other end.
const Goroutine = "github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"

// A CA finds every name on loopback, and asks there at the ports that it was given.
type CA struct {
	Directory string         // its URL
	HTTPS     *x509.CertPool // for the directory
	HTTPSPEM  []byte         // the same in PEM
	Roots     *x509.CertPool // of what it issues
	Close     func()
}

// New starts a CA that asks at port80 by HTTP and at port443 by TLS, until the end of
// the test, which may not have parallel ones above it.
func New(t *testing.T, port80, port443 int) *CA {
	t.Helper()
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	checks := va.New(quiet, port80, port443, true, names(t), store)
	front := wfe.New(quiet, store, checks, issuer, []string{"ca.test"}, true, false, 1, 1)
	server := httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	c := &CA{Directory: server.URL + wfe.DirectoryPath, HTTPS: x509.NewCertPool(), Roots: x509.NewCertPool(), Close: server.Close}
	c.HTTPS.AddCert(server.Certificate())
	c.HTTPSPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	root, err := x509.ParseCertificate(issuer.GetRootCert(0).DER)
	if err != nil {
		t.Fatal(err)
	}
	c.Roots.AddCert(root)
	return c
}

// Hurry has the CAs of this test not wait and not refuse by chance, which each costs
// seconds.
func Hurry(t *testing.T) {
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
}

// names is the address of a name server for which every name is on loopback.
func names(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: ln, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			answer.Answer = append(answer.Answer, &dns.A{A: net.IPv4(127, 0, 0, 1),
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}})
		}
		_ = w.WriteMsg(answer)
	})}
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	done := make(chan struct{})
	go func() { defer close(done); _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
	return ln.Addr().String()
}
