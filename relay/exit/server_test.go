package exit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/wire"
)

// serve runs a server on loopback until the test ends.
func serve(t *testing.T, r *rig, c TLS) (address string, s *Server) {
	t.Helper()
	return serveBy(t, r, c, func(ln net.Listener) net.Listener { return ln })
}

// serveBy is serve by a listener that is made of the one on loopback.
func serveBy(t *testing.T, r *rig, c TLS, by func(net.Listener) net.Listener) (address string, s *Server) {
	t.Helper()
	s, err := NewServer(r.node, c)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, by(ln)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String(), s
}

func TestServePlain(t *testing.T) {
	r := newRig(t, Config{})
	address, s := serve(t, r, TLS{Plain: true})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	body := wire.AppendBatch(nil, testKey, false, []wire.Op{connectData("echo.test", "x")})
	resp, err := client.Post("http://"+address+pathBatch, "", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Contains(got, []byte(`"d":"eA=="`)) || s.Fingerprint() != "" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestServeSelfSigned(t *testing.T) {
	r := newRig(t, Config{})
	address, s := serve(t, r, TLS{SelfSigned: true})
	for _, proto := range []string{"h2", "http/1.1"} {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}})
		if err != nil {
			t.Fatal(err)
		}
		state := conn.ConnectionState()
		sum := sha256.Sum256(state.PeerCertificates[0].Raw)
		if state.NegotiatedProtocol != proto || hex.EncodeToString(sum[:]) != s.Fingerprint() {
			t.Errorf("%s with certificate %x, want %s", state.NegotiatedProtocol, sum, s.Fingerprint())
		}
		conn.Close()
	}
}

// TestStopAnswersHolds stops a server under a held poll.
func TestStopAnswersHolds(t *testing.T) {
	r := newRig(t, Config{})
	s, err := NewServer(r.node, TLS{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	sid := r.open("silent.test")
	got := make(chan error, 1)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	go func() {
		body := wire.AppendBatch(nil, testKey, false, []wire.Op{poll(sid)})
		resp, err := client.Post("http://"+ln.Addr().String()+pathBatch, "", bytes.NewReader(body))
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		got <- err
	}()
	for r.node.Stats().Exchanges < 2 { // until the poll is held
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-got; err != nil {
		t.Errorf("the held poll: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestNewServerErrors(t *testing.T) {
	r := newRig(t, Config{})
	for _, c := range []TLS{{}, {CertFile: "no such file", KeyFile: "nor this"}} {
		if _, err := NewServer(r.node, c); err == nil {
			t.Errorf("%+v accepted", c)
		}
	}
}

// pemPair writes a new certificate into dir and returns it and its files.
func pemPair(t *testing.T, dir string) (tls.Certificate, TLS) {
	t.Helper()
	cert, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	files := TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	writePEM(t, files.CertFile, "CERTIFICATE", cert.Certificate[0])
	writePEM(t, files.KeyFile, "PRIVATE KEY", marshalKey(t, cert))
	return cert, files
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCertReload replaces the files, and breaks them, under virtual time.
func TestCertReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first, files := pemPair(t, dir)
		var log bytes.Buffer
		c := &certFiles{cert: files.CertFile, key: files.KeyFile, log: slog.New(slog.NewTextHandler(&log, nil))}
		if err := c.load(); err != nil {
			t.Fatal(err)
		}
		expectCert := func(what string, want tls.Certificate) {
			t.Helper()
			got, err := c.get(nil)
			if err != nil || !bytes.Equal(got.Certificate[0], want.Certificate[0]) {
				t.Errorf("%s: another certificate, or %v", what, err)
			}
		}
		expectCert("at first", first)
		second, _ := pemPair(t, dir)
		touch(t, files, 1)
		expectCert("within a second", first)
		time.Sleep(certLookEvery)
		expectCert("after a second", second)

		writePEM(t, files.CertFile, "CERTIFICATE", []byte("broken"))
		touch(t, files, 2)
		for range 3 {
			time.Sleep(certLookEvery)
			expectCert("with a broken file", second)
		}
		if err := os.Remove(files.CertFile); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(certLookEvery)
			expectCert("without a file", second)
		}
		if n := strings.Count(log.String(), "not usable"); n != 2 {
			t.Errorf("logged %d times, want once for each of two faults:\n%s", n, log.String())
		}
		third, _ := pemPair(t, dir)
		touch(t, files, 3)
		time.Sleep(certLookEvery)
		expectCert("once it is good again", third)
	})
}

// touch gives the files a time of their own, for writes may share one.
func touch(t *testing.T, files TLS, n int) {
	t.Helper()
	at := time.Date(2001, 1, 1, 0, 0, n, 0, time.UTC)
	for _, f := range []string{files.CertFile, files.KeyFile} {
		if err := os.Chtimes(f, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

// starvedListener has no file descriptors left for its first accepts.
type starvedListener struct {
	net.Listener
	fails atomic.Int32
}

func (l *starvedListener) Accept() (net.Conn, error) {
	if l.fails.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

// TestHostile81_AcceptEMFILE: the server waits for descriptors and goes on.
func TestHostile81_AcceptEMFILE(t *testing.T) {
	r := newRig(t, Config{})
	s, err := NewServer(r.node, TLS{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	starved := &starvedListener{Listener: ln}
	starved.fails.Store(3)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, starved) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + ln.Addr().String() + "/")
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("%v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func marshalKey(t *testing.T, cert tls.Certificate) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TLS 1.2 is spoken with the suites that HTTP/2 allows, and no other.
func TestSuitesOfTLS12(t *testing.T) {
	r := newRig(t, Config{})
	address, _ := serve(t, r, TLS{SelfSigned: true})
	for suite, want := range map[uint16]bool{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: true,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA:    false,
	} {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.CipherSuiteName(suite), err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// TestHostile81_DialEMFILE: that the node has no descriptors for targets is in its log,
// once for many, and what a client is told names it.
func TestHostile81_DialEMFILE(t *testing.T) {
	var log strings.Builder
	r := newRig(t, Config{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	for _, host := range []string{"full.test", "full.test", "refused.test", "full.test"} {
		if _, _, err := r.node.dialTCP(t.Context(), r.node.keyUse, host, 443); err == nil {
			t.Errorf("%s was reached", host)
		} else if host == "full.test" && outcome(err) != "too many open files" {
			t.Errorf("the client is told %q", outcome(err))
		}
	}
	if n := strings.Count(log.String(), "too few file descriptors"); n != 1 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
}
