package dash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"relaymux/mux/secret"
)

// serve has the Server listen, and returns where.
func (r *rig) serve(t *testing.T, socket string) (address string) {
	t.Helper()
	var all sync.WaitGroup
	t.Cleanup(func() { r.Close(); all.Wait() })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	all.Go(func() { r.Serve(ln) })
	if socket != "" {
		own, err := ListenSocket(socket)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() { r.Serve(own) })
	}
	return ln.Addr().String()
}

func TestClient(t *testing.T) {
	const token = "0123456789abcdef"
	dir := t.TempDir()
	r := newRig(t, func(c *Config) { c.Token = secret.New(token) })
	socket := filepath.Join(dir, "s")
	address := r.serve(t, socket)
	for name, c := range map[string]Client{
		"by the socket, without the token": {Socket: socket, Listen: "127.0.0.1:1"},
		"by the address":                   {Listen: address, Token: secret.New(token)},
		"by the address, with no socket":   {Socket: filepath.Join(dir, "none"), Listen: address, Token: secret.New(token)},
	} {
		var out bytes.Buffer
		if err := c.Show(t.Context(), &out, View{}); err != nil || !strings.Contains(out.String(), "d1") {
			t.Errorf("%s: %v, %s", name, err, &out)
		}
	}
	var out bytes.Buffer
	if err := (&Client{Socket: socket}).Show(t.Context(), &out, View{JSON: true}); err != nil || !json.Valid(out.Bytes()) {
		t.Errorf("as JSON: %v, %s", err, &out)
	}
	err := (&Client{Listen: address, Token: secret.New("wrong")}).Show(t.Context(), &out, View{})
	if err == nil || errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "token") {
		t.Errorf("with a wrong token: %v", err)
	}
}

// TestClientOfTwo: one of two proxies has the socket, for which a user has only one. Whoever
// names the config of the other one is shown that, if it is there.
func TestClientOfTwo(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	first := newRig(t, nil).serve(t, socket)
	r := newRig(t, func(c *Config) { c.Version = "v2" })
	r.SetProxy(addrPorts("127.0.0.1:2080"), false)
	second := r.serve(t, "")
	for _, c := range []struct{ proxy, listen, want string }{
		{"127.0.0.1:1080", first, "v1"},
		{"127.0.0.1:1080", second, "v1"},
		{"127.0.0.1:2080", second, "v2"},
		{"127.0.0.1:2080", first, "v1"},         // it has another address than its config says
		{"127.0.0.1:2080", "127.0.0.1:1", "v1"}, // who can tell
		{"127.0.0.1:2080", "", "v1"},
		{"127.0.0.1:0", second, "v1"},
		{"", second, "v1"},
	} {
		body, err := (&Client{Socket: socket, Proxy: c.proxy, Listen: c.listen}).Status(t.Context())
		if err != nil {
			t.Errorf("%+v: %v", c, err)
		} else if st, err := Parse(body); err != nil || st.Version != c.want {
			t.Errorf("%+v: %s, %v", c, st.Version, err)
		}
	}
}

func TestClientOfNobody(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := ln.Addr().String()
	ln.Close()
	for name, c := range map[string]Client{
		"neither answers": {Socket: filepath.Join(t.TempDir(), "none"), Listen: free},
		"all is off":      {},
	} {
		if _, err := c.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whoever listens at the port may be anybody.
func TestClientOfStranger(t *testing.T) {
	for name, answer := range map[string]string{"a page": "<html>", "a number": "7", "nothing": "", "null": "null", "an object": "{}", "of another": `{"version":""}`} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(answer)) }))
		var out bytes.Buffer
		if err := (&Client{Listen: s.Listener.Addr().String()}).Show(t.Context(), &out, View{}); err == nil || out.Len() > 0 {
			t.Errorf("%s: %v, %s", name, err, &out)
		}
		if err := (&Client{Listen: s.Listener.Addr().String()}).Show(t.Context(), &out, View{Quiet: true}); err == nil {
			t.Errorf("%s: it takes that for a relaymux", name)
		}
		s.Close()
	}
}

// writerFunc is a function that is an io.Writer.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestWatch(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	newRig(t, nil).serve(t, socket)
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	w := writerFunc(func(p []byte) (int, error) {
		if strings.Contains(out.String(), "FLOW") {
			t.Error("it goes on although nobody wants it")
		}
		if bytes.Contains(p, []byte("FLOW")) {
			cancel()
		}
		return out.Write(p)
	})
	if err := (&Client{Socket: socket}).Show(ctx, w, View{Watch: true}); err != nil || !strings.HasPrefix(out.String(), "\x1b[H") {
		t.Errorf("%v: %q", err, &out)
	}
}

func TestNearby(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:1081": "127.0.0.1:1081", "0.0.0.0:1081": "127.0.0.1:1081", "[::]:1081": "[::1]:1081", ":1081": "127.0.0.1:1081",
		"192.0.2.1:1081": "192.0.2.1:1081", "localhost:1081": "localhost:1081",
	} {
		if got := Nearby(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestHostsOf(t *testing.T) {
	for in, want := range map[string]string{"127.0.0.1:1081": "", ":1081": "", "": "", "proxy.lan:1081": "proxy.lan", "[::1]:1081": ""} {
		if got := strings.Join(HostsOf(in), ","); got != want {
			t.Errorf("%s: %q", in, got)
		}
	}
}

func TestTable(t *testing.T) {
	st := newRig(t, nil).look()
	st.Flows[0].Host = "evil\x1b]0;title\x07\nhost" // it would set the terminal's title
	before := st
	before.Time = st.Time.Add(-2 * time.Second)
	before.Totals.Up, before.Totals.Down = 0, 0
	st.Totals.Down = 5e6
	var out bytes.Buffer
	if err := WriteTable(&out, &st, &before); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"relaymux v1", "link is up", "now 2.5 MB/s down, 500 B/s up", "rests 29 s: decoy", "400 ms", "15000 of 20000",
		"[2001:db8::1]:53", "1 h 0 min", "5.4 GB", "! d2 rests for another"} {
		if !strings.Contains(strings.ReplaceAll(out.String(), "rests 30 s", "rests 29 s"), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if strings.ContainsAny(out.String(), "\x1b\x07") {
		t.Errorf("it steers the terminal: %q", &out)
	}
}
