package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"relaymux/config"
)

// pairOf writes a certificate that is valid in this time, and its key.
func pairOf(t *testing.T, from, to time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// sound is a node's config in which nothing is wrong.
func sound(t *testing.T) *config.Config {
	now := time.Now()
	c := new(config.Config)
	c.Node.Listen = "127.0.0.1:0"
	c.Node.TLSCert, c.Node.TLSKey = pairOf(t, now.Add(-time.Hour), now.AddDate(1, 0, 0))
	c.Node.Key = config.NewSecret(rand.Text())
	c.Node.Clients = []config.Client{{Name: "laptop", Secret: config.NewSecret(rand.Text() + rand.Text())}}
	c.Node.Limits.Streams = 16
	return c
}

// byCA makes c one of a node with tls = "acme", which keeps its certificate in file.
func byCA(c *config.Config, file string) {
	c.Node.TLSCert, c.Node.TLSKey, c.Node.TLS = "", "", config.TLSACME
	c.Node.ACME = config.ACME{Domains: []string{"node.example.com"}, Challenge: config.Auto, HTTPListen: "127.0.0.1:0", CAFile: file}
}

// bothOf puts key and certificate into one file, as such a node does.
func bothOf(cert, key string) string {
	file := cert + ".both"
	var text []byte
	for _, path := range []string{key, cert} {
		part, err := os.ReadFile(path)
		if err != nil {
			panic(err)
		}
		text = append(text, part...)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		panic(err)
	}
	return file
}

func TestNode(t *testing.T) {
	now := time.Now()
	_, otherKey := pairOf(t, now, now.AddDate(1, 0, 0))
	for name, c := range map[string]struct {
		change         func(t *testing.T, c *config.Config)
		leg            string
		status         Status
		detail, remedy string
	}{
		"sound": {func(*testing.T, *config.Config) {}, LegCertificate, OK, "sha256 ", ""},
		"expired": {func(t *testing.T, c *config.Config) {
			c.Node.TLSCert, c.Node.TLSKey = pairOf(t, now.AddDate(-1, 0, 0), now.Add(-time.Hour))
		}, LegCertificate, Broken, "expired on", "renew"},
		"not yet valid": {func(t *testing.T, c *config.Config) {
			c.Node.TLSCert, c.Node.TLSKey = pairOf(t, now.Add(time.Hour), now.AddDate(1, 0, 0))
		}, LegCertificate, Broken, "valid from", "clock"},
		"expires soon": {func(t *testing.T, c *config.Config) {
			c.Node.TLSCert, c.Node.TLSKey = pairOf(t, now.Add(-time.Hour), now.Add(soon/2))
		}, LegCertificate, Warning, "days left", "renew"},
		"another key": {func(_ *testing.T, c *config.Config) { c.Node.TLSKey = otherKey },
			LegCertificate, Broken, "does not match", "of one pair"},
		"self-signed": {func(_ *testing.T, c *config.Config) { c.Node.TLSCert, c.Node.TLSKey, c.Node.SelfSigned = "", "", true },
			LegCertificate, Warning, "another one at each start", "relaymux init"},
		"no certificate from the CA yet": {func(t *testing.T, c *config.Config) { byCA(c, filepath.Join(t.TempDir(), "none")) },
			LegCertificate, Warning, "none from the CA yet", "port 80 of node.example.com must lead"},
		"a certificate from the CA": {func(t *testing.T, c *config.Config) {
			byCA(c, bothOf(c.Node.TLSCert, c.Node.TLSKey))
		}, LegCertificate, OK, "sha256 ", ""},
		"a certificate that the node has not renewed": {func(t *testing.T, c *config.Config) {
			byCA(c, bothOf(pairOf(t, now.Add(-time.Hour), now.Add(soon/2))))
		}, LegCertificate, Warning, "days left", "should have renewed"},
		"no place for it": {func(_ *testing.T, c *config.Config) { byCA(c, "") },
			LegCertificate, Broken, "no place", "[state]"},
		"port 80 of another program": {func(t *testing.T, c *config.Config) {
			byCA(c, bothOf(c.Node.TLSCert, c.Node.TLSKey))
			c.Node.ACME.HTTPListen = taken(t)
		}, LegPort80, Broken, "by another program", "ss -ltnp"},
		"port of another program": {func(t *testing.T, c *config.Config) { c.Node.Listen = taken(t) },
			LegPort, Broken, "by another program", "ss -ltnp"},
		"plain on a port in use": {func(t *testing.T, c *config.Config) {
			c.Node.TLSCert, c.Node.TLSKey, c.Node.Plain, c.Node.Listen = "", "", true, taken(t)
		}, LegPort, Warning, "in use", "ss -ltnp"},
		"no address of this machine": {func(_ *testing.T, c *config.Config) { c.Node.Listen = "192.0.2.1:8443" },
			LegPort, Broken, "192.0.2.1", "listen under [node]"},
		"a short key": {func(_ *testing.T, c *config.Config) { c.Node.Key = config.NewSecret("sixteen letters!") },
			LegKeys, Warning, "16 characters", "urandom"},
		"no client": {func(_ *testing.T, c *config.Config) { c.Node.Clients = nil },
			LegKeys, Warning, "0 clients", "[[node.client]]"},
		"a client": {func(*testing.T, *config.Config) {}, LegKeys, OK, "1 client, a key", ""},
		"two clients": {func(_ *testing.T, c *config.Config) { c.Node.Clients = append(c.Node.Clients, c.Node.Clients[0]) },
			LegKeys, OK, "2 clients, a key", ""},
		"egress": {func(*testing.T, *config.Config) {}, LegEgress, OK, "rule, not tried: ", ""},
		"private egress": {func(_ *testing.T, c *config.Config) { c.Node.Egress.AllowPrivate = true },
			LegEgress, Warning, "private addresses", "allow_private"},
		"egress rules": {func(_ *testing.T, c *config.Config) { c.Node.Egress.Deny = []string{"192.0.2.0/24"} },
			LegEgress, OK, "denied: 192.0.2.0/24", ""},
		"few descriptors": {func(_ *testing.T, c *config.Config) { c.Node.Limits.Streams = math.MaxInt32 },
			LegFiles, Warning, "descriptors", "LimitNOFILE"},
		"a clock that is late": {func(t *testing.T, c *config.Config) {
			if err := os.Chtimes(c.Node.TLSCert, now, now.Add(48*time.Hour)); err != nil {
				t.Fatal(err)
			}
		}, LegClock, Broken, "was written", "timedatectl"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := sound(t)
			c.change(t, cfg)
			r := Node(t.Context(), cfg, cfg.Node.ACME.CAFile) // where these cases have it
			for _, l := range r.Findings[0].Legs {
				switch {
				case l.Name == c.leg && (l.Status != c.status || !strings.Contains(l.Detail, c.detail) || !strings.Contains(l.Remedy, c.remedy)):
					t.Errorf("got %+v", l)
				case l.Name != c.leg && l.Status == Broken:
					t.Errorf("%+v is broken", l)
				}
			}
			if _, broken := r.FirstBroken(); (broken != nil) != (c.status == Broken) {
				t.Errorf("broken is %+v", broken)
			}
		})
	}
}

// taken is the address of a server that says nothing.
func taken(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return ln.Addr().String()
}
