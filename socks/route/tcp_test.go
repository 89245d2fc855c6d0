package route

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDirectTCP(t *testing.T) {
	port := serve(t, untilEnd)
	r := newRig(t, Lists{Direct: List{Entries: []string{"127.0.0.1", "localhost"}}})
	for _, host := range []string{"127.0.0.1", "localhost", "0x7f.1"} {
		if got := r.answer(t, connect5(host, port)+"early", true); got != granted5+"got early" {
			t.Errorf("%s: %q", host, got)
		}
	}
	if got := r.answer(t, connect5("elsewhere.test", port), false); got != granted5+tunnelled {
		t.Errorf("tunnel: %q", got)
	}
	target := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
	if got := r.answer(t, "CONNECT "+target+" HTTP/1.1\r\nHost: "+target+"\r\n\r\nearly", true); !strings.HasSuffix(got, "\r\n\r\ngot early") {
		t.Errorf("CONNECT: %q", got)
	}
	r.wantDirect(t, 4)
}

// TestDirectFailures: the application hears why, as from the node.
func TestDirectFailures(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	ln.Close() // nobody listens there
	r := newRig(t, Lists{Direct: List{Entries: []string{"127.0.0.1"}}})
	if got := r.answer(t, connect5("127.0.0.1", port), false); got != refused5 {
		t.Errorf("refused: %q", got)
	}
}

// TestDirectReset: what the target cuts off is cut off for the application, too.
func TestDirectReset(t *testing.T) {
	port := serve(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.Write([]byte("half"))
		c.SetLinger(0)
	})
	r := newRig(t, Lists{Direct: List{Entries: []string{"127.0.0.1"}}})
	got, err := io.ReadAll(r.ask(t, connect5("127.0.0.1", port)+"x"))
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestBlocked(t *testing.T) {
	r := newRig(t, Lists{Block: List{Entries: []string{"ads.example", "203.0.113.9"}}})
	for _, host := range []string{"ads.example", "x.ADS.example.", "203.0.113.9"} {
		if got := r.answer(t, connect5(host, 443), false); got != denied5 {
			t.Errorf("%s: %q", host, got)
		}
	}
	for _, request := range []string{
		"CONNECT ads.example:443 HTTP/1.1\r\nHost: ads.example:443\r\n\r\n",
		"GET http://ads.example/<x> HTTP/1.1\r\nHost: ads.example\r\nConnection: close\r\n\r\n",
	} {
		got := r.answer(t, request, false)
		for _, want := range []string{"HTTP/1.1 403 Forbidden\r\n", "Proxy-Status: relaymux; error=http_request_denied", "route.block: &#34;ads.example&#34;"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s in %q", want, got)
			}
		}
	}
	if n := r.Stats.Blocked.Load(); n != 5 {
		t.Errorf("%d flows blocked", n)
	}
}

func TestPlainHTTP(t *testing.T) {
	port := serve(t, func(c *net.TCPConn) {
		io.ReadAtLeast(c, make([]byte, 4<<10), 1)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\ndirect")
	})
	r := newRig(t, Lists{Direct: List{Entries: []string{"127.0.0.1"}}})
	for host, want := range map[string]string{"127.0.0.1": "direct", "elsewhere.test": tunnelled} {
		got := r.answer(t, fmt.Sprintf("GET http://%s:%d/ HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\n\r\n", host, port, host, port), false)
		if !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q", host, got)
		}
	}
	r.wantDirect(t, 1)
}

// wantDirect waits until that many direct flows have been, and are over.
func (r *rig) wantDirect(t *testing.T, n uint64) {
	t.Helper()
	for deadline := time.Now().Add(patience); r.Stats.DirectOpen.Load() != 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("a direct flow stays open")
		}
	}
	if got := r.Stats.Direct.Load(); got != n {
		t.Errorf("%d direct flows, want %d", got, n)
	}
}

// TestHostile55_DirectRebinding: a direct name that resolves to this machine is refused unless the
// address itself is in the list, and the program's own ports are in any case.
func TestHostile55_DirectRebinding(t *testing.T) {
	port := serve(t, untilEnd)
	own := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	for _, c := range []struct {
		lists Lists
		want  string
	}{
		{Lists{Direct: List{Entries: []string{"localhost"}}}, denied5},
		{Lists{Direct: List{Entries: []string{"localhost", "0.0.0.0/0", "::/0"}}}, denied5},
		{Lists{Direct: List{Entries: []string{strconv.Itoa(int(port))}}}, denied5},
		{Lists{Direct: List{Entries: []string{"localhost", "127.0.0.0/8"}}}, granted5 + "got x"},
		{Lists{Direct: List{Entries: []string{"localhost", "127.0.0.0/8"}}, Block: List{Entries: []string{"127.0.0.1"}}}, denied5},
		{Lists{Direct: List{Entries: []string{"localhost", "127.0.0.0/8"}}, Own: []netip.AddrPort{own}}, denied5},
	} {
		r := newRig(t, c.lists)
		if got := r.answer(t, connect5("localhost", port)+"x", true); got != c.want {
			t.Errorf("%+v: %q, want %q", c.lists, got, c.want)
		}
		if c.want != denied5 {
			continue
		}
		if page := r.answer(t, fmt.Sprintf("GET http://localhost:%d/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", port), false); !strings.Contains(page, " 403 ") {
			t.Errorf("%+v: %q", c.lists, page)
		}
	}
}

// TestClose: what is open goes on for the time that Close has, and is reset then.
func TestClose(t *testing.T) {
	port := serve(t, func(c *net.TCPConn) { io.Copy(c, c) })
	r := newRig(t, Lists{Direct: List{Entries: []string{"127.0.0.1"}}})
	conn := r.ask(t, connect5("127.0.0.1", port)+"x")
	if _, err := io.ReadFull(conn, make([]byte, len(granted5)+1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r.Close(ctx)
	if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the flow ends with %v", err)
	}
	if got, err := io.ReadAll(r.ask(t, connect5("127.0.0.1", port)+"x")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a flow after the end: %q, %v", got, err)
	}
}
