package route

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relaymux/mux/stats"
	"relaymux/socks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what comes at once or never.
const patience = 10 * time.Second

// rig is a proxy on loopback that routes by lists. What goes through the tunnel is told
// so, and ends.
type rig struct {
	*Router
	proxy string
	drops *stats.UDP
	log   *lockedBuffer
}

const tunnelled = "through the tunnel"

func mustRules(t *testing.T, l Lists) *Rules {
	t.Helper()
	l.Tunnel.At, l.Block.At, l.Direct.At = "route.tunnel", "route.block", "route.direct"
	r, err := NewRules(l)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newRig(t *testing.T, l Lists) *rig {
	t.Helper()
	r := &rig{drops: new(stats.UDP), log: new(lockedBuffer)}
	c := Config{
		Rules: mustRules(t, l),
		Handle: func(_ context.Context, req *socks.Request) {
			if conn, _, err := req.Proceed(); err == nil {
				io.WriteString(conn, tunnelled)
				conn.Close()
			}
		},
		Dial: func(context.Context, string, uint16) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				defer there.Close()
				io.ReadAtLeast(there, make([]byte, 4<<10), 1)
				io.WriteString(there, "HTTP/1.1 200 OK\r\nContent-Length: 18\r\nConnection: close\r\n\r\n"+tunnelled)
			}()
			return here, nil
		},
		OpenUDP: func(_ string, _ uint16, deliver Deliver, _ func(error)) socks.Flow {
			deliver(netip.Addr{}, [][]byte{[]byte(tunnelled)})
			return blocked{r.drops}
		},
		Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	c.Options.Stats = r.drops
	r.Router = New(c)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.proxy = ln.Addr().String()
	server := socks.New(socks.Config{Handle: r.Request, Dial: r.Connect, UDP: &socks.UDP{Open: r.Open}})
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(ln) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Shutdown(ctx)
		r.Close(ctx)
		serving.Wait()
	})
	return r
}

// ask sends request to the proxy and returns the connection.
func (r *rig) ask(t *testing.T, request string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", r.proxy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// answer is all that comes back for request, on whose end targets of untilEnd wait if
// it is half-closed.
func (r *rig) answer(t *testing.T, request string, halfClose bool) string {
	t.Helper()
	conn := r.ask(t, request)
	if halfClose {
		conn.CloseWrite()
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("after %q: %v", text, err)
	}
	return string(text)
}

// connect5 is a CONNECT to a host, which goes as a name, as browsers have it.
func connect5(host string, port uint16) string {
	return "\x05\x01\x00" + "\x05\x01\x00\x03" + string([]byte{byte(len(host))}) + host + string([]byte{byte(port >> 8), byte(port)})
}

const (
	method5  = "\x05\x00"
	granted5 = method5 + "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
	denied5  = method5 + "\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"
	refused5 = method5 + "\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00"
)

// serve runs handle for each connection to a loopback port.
func serve(t *testing.T, handle func(*net.TCPConn)) (port uint16) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				handle(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { ln.Close(); all.Wait() })
	return ln.Addr().(*net.TCPAddr).AddrPort().Port()
}

// untilEnd answers with what came, once all has come.
func untilEnd(conn *net.TCPConn) {
	text, _ := io.ReadAll(conn)
	conn.Write(append([]byte("got "), text...))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
