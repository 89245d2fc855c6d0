package fronted_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relaymux/relay"
	"relaymux/relay/fronted"
	"relaymux/relay/relaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	server = "127.0.0.1:80"
	node   = "http://127.0.0.1"
	script = "http://script.google.com/macros/s/DEPLOYMENT/exec" // with ConnectTo: server
)

// request is a body with a key that must turn up nowhere else.
var request = []byte(`{"k":"a-key-that-nobody-may-see-1234","t":"batch","ops":[]}`)

// rig is a network in memory with servers on it.
type rig struct {
	*testing.T
	net relaytest.Network
}

func newRig(t *testing.T) *rig { return &rig{T: t} }

// serve runs h at addr, over TLS if config is not nil, until the test ends.
func (r *rig) serve(addr string, config *tls.Config, h http.Handler) {
	r.Helper()
	l, err := r.net.Listen(addr)
	r.check(err)
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: config, Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if config != nil {
			_ = s.ServeTLS(l, "", "")
		} else {
			_ = s.Serve(l)
		}
	}()
	r.Cleanup(func() { s.Close(); <-ended })
}

// accept hands every connection to addr to f.
func (r *rig) accept(addr string, f func(net.Conn)) {
	r.Helper()
	l, err := r.net.Listen(addr)
	r.check(err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f(c)
		}
	}()
	r.Cleanup(func() { l.Close(); <-ended })
}

// takeRequest reads a whole request, if it is one: a connection that is closed with
// something unread is reset, and what was answered may be lost with it.
func takeRequest(c net.Conn) {
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err == nil {
		_, _ = io.Copy(io.Discard, req.Body)
	}
}

// transport is a Transport on the rig's network.
func (r *rig) transport(rawURL string, change func(*fronted.Config)) *fronted.Transport {
	r.Helper()
	u, err := url.Parse(rawURL)
	r.check(err)
	c := fronted.Config{Name: "test", URL: u, Dial: r.net.Dial}
	if rawURL == script {
		c.ConnectTo = server
	}
	if change != nil {
		change(&c)
	}
	t, err := fronted.New(c)
	r.check(err)
	r.Cleanup(t.Close)
	return t
}

// exchange is one exchange of request.
func (r *rig) exchange(t *fronted.Transport) (string, *relay.Failure) {
	r.Helper()
	answer, err := carry(r.Context(), t, request, nil)
	return string(answer), r.failure(err)
}

// carry is one exchange of body, whose answer is appended to room.
func carry(ctx context.Context, t *fronted.Transport, body, room []byte) ([]byte, error) {
	x := relay.Exchange{Body: body, Answer: room}
	err := t.Exchange(ctx, &x)
	return x.Answer, err
}

func (r *rig) failure(err error) *relay.Failure {
	r.Helper()
	if err == nil {
		return nil
	}
	f, ok := err.(*relay.Failure)
	if !ok {
		r.Fatalf("the error is a %T: %v", err, err)
	}
	return f
}

func (r *rig) check(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// answer is a handler that answers every request with status and text.
func answer(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// certificate is self-signed for name. The clock of a synctest bubble starts
// in the year 2000.
func certificate(t *testing.T, name string, notAfter time.Time) (*tls.Config, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, leaf
}

// forever is a date that no test's clock reaches.
func forever() time.Time { return time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) }

func poolOf(c *x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c)
	return p
}

// dialFails is a Dial that fails with err.
func dialFails(err error) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) { return nil, err }
}

func (r *rig) parse(rawURL string) *url.URL {
	r.Helper()
	u, err := url.Parse(rawURL)
	r.check(err)
	return u
}
