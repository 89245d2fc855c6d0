package exit

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"relaymux/mux/gso"
	"relaymux/mux/stats"
	"relaymux/mux/wire"
)

// serveQUIC runs a server on loopback, with HTTP/3, until the test ends.
func serveQUIC(t *testing.T, r *rig, c TLS, q QUIC) (address string, s *Server) {
	t.Helper()
	s, err := NewServer(r.node, c)
	if err != nil {
		t.Fatal(err)
	}
	ln := both(t, s, q)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String(), s
}

// both opens a port for TCP and UDP.
func both(t *testing.T, s *Server, q QUIC) net.Listener {
	t.Helper()
	for range 20 { // the number may be somebody else's in UDP
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err = s.ListenQUIC(ln.Addr(), q); err == nil {
			return ln
		}
		t.Log(err)
		ln.Close()
	}
	t.Fatal("no port is free in both")
	return nil
}

// client speaks one version of HTTP.
func client(t *testing.T, version string) *http.Client {
	insecure := &tls.Config{InsecureSkipVerify: true}
	if version == "3" {
		tr := &http3.Transport{TLSClientConfig: insecure}
		t.Cleanup(func() { tr.Close() })
		return &http.Client{Transport: tr}
	}
	tr := &http.Transport{TLSClientConfig: insecure, Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(version == "1")
	tr.Protocols.SetHTTP2(version == "2")
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// One port and certificate, three versions, and the same to strangers in each.
func TestVersionsAlike(t *testing.T) {
	r := newRig(t, Config{})
	st := new(stats.UDP)
	address, s := serveQUIC(t, r, TLS{SelfSigned: true}, QUIC{UDP: gso.Options{GSO: true, GRO: true, Stats: st}})
	type answer struct {
		status int
		body   string
		header string
	}
	var first map[string]answer
	for _, version := range []string{"1", "2", "3"} {
		c := client(t, version)
		got := map[string]answer{}
		for _, ask := range []struct{ method, path, body string }{
			{"GET", "/", ""}, {"GET", "/tunnel/link", ""}, {"POST", "/tunnel/link", "x"}, {"POST", "/tunnel/batch", "{}"},
			{"HEAD", "/x", ""}, {"PUT", "/", "x"}, {"QUERY", "/tunnel/link", "x"}, {"QUERY", "/", "x"},
		} {
			req, err := http.NewRequestWithContext(t.Context(), ask.method, "https://"+address+ask.path, strings.NewReader(ask.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Fatalf("%s %s by %s: %v", ask.method, ask.path, version, err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.ProtoMajor != int(version[0]-'0') || fingerprint(&tls.Certificate{Certificate: [][]byte{resp.TLS.PeerCertificates[0].Raw}}) != s.Fingerprint() {
				t.Errorf("%v, HTTP/%d", err, resp.ProtoMajor)
			}
			var header []string
			for _, k := range slices.Sorted(maps.Keys(resp.Header)) {
				if k != "Date" && k != "Connection" {
					header = append(header, k+": "+resp.Header.Get(k))
				}
			}
			got[ask.method+" "+ask.path] = answer{resp.StatusCode, string(body), strings.Join(header, "\n")}
		}
		if first == nil {
			first = got
		}
		if !maps.Equal(got, first) || got["GET /"].status != 404 {
			t.Errorf("HTTP/%s answers %+v, HTTP/1 %+v", version, got, first)
		}
	}
	if st.Received.Datagrams.Load() == 0 {
		t.Error("nothing is counted")
	}
}

func TestAltSvc(t *testing.T) {
	address, _ := serveQUIC(t, newRig(t, Config{}), TLS{SelfSigned: true}, QUIC{AltSvc: true})
	for version, want := range map[string]string{"1": "h3=", "2": "h3=", "3": ""} {
		resp, err := client(t, version).Get("https://" + address + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Alt-Svc"); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("HTTP/%s: %q", version, got)
		}
	}
}

// A batch goes by HTTP/3 like by any other version, holds included.
func TestQUICBatch(t *testing.T) {
	r := newRig(t, Config{LongPoll: 50 * time.Millisecond})
	address, _ := serveQUIC(t, r, TLS{SelfSigned: true}, QUIC{})
	c := client(t, "3")
	post := func(ops ...wire.Op) string {
		t.Helper()
		resp, err := c.Post("https://"+address+pathBatch, "", bytes.NewReader(wire.AppendBatch(nil, testKey, false, ops)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status, err)
		}
		return string(got)
	}
	if got := post(connectData("echo.test", "x")); !strings.Contains(got, `"d":"eA=="`) {
		t.Error(got)
	}
	post(poll(r.open("silent.test"))) // held for its time
	big := strings.Repeat("0123456789abcdef", 40<<10)
	if got := post(connectData("sink.test", big)); !strings.Contains(got, "sid") {
		t.Errorf("%d bytes up: %.100s", len(big), got)
	}
}

func TestListenQUICErrors(t *testing.T) {
	r := newRig(t, Config{})
	plain, err := NewServer(r.node, TLS{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(r.node, TLS{SelfSigned: true})
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	udp := taken.LocalAddr().(*net.UDPAddr)
	for what, err := range map[string]error{
		"without TLS":      plain.ListenQUIC(&net.TCPAddr{IP: udp.IP}, QUIC{}),
		"on no TCP port":   s.ListenQUIC(udp, QUIC{}),
		"on a taken port":  s.ListenQUIC(&net.TCPAddr{IP: udp.IP, Port: udp.Port}, QUIC{}),
		"on a strange one": s.ListenQUIC(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, QUIC{}),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if s.quic != nil {
		t.Error("it would speak HTTP/3 after an error")
	}
}

// Files that change are read again for QUIC too.
func TestQUICCertReload(t *testing.T) {
	dir := t.TempDir()
	_, files := pemPair(t, dir)
	address, s := serveQUIC(t, newRig(t, Config{}), files, QUIC{})
	certificate := func() string {
		conn, err := quic.DialAddr(t.Context(), address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseWithError(0, "")
		return fingerprint(&tls.Certificate{Certificate: [][]byte{conn.ConnectionState().TLS.PeerCertificates[0].Raw}})
	}
	if got := certificate(); got != s.Fingerprint() {
		t.Errorf("certificate %s, not %s", got, s.Fingerprint())
	}
	second, _ := pemPair(t, dir)
	touch(t, files, 7)
	for want, start := fingerprint(&second), time.Now(); certificate() != want; {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the new certificate is not used")
		}
	}
}

// The limits of connections, of handshakes without a proof of address, and of
// windows, each at both sides.
func TestQUICLimits(t *testing.T) {
	q := &quicServer{grants: newGrants(100)}
	ctx, cancel := context.WithCancel(t.Context())
	for i := range quicConns {
		if _, err := q.enter(ctx, nil); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	if _, err := q.enter(ctx, nil); err == nil {
		t.Error("one connection too many")
	}
	cancel()
	for q.conns.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	a, b := new(quic.Conn), new(quic.Conn)
	if g := &q.grants; !g.grow(a, 60) || g.grow(b, 41) || !g.grow(a, 40) {
		t.Error("windows grow beyond their limit, or not up to it")
	}
	q.grants.ended(a)
	q.grants.ended(b)
	if !q.grants.grow(b, 100) {
		t.Error("windows of a connection that has ended are kept")
	}
}

// Under load a client must prove its address first, and then gets its answer.
func TestQUICRetry(t *testing.T) {
	address, s := serveQUIC(t, newRig(t, Config{}), TLS{SelfSigned: true}, QUIC{})
	asked := 0
	verify := s.quic.transport.VerifySourceAddress
	for !verify(nil) {
		asked++
	}
	if asked < freeHandshakes || asked > freeHandshakes+10 {
		t.Errorf("%d handshakes are free", asked)
	}
	resp, err := client(t, "3").Get("https://" + address + "/")
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
}

// A held request is answered when the server stops, and TCP's failure ends both.
func TestQUICStop(t *testing.T) {
	r := newRig(t, Config{})
	s, err := NewServer(r.node, TLS{SelfSigned: true})
	if err != nil {
		t.Fatal(err)
	}
	ln := both(t, s, QUIC{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	sid := r.open("silent.test")
	got := make(chan error, 1)
	go func() {
		resp, err := client(t, "3").Post("https://"+ln.Addr().String()+pathBatch, "", bytes.NewReader(wire.AppendBatch(nil, testKey, false, []wire.Op{poll(sid)})))
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		got <- err
	}()
	for r.node.Stats().Exchanges < 2 { // until the poll is held
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	cancel()
	if err := <-got; err != nil {
		t.Errorf("the held poll: %v", err)
	}
	if err := <-done; err != nil || time.Since(start) > shutdownLimit {
		t.Errorf("Serve: %v after %v", err, time.Since(start))
	}

	if s, err = NewServer(r.node, TLS{SelfSigned: true}); err != nil {
		t.Fatal(err)
	}
	ln = both(t, s, QUIC{})
	ln.Close()
	if err := s.Serve(t.Context(), ln); err == nil {
		t.Error("a closed listener is no error")
	}
}

// A recorder keeps what a client sends, and keeps it from the server if held.
type recorder struct {
	net.PacketConn
	held bool
	mu   sync.Mutex
	sent [][]byte
}

func (r *recorder) WriteTo(p []byte, to net.Addr) (int, error) {
	if !r.held {
		return r.PacketConn.WriteTo(p, to)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, bytes.Clone(p))
	return len(p), nil
}

// replay sends by c what was kept.
func (r *recorder) replay(t *testing.T, c net.Conn) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.sent {
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
	}
}

// A first flight that somebody has seen, and who cannot end the handshake, carries
// out nothing but what is a message of a link, which may come again.
func TestHostile59_QUICReplay(t *testing.T) {
	r := newRig(t, Config{Clients: clients("ann")})
	address, server := serveQUIC(t, r, TLS{SelfSigned: true}, QUIC{})
	defer func() { server.quic.transport.Close() }() // else the thief is waited for
	to, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"h3"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	first := requestsOf(t, &recorder{}, to, config)
	for _, s := range first {
		resp, err := s.ReadResponse()
		if err != nil || resp.StatusCode != http.StatusNotFound {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
	}
	before := r.node.Stats().Probes
	if before != uint64(len(first)) {
		t.Fatalf("%d requests", before)
	}
	seen := &recorder{held: true}
	requestsOf(t, seen, to, config)
	thief, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	for start := time.Now(); r.node.Stats().Probes == before; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatal("nothing was carried out")
		}
		seen.replay(t, thief)
	}
	time.Sleep(30 * time.Millisecond) // all came together
	if n := r.node.Stats().Probes; n != before+1 {
		t.Errorf("%d requests were carried out", n-before)
	}
}

// requestsOf begins a connection, if possible an early one, with a request for a
// page, and one that is like a message of a link.
func requestsOf(t *testing.T, socket *recorder, to net.Addr, config *tls.Config) (asked []*http3.RequestStream) {
	t.Helper()
	var err error
	if socket.PacketConn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: socket}
	conn, err := tr.DialEarly(t.Context(), to, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.CloseWithError(0, "")
		tr.Close()
		socket.Close()
	})
	h := (&http3.Transport{}).NewClientConn(conn)
	for _, ask := range [][2]string{{"GET", "/"}, {"QUERY", pathLink}} {
		s, err := h.OpenRequestStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), ask[0], "https://"+to.String()+ask[1], nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SendRequestHeader(req); err != nil {
			t.Fatal(err)
		}
		s.Close()
		asked = append(asked, s)
	}
	return asked
}
