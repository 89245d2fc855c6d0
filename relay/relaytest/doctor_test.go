package relaytest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/gso"
	"relaymux/mux/link"
	"relaymux/mux/secret"
	"relaymux/relay/doctor"
	"relaymux/relay/exit"
	"relaymux/relay/fronted"
	"relaymux/relay/h3"
)

// A patient is a set-up for the doctor, in memory and virtual time: a node, and in
// front of it, unless it is to be reached straight, a relay.
type patient struct {
	via    string // "script", "worker", or empty: straight
	json   bool   // the JSON wire
	tls    bool   // straight, by HTTPS
	http   string
	secret string // the client's; empty is the right one
	key    string // the client's; empty is the right one
	target string

	node  func(*exit.Config)
	relay func(*RelayConfig)
	knobs func(*Knobs)
	front func(*fronted.Config)
	down  bool // the node
	path  Path // of datagrams

	shows *shown // there is a server that does nothing but show a certificate
}

// shown is a certificate for a name, valid from some time from now on, and what the
// client makes of it.
type shown struct {
	name  string
	from  time.Duration
	front func(*fronted.Config, *x509.Certificate)
}

// examined is what the doctor says of p.
func (p patient) examined(t *testing.T) (r *doctor.Report, stack *Stack) {
	t.Helper()
	if p.shows != nil {
		return p.shows.examined(t), nil
	}
	n := new(Network)
	n.SetPath("127.0.0.1", p.path, 1)
	stack = NewStack(t, StackConfig{Memory: n, Link: !p.json, TLS: p.tls, HTTP: p.http, Node: p.node})
	u := stack.Exit
	if p.down {
		u = &url.URL{Scheme: u.Scheme, Host: "127.0.0.1:1"}
	}
	key := "" // the link straight to a node wants none
	switch {
	case p.via != "":
		u, key = p.serveRelay(t, n, u), AuthKey
	case p.json:
		key = TunnelKey
	}
	if p.key != "" {
		key = p.key
	}
	f := fronted.Config{
		Name: "d", URL: u, Key: secret.New(key), HTTP: p.http, Dial: n.Dial, InsecureSkipVerify: p.tls, ExchangeLimit: 30 * time.Second}
	if p.front != nil {
		p.front(&f)
	}
	secret := LinkSecret
	if p.secret != "" {
		secret = p.secret
	}
	c := doctor.Client{
		Deployments: []doctor.Deployment{{Config: f, Link: !p.json}}, Secret: link.NewSecret(secret), Target: p.target,
		QUIC: h3.Config{UDP: gso.Options{}, Listen: func(context.Context) (net.PacketConn, error) { return n.ListenPacket("127.0.0.1:0") }},
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
	}
	began := time.Now()
	r = c.Examine(t.Context())
	if took := time.Since(began); took > 2*time.Minute {
		t.Errorf("it took %v", took)
	}
	return r, stack
}

// serveRelay starts the relay, and returns its deployment's url.
func (p patient) serveRelay(t *testing.T, n *Network, node *url.URL) *url.URL {
	t.Helper()
	c := RelayConfig{
		Deployments: []string{"script"}, Workers: []string{"worker"}, AuthKey: AuthKey, TunnelKey: TunnelKey,
		Node: node, Transport: n.Transport(), Seed: 1}
	if p.relay != nil {
		p.relay(&c)
	}
	r := NewRelay(c)
	r.Set(func(k *Knobs) { k.RTT = rtt })
	if p.knobs != nil {
		r.Set(p.knobs)
	}
	ln, err := n.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ServeRelay(ctx, ln, r) }()
	t.Cleanup(func() {
		stop()
		check(t, <-done)
	})
	u := &url.URL{Scheme: "http", Host: ln.Addr().String(), Path: "/macros/s/script/exec"}
	if p.via == "worker" {
		u.Path = "/w/worker"
	}
	return u
}

// legOf is the leg of that name.
func legOf(t *testing.T, r *doctor.Report, name string) doctor.Leg {
	t.Helper()
	for _, l := range r.Findings[0].Legs {
		if l.Name == name {
			return l
		}
	}
	if name == doctor.LegUDP { // of what was not looked at
		return doctor.Leg{}
	}
	t.Fatalf("there is no leg %q in %+v", name, r)
	return doctor.Leg{}
}

func says(body string) func(*RelayConfig) {
	return func(c *RelayConfig) { c.OnAnswer = func(string, []byte) []byte { return []byte(body) } }
}

// TestDoctor: each of these is told from the others, with what to do about it. With -v
// it prints what the doctor does.
func TestDoctor(t *testing.T) {
	const other = "another secret, which nobody told the node"
	page := func(words string) string { return "<!DOCTYPE html><html><body><p>" + words + "</p></body></html>" }
	egress := func(c *exit.Config) {
		c.Dialer, c.Policy = nil, exit.Policy{}
	}
	diagnosed := func(c *exit.Config) { c.Diagnostics = true }
	untrusted := func(*fronted.Config, *x509.Certificate) {}
	for _, c := range []struct {
		name   string
		p      patient
		leg    string
		status doctor.Status
		detail string // a part of what it says
		remedy string // likewise
	}{
		{"wrong AUTH_KEY of the script", patient{via: "script", key: "wrong"},
			doctor.LegRelay, doctor.Broken, "returned nothing", "AUTH_KEY"},
		{"wrong key of the node in the script", patient{via: "script", relay: func(c *RelayConfig) { c.TunnelKey = "wrong" }},
			doctor.LegNode, doctor.Broken, "tunnel HTTP 404", "TUNNEL_AUTH_KEY"},
		{"wrong NODE_KEY in the project's own script", patient{via: "script", relay: says(`{"e":"the node answers with status 404","code":"NODE_STATUS_404"}`)},
			doctor.LegNode, doctor.Broken, "status 404", "NODE_KEY"},
		{"wrong secret by a script", patient{via: "script", secret: other},
			doctor.LegSecret, doctor.Broken, "no such secret", "[[node.client]]"},
		{"wrong secret by a Worker", patient{via: "worker", secret: other},
			doctor.LegSecret, doctor.Broken, "as to a stranger", "[[node.client]]"},
		{"wrong secret, straight", patient{secret: other},
			doctor.LegSecret, doctor.Broken, "as to a stranger", "[[node.client]]"},
		{"wrong key, straight, by the JSON wire", patient{json: true, key: "wrong"},
			doctor.LegSecret, doctor.Broken, "as to a stranger", "key under [node]"},
		{"wrong secret by a Worker, with diagnostics", patient{via: "worker", secret: other, node: diagnosed},
			doctor.LegSecret, doctor.Broken, "the node says: link refused: the node knows no such secret", "[[node.client]]"},
		{"wrong secret, straight, with diagnostics", patient{secret: other, node: diagnosed},
			doctor.LegSecret, doctor.Broken, "the node says: link refused: the node knows no such secret", "[[node.client]]"},
		{"wrong key, straight, by the JSON wire, with diagnostics", patient{json: true, key: "wrong", node: diagnosed},
			doctor.LegSecret, doctor.Broken, "the node says: unauthorized", "key under [node]"},
		{"wrong key of the Worker", patient{via: "worker", key: "wrong"},
			doctor.LegRelay, doctor.Broken, "status 404", "the one that the Worker was given"},
		{"node down behind a script", patient{via: "script", down: true},
			doctor.LegNode, doctor.Broken, "Address unavailable", "is the node running"},
		{"node down behind the project's own script", patient{via: "script", relay: says(`{"e":"Exception: Address unavailable: https://node.example","code":"FETCH_FAILED"}`)},
			doctor.LegNode, doctor.Broken, "could not fetch", "is the node running"},
		{"node down behind a Worker", patient{via: "worker", down: true},
			doctor.LegNode, doctor.Broken, "status 502", "is the node running"},
		{"node down, straight", patient{down: true},
			doctor.LegConnect, doctor.Broken, "connection refused", "is the node running"},
		{"node down, straight, by either", patient{down: true, tls: true, http: "auto"},
			doctor.LegConnect, doctor.Broken, "connection refused", "is the node running"},
		{"script not deployed anew", patient{via: "script", relay: says(page("Script function not found: doPost"))},
			doctor.LegRelay, doctor.Broken, "not the relay's script", "New version"},
		{"quota page in German", patient{via: "script", relay: says(page("Dienst wurde an einem Tag zu oft aufgerufen: urlfetch"))},
			doctor.LegRelay, doctor.Broken, "quota", "midnight"},
		{"quota page in Persian", patient{via: "script", relay: says(page("سرویس در یک روز دفعات زیادی فراخوانی شده است"))},
			doctor.LegRelay, doctor.Broken, "quota", "midnight"},
		{"quota page of a Worker", patient{via: "worker", knobs: func(k *Knobs) { k.QuotaPage = true }},
			doctor.LegRelay, doctor.Broken, "1027", "midnight UTC"},
		{"TLS name wrong", patient{shows: &shown{"other.example", -time.Hour, trustIt}},
			doctor.LegTLS, doctor.Broken, "for another name; it shows CN=other.example", "server_name"},
		{"UDP blocked", patient{tls: true, http: "auto", path: Path{Lose: 1}},
			doctor.LegUDP, doctor.Warning, "no HTTP/3 there; all goes by TCP", "nothing has to be done"},
		{"UDP blocked, and nothing else wanted", patient{tls: true, http: "3", path: Path{Lose: 1}},
			doctor.LegUDP, doctor.Broken, "by UDP", `http = "auto"`},
		{"TCP blocked", patient{tls: true, http: "auto", front: func(c *fronted.Config) {
			c.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNRESET }
		}}, doctor.LegConnect, doctor.Warning, "connection reset", "HTTP/3 gets through"},
		{"private egress refused", patient{via: "script", target: "10.1.2.3:80", node: egress},
			doctor.LegDial, doctor.Broken, "egress policy", "allow_private"},
		{"certificate not yet valid", patient{shows: &shown{patientName, 48 * time.Hour, trustIt}},
			doctor.LegTLS, doctor.Broken, "not yet valid: CN=node.example", "set this machine's clock"},
		{"certificate of nobody known", patient{shows: &shown{patientName, -time.Hour, untrusted}},
			doctor.LegTLS, doctor.Broken, "unknown CA; it shows CN=node.example", "pin_sha256"},
		{"certificate of nobody known, and a script", patient{shows: &shown{patientName, -time.Hour, func(c *fronted.Config, _ *x509.Certificate) {
			c.URL = &url.URL{Scheme: "https", Host: patientName, Path: "/macros/s/x/exec"}
		}}}, doctor.LegTLS, doctor.Broken, "unknown CA; it shows CN=node.example", "try another address"},
		{"another certificate than the pin", patient{shows: &shown{patientName, -time.Hour, func(c *fronted.Config, _ *x509.Certificate) { c.PinSHA256 = make([]byte, 32) }}},
			doctor.LegTLS, doctor.Broken, "not the one of pin_sha256; it shows CN=node.example", "update pin_sha256"},
		{"slow relay", patient{via: "script", knobs: func(k *Knobs) { k.RTT = 8 * time.Second }},
			doctor.LegRelay, doctor.Warning, "slowly: 8.0 s", "another deployment"},
		{"relay slower than its limit", patient{via: "script", knobs: func(k *Knobs) { k.RTT = 90 * time.Second }},
			doctor.LegRelay, doctor.Broken, "no answer for 30s", "exchange_limit"},
		{"address of the script not filled in", patient{via: "script", front: func(c *fronted.Config) {
			c.URL = &url.URL{Scheme: "https", Host: "script.google.com", Path: "/macros/s/DEPLOYMENT_ID/exec"}
		}}, doctor.LegName, doctor.Broken, "DEPLOYMENT_ID", "[[deployment]]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				t.Cleanup(func() { time.Sleep(2 * time.Minute) }) // what was given up runs to its end
				r, _ := c.p.examined(t)
				l := legOf(t, r, c.leg)
				if l.Status != c.status || !strings.Contains(l.Detail, c.detail) || !strings.Contains(l.Remedy, c.remedy) {
					t.Errorf("got %+v", l)
				}
				t.Logf("\n%s", printed(t, r, c.leg))
				_, broken := r.FirstBroken()
				switch {
				case c.status == doctor.Broken && (broken == nil || broken.Name != c.leg):
					t.Errorf("the first that is broken is %+v", broken)
				case c.status == doctor.Warning && broken != nil:
					t.Errorf("%+v is broken", broken)
				}
				if udp := legOf(t, r, doctor.LegUDP); c.leg == doctor.LegConnect && c.status == doctor.Broken && (udp.Remedy != "" || udp.Millis > 0) {
					t.Errorf("there is no way, and yet %+v", udp)
				}
				if c.leg == doctor.LegTLS && !strings.Contains(l.Detail, "sha256 ") {
					t.Errorf("no fingerprint in %q", l.Detail)
				}
				wantNoSecret(t, r, other, LinkSecret, AuthKey, TunnelKey)
			})
		})
	}
}

// TestDoctorDoesNotWaitForUDP: where UDP is not answered that takes a second, not the
// whole limit of a handshake; and where it is slow but there, it is waited for.
func TestDoctorDoesNotWaitForUDP(t *testing.T) {
	for name, c := range map[string]struct {
		p      patient
		status doctor.Status
		most   time.Duration
	}{
		"refused":         {patient{down: true}, doctor.Skipped, time.Second},
		"blocked":         {patient{path: Path{Lose: 1}}, doctor.Warning, time.Second},
		"a slow way":      {patient{path: Path{Delay: 300 * time.Millisecond}}, doctor.OK, 2 * time.Second},
		"nothing but UDP": {patient{http: "3", path: Path{Lose: 1}}, doctor.Broken, 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				t.Cleanup(func() { time.Sleep(time.Minute) })
				c.p.tls, c.p.http = true, cmp.Or(c.p.http, "auto")
				began := time.Now()
				r, _ := c.p.examined(t)
				if took := time.Since(began); took > c.most {
					t.Errorf("it took %v", took)
				}
				if l := legOf(t, r, doctor.LegUDP); l.Status != c.status {
					t.Errorf("got %+v", l)
				}
			})
		})
	}
}

// printed is what a person is shown of a leg.
func printed(t *testing.T, r *doctor.Report, leg string) string {
	t.Helper()
	var text bytes.Buffer
	check(t, r.WriteTable(&text))
	lines := strings.Split(text.String(), "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, "  "+leg+" ") {
			continue
		}
		if i+1 < len(lines) && strings.Contains(lines[i+1], " -> ") {
			line += "\n" + lines[i+1]
		}
		return line
	}
	return ""
}

// wantNoSecret checks what is printed of r.
func wantNoSecret(t *testing.T, r *doctor.Report, secrets ...string) {
	t.Helper()
	var text bytes.Buffer
	check(t, r.WriteTable(&text))
	check(t, r.WriteJSON(&text))
	for _, s := range secrets {
		if strings.Contains(text.String(), s) {
			t.Errorf("a secret is printed: %s", &text)
		}
	}
}

// TestDoctorOfTheHealthy: nothing is found where nothing is, and each leg is there.
func TestDoctorOfTheHealthy(t *testing.T) {
	for name, p := range map[string]patient{
		"script": {via: "script"}, "worker": {via: "worker"}, "straight": {tls: true, http: "auto"}, "by HTTP/3": {tls: true, http: "3"},
		"JSON wire": {json: true}, "JSON wire by a script": {json: true, via: "script"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				t.Cleanup(func() { time.Sleep(time.Minute) })
				p.target = "127.0.0.1:7"
				n := 0
				p.node = func(c *exit.Config) {
					c.Dialer = dialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
						n++
						near, far := net.Pipe()
						go func() {
							_, _ = io.Copy(io.Discard, far)
							far.Close()
						}()
						return near, nil
					})
				}
				r, _ := p.examined(t)
				var text bytes.Buffer
				check(t, r.WriteTable(&text))
				if _, broken := r.FirstBroken(); broken != nil || n != 1 || !strings.HasSuffix(text.String(), "Nothing is broken.\n") {
					t.Errorf("%d connections of the node\n%s", n, &text)
				}
				var back doctor.Report
				text.Reset()
				check(t, r.WriteJSON(&text))
				if err := json.Unmarshal(text.Bytes(), &back); err != nil || len(back.Findings[0].Legs) != len(r.Findings[0].Legs) {
					t.Errorf("%v, %s", err, &text)
				}
				if l := legOf(t, r, doctor.LegSecret); l.Status != doctor.OK {
					t.Errorf("got %+v", l)
				}
			})
		})
	}
}

// examined is what the doctor says of a server at the usual port of patientName.
func (c *shown) examined(t *testing.T) *doctor.Report {
	t.Helper()
	cert := certificateFrom(t, c.name, time.Now().Add(c.from))
	n := new(Network)
	n.SetName(patientName, netip.MustParseAddr("127.0.0.1"))
	ln, err := n.Listen("127.0.0.1:443")
	check(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}}).HandshakeContext(t.Context())
			conn.Close()
		}
	}()
	defer func() { ln.Close(); <-done }()
	f := fronted.Config{Name: "d", URL: &url.URL{Scheme: "https", Host: patientName}, HTTP: "2", Dial: n.Dial, ExchangeLimit: 30 * time.Second}
	c.front(&f, cert.Leaf)
	client := doctor.Client{
		Deployments: []doctor.Deployment{{Config: f, Link: true}}, Secret: link.NewSecret(LinkSecret),
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
	}
	return client.Examine(t.Context())
}

const patientName = "node.example"

func trustIt(c *fronted.Config, cert *x509.Certificate) {
	c.RootCAs = x509.NewCertPool()
	c.RootCAs.AddCert(cert)
}

func certificateFrom(t *testing.T, name string, from time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: from, NotAfter: from.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(t, err)
	leaf, err := x509.ParseCertificate(der)
	check(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
