package daemon

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"relaymux/config"
)

// loaded is the config of a proxy with these lines, whose node is nowhere.
func loaded(t *testing.T, lines string) *config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	text := lines + "\n[admin]\nlisten = \"\"\n[link]\nsecret = \"a secret of the test: 9f8e7d6c5b4a3\"\n[[deployment]]\nurl = \"https://127.0.0.1:1\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := config.Load(config.Source{Role: config.Run, Path: file})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// running is a proxy with these lines in its config.
func running(t *testing.T, lines string) *Proxy {
	t.Helper()
	p, err := NewProxy(loaded(t, lines), Process{Log: slog.New(slog.DiscardHandler), Environ: []string{"RELAYMUX_STATE_DIR=" + t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for { // until there is a group
		p.mu.Lock()
		group := p.group
		p.mu.Unlock()
		if group != nil {
			return p
		}
		time.Sleep(time.Millisecond)
	}
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}

// status is that of the answer to a request for url on conn.
func status(t *testing.T, conn net.Conn, url string) int {
	t.Helper()
	if _, err := io.WriteString(conn, "GET "+url+" HTTP/1.1\r\nHost: a.test\r\n\r\n"); err != nil {
		return 0
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

const direct = "[route]\ndirect = [\"127.0.0.1\"]\n"

// TestReloadWithoutUsers: who has connected while there was a password has nothing of
// the reload that ends it, with the port by which he came.
func TestReloadWithoutUsers(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "carried") }))
	defer target.Close()
	const users = "[proxy]\nusers = [{name = \"ann\", password = \"a word of the test\"}]\n"
	p := running(t, users+"listen = \"0.0.0.0:0\"\n"+direct)
	at := "127.0.0.1:" + portOf(p.Addrs()[0].String())
	web, socks := dial(t, at), dial(t, at)
	if n := status(t, web, target.URL); n != http.StatusProxyAuthRequired {
		t.Fatalf("without the password: %d", n)
	}
	_, _ = io.WriteString(socks, "\x05\x01\x02")
	if _, err := io.ReadFull(socks, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	if err := p.Reload(loaded(t, "[proxy]\nlisten = \""+at+"\"\n"+direct)); err != nil {
		t.Fatal(err)
	}
	if n := status(t, web, target.URL); n != 0 {
		t.Errorf("who was there before is answered: %d", n)
	}
	if n, err := socks.Read(make([]byte, 1)); err == nil {
		t.Errorf("who was greeted before is told something: %d", n)
	}
	if n := status(t, dial(t, at), target.URL); n != http.StatusOK {
		t.Errorf("who comes now: %d", n)
	}
}

// TestHostile83_84_ReloadPorts: one address takes the place of several with its port number; when
// another cannot be had, all are as they were.
func TestHostile83_84_ReloadPorts(t *testing.T) {
	six, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip(err)
	}
	taken := six.Addr().String() // until the end
	defer six.Close()
	other, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	number := portOf(other.Addr().String())
	other.Close()
	const users = "[proxy]\nusers = [{name = \"ann\", password = \"a word of the test\"}]\n"
	both := []string{"127.0.0.1:" + number, "[::1]:" + number}
	listen := func(list ...string) string { return users + "listen = [\"" + strings.Join(list, "\", \"") + "\"]\n" }
	for _, all := range []string{"0.0.0.0:", "[::]:"} {
		t.Run(all, func(t *testing.T) {
			p := running(t, listen(both...))
			before := p.Addrs()
			if err := p.Reload(loaded(t, listen(all+number, taken))); err == nil {
				t.Error("a port that is taken was opened")
			}
			for _, at := range before {
				if n := status(t, dial(t, at.String()), "http://a.test/"); n != http.StatusProxyAuthRequired {
					t.Errorf("%s after a reload that failed: %d", at, n)
				}
			}
			if err := p.Reload(loaded(t, listen(all+number))); err != nil {
				t.Fatal(err)
			}
			if got := p.Addrs(); len(got) != 1 || portOf(got[0].String()) != number {
				t.Errorf("it listens on %v", got)
			}
			if n := status(t, dial(t, "127.0.0.1:"+number), "http://a.test/"); n != http.StatusProxyAuthRequired {
				t.Errorf("by all addresses: %d", n)
			}
		})
	}
}

// TestReloadRoute: the rules are in effect for http:// though there is a connection that
// was made by the old ones, be it idle or in use during the reload.
func TestReloadRoute(t *testing.T) {
	more := make(chan struct{})
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		if r.URL.Path == "/long" {
			<-more
		}
	}))
	defer target.Close()
	listen := "[proxy]\nlisten = \"127.0.0.1:0\"\n"
	p := running(t, listen+direct)
	at := p.Addrs()[0].String()
	client, idle, long := dial(t, at), dial(t, at), dial(t, at)
	if n := status(t, client, target.URL); n != http.StatusOK {
		t.Fatalf("direct: %d", n)
	}
	_, _ = io.WriteString(long, "GET "+target.URL+"/long HTTP/1.1\r\nHost: a.test\r\n\r\n")
	br := bufio.NewReader(long)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(err)
	}
	if n := status(t, idle, target.URL); n != http.StatusOK { // leaves a connection besides the one in use
		t.Fatalf("direct: %d", n)
	}
	if err := p.Reload(loaded(t, listen+"[route]\nblock = [\"127.0.0.1\"]\n")); err != nil {
		t.Fatal(err)
	}
	expect := func(when string) {
		t.Helper()
		for name, conn := range map[string]net.Conn{"a client of before": client, "a new client": dial(t, at)} {
			if n := status(t, conn, target.URL); n != http.StatusForbidden {
				t.Errorf("%s, %s: %d", name, when, n)
			}
		}
	}
	expect("at once")
	close(more)
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("what was under way: %v", err)
	}
	expect("after the end of what was under way")
}
