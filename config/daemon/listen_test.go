package daemon

import (
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// TestFamilies: what is opened at 0.0.0.0, be it for the proxy, the admin page or DNS, is
// not reached by IPv6; what is at [::], or at no address, is reached by both.
func TestFamilies(t *testing.T) {
	six, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip(err) // there is no IPv6
	}
	six.Close()
	for at, both := range map[string]bool{"0.0.0.0:0": false, "[::]:0": true, ":0": true} {
		proxy, err := listen(at)
		if err != nil {
			t.Fatal(err)
		}
		tcp, udp, err := openDNS(at)
		if err != nil {
			t.Fatal(err)
		}
		pages := listenAdmin(at, "", slog.New(slog.DiscardHandler))
		if len(pages) != 1 {
			t.Fatal("no admin page")
		}
		for what, ln := range map[string]net.Listener{"proxy": proxy, "admin": pages[0], "dns": tcp} {
			defer ln.Close()
			go greet(ln)
			wantReached(t, what, ln.Addr(), both)
		}
		defer udp.Close()
		go echo(udp)
		wantReached(t, "dns", udp.LocalAddr(), both)
	}
}

// TestAdminTaken: where the port or the socket of the admin page is taken, the rest goes on.
func TestAdminTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	log := slog.New(slog.DiscardHandler)
	list := listenAdmin(taken.Addr().String(), filepath.Join(t.TempDir(), "s"), log)
	if len(list) != 1 || list[0].Addr().Network() != "unix" {
		t.Fatalf("%v", list)
	}
	list[0].Close()
	if list := listenAdmin("", "", log); len(list) != 0 {
		t.Errorf("%v although all is off", list)
	}
}

const greeting = "it is the listener of the test"

func greet(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, greeting)
		conn.Close()
	}
}

func echo(c net.PacketConn) {
	for {
		_, from, err := c.ReadFrom(make([]byte, 1))
		if err != nil {
			return
		}
		_, _ = c.WriteTo([]byte(greeting), from)
	}
}

// wantReached wants addr, where greet or echo is, to be reached by IPv4, and by IPv6 if
// both.
func wantReached(t *testing.T, what string, addr net.Addr, both bool) {
	t.Helper()
	for host, want := range map[string]bool{"127.0.0.1": true, "::1": both} {
		to := net.JoinHostPort(host, portOf(addr.String()))
		if got := reached(t, addr.Network(), to); got != want {
			t.Errorf("%s, opened at %s: by %s %s it is reached: %v", what, addr, addr.Network(), to, got)
		}
	}
}

func reached(t *testing.T, network, to string) bool {
	t.Helper()
	conn, err := net.Dial(network, to)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if network == "udp" {
		_, _ = conn.Write([]byte{0})
	}
	b := make([]byte, len(greeting))
	n, _ := io.ReadFull(conn, b)
	return string(b[:n]) == greeting
}
