package exit

import (
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// hole is a port of ::1 at which nobody answers: its queue is full, and Linux drops
// what else comes.
func hole(t *testing.T) (port int) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skip("no IPv6:", err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet6{Addr: [16]byte{15: 1}}); err != nil {
		t.Skip("no ::1:", err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port = at.(*syscall.SockaddrInet6).Port
	for {
		c, err := net.DialTimeout("tcp6", net.JoinHostPort("::1", strconv.Itoa(port)), 100*time.Millisecond)
		if err != nil {
			return port
		}
		t.Cleanup(func() { c.Close() })
	}
}

// TestHostile84_BlackHoleDialed is TestHostile84_BlackHole with sockets.
func TestHostile84_BlackHoleDialed(t *testing.T) {
	port := strconv.Itoa(hole(t))
	ln, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		t.Skip("the port is taken:", err)
	}
	defer ln.Close()
	d := dialerOf(t, Policy{AllowPrivate: true}, always("::1", "127.0.0.1"))
	dial := func(name string) time.Duration {
		began := time.Now()
		conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(name, port))
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		return time.Since(began)
	}
	for _, name := range []string{"one.test", "one.test", "two.test"} {
		if took := dial(name); took < lead6 {
			t.Fatalf("IPv6 had no lead: %v", took)
		}
	}
	quick := time.Hour
	for range 5 { // the machine may be busy
		quick = min(quick, dial("one.test"))
	}
	if quick >= lead6 {
		t.Errorf("the next ones took %v", quick)
	}
}
