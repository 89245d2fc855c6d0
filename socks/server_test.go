package socks

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"relaymux/mux/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what comes at once or never.
const patience = 10 * time.Second

// proxy is a Server on loopback, with what its handler has seen.
type proxy struct {
	*Server
	addr     string
	requests chan *Request // in the order in which they came, answered ones
	log      *syncBuffer
	serving  sync.WaitGroup
}

// start serves cfg on a loopback port until the test ends. Without a Handle it
// echoes, without a Dial it dials on loopback whatever is asked for.
func start(t *testing.T, cfg Config) *proxy {
	t.Helper()
	p := &proxy{requests: make(chan *Request, 100), log: new(syncBuffer)}
	if cfg.Handle == nil {
		cfg.Handle = p.echo
	}
	if cfg.Dial == nil {
		cfg.Dial = func(context.Context, string, uint16) (net.Conn, error) {
			return nil, &wire.DialError{Reason: wire.Failed}
		}
	}
	cfg.Log = slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p.Server = New(cfg)
	p.addr = p.listen(t, "127.0.0.1:0")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		p.serving.Wait()
	})
	return p
}

func (p *proxy) listen(t *testing.T, on string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", on)
	if err != nil {
		t.Fatal(err)
	}
	p.serving.Go(func() {
		if err := p.Serve(ln); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// echo sends back what comes, and half-closes when it ends.
func (p *proxy) echo(_ context.Context, r *Request) {
	conn, early, err := r.Proceed()
	p.requests <- r
	if err != nil {
		return
	}
	defer conn.Close()
	if _, err := conn.Write(early); err == nil {
		io.Copy(conn, onlyReader{conn})
	}
	conn.(*net.TCPConn).CloseWrite()
}

type onlyReader struct{ io.Reader }

func (p *proxy) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// talk sends in, half-closes, and returns everything that comes back. A reset
// is a failure: it may eat replies.
func (p *proxy) talk(t *testing.T, in string) string {
	t.Helper()
	conn := p.dial(t)
	if _, err := io.WriteString(conn, in); err != nil {
		t.Fatal(err)
	}
	conn.CloseWrite()
	out, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("after %d bytes, %.500q: %v", len(out), out, err)
	}
	return string(out)
}

// got returns the one request that the handler has seen, nil if none.
func (p *proxy) got() *Request {
	select {
	case r := <-p.requests:
		return r
	default:
		return nil
	}
}

func mustRead(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q (%v), want %q", got[:n], err, want)
	}
}

func mustWrite(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// memListener accepts what connect makes, and fails as told.
type memListener struct {
	conns  chan net.Conn
	errs   chan error
	closed chan struct{}
	once   sync.Once
}

func newMemListener() *memListener {
	return &memListener{conns: make(chan net.Conn), errs: make(chan error, 100), closed: make(chan struct{})}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.errs:
		return nil, err
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memListener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:1080"))
}

// connect returns the application's end of a connection from source.
func (l *memListener) connect(source string) net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- memConn{theirs, l.Addr(), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(source))}
	return ours
}

type memConn struct {
	net.Conn
	local, remote net.Addr
}

func (c memConn) LocalAddr() net.Addr  { return c.local }
func (c memConn) RemoteAddr() net.Addr { return c.remote }

// inBubble runs test in virtual time, with a Server on an in-memory listener.
func inBubble(t *testing.T, cfg Config, test func(t *testing.T, s *Server, ln *memListener)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if cfg.Handle == nil {
			cfg.Handle = func(_ context.Context, r *Request) { r.Abort(wire.Failed) }
		}
		s, ln := New(cfg), newMemListener()
		served := make(chan error)
		go func() { served <- s.Serve(ln) }()
		test(t, s, ln)
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestShutdownWaitsForUnansweredRequests(t *testing.T) {
	var request *Request
	cfg := Config{Handle: func(_ context.Context, r *Request) {
		request = r
		time.Sleep(5 * time.Second) // virtual: a slow dial
		conn, _, err := r.Proceed()
		if err == nil {
			conn.Close()
		}
	}}
	inBubble(t, cfg, func(t *testing.T, s *Server, ln *memListener) {
		conn := ln.connect("192.0.2.7:1")
		mustWrite(t, conn, "\x05\x01\x00")
		mustRead(t, conn, "\x05\x00")
		mustWrite(t, conn, "\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50")
		synctest.Wait()
		begin := time.Now()
		go func() { mustRead(t, conn, granted5) }()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
		if request.Host != "1.2.3.4" {
			t.Errorf("host %q", request.Host)
		}
	})
}

// A connection that has said nothing does not hold up the stop, if it had its
// time.
func TestShutdownClosesSilentConnections(t *testing.T) {
	for age, took := range map[time.Duration]time.Duration{
		halfOpenGrace:     0,
		halfOpenGrace - 1: DefaultHandshakeTimeout - halfOpenGrace + 1,
	} {
		inBubble(t, Config{}, func(t *testing.T, s *Server, ln *memListener) {
			conn := ln.connect("192.0.2.7:1")
			defer conn.Close()
			time.Sleep(age)
			begin := time.Now()
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if got := time.Since(begin); got != took {
				t.Errorf("silent for %v: took %v, want %v", age, got, took)
			}
		})
	}
}

func TestShutdownCutsWhenTimeIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Handle: func(ctx context.Context, r *Request) {
			<-ctx.Done()
			r.Abort(wire.Failed)
		}})
		ln := newMemListener()
		go s.Serve(ln)
		conn := ln.connect("192.0.2.7:1")
		defer conn.Close()
		mustWrite(t, conn, "\x04\x01\x00\x50\x01\x02\x03\x04\x00")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("read %d bytes from a connection that was cut", n)
		}
	})
}

func TestServeAfterShutdown(t *testing.T) {
	s := New(Config{})
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ln := newMemListener()
	if err := s.Serve(ln); err != nil {
		t.Fatal(err)
	}
	<-ln.closed
}

func TestHandedOverConnectionOutlivesShutdown(t *testing.T) {
	p := start(t, Config{})
	conn := p.dial(t)
	mustWrite(t, conn, connect5)
	mustRead(t, conn, "\x05\x00"+granted5)
	if err := p.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, conn, "still here")
	mustRead(t, conn, "still here")
}
