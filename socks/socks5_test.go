package socks

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"relaymux/mux/wire"
)

const (
	granted5 = "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
	connect5 = "\x05\x01\x00" + "\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50" // greeting, and CONNECT 1.2.3.4:80
)

// request5 is a CONNECT to a name.
func request5(host string, port uint16) string {
	return "\x05\x01\x00\x03" + string([]byte{byte(len(host))}) + host + string([]byte{byte(port >> 8), byte(port)})
}

// refused5 is a reply that says no.
func refused5(code byte) string {
	return "\x05" + string([]byte{code}) + "\x00\x01\x00\x00\x00\x00\x00\x00"
}

// login5 is a greeting that offers passwords, with the login.
func login5(user, password string) string {
	return "\x05\x02\x00\x02\x01" + string([]byte{byte(len(user))}) + user + string([]byte{byte(len(password))}) + password
}

func TestHostile03_NoMethods(t *testing.T) {
	p := start(t, Config{})
	if out := p.talk(t, "\x05\x00"); out != "\x05\xff" {
		t.Errorf("no methods: %q", out)
	}
	all := make([]byte, 255)
	for i := range all {
		all[i] = byte(254 - i)
	}
	if out := p.talk(t, "\x05\xff"+string(all)+connect5[3:]+"hi"); out != "\x05\x00"+granted5+"hi" {
		t.Errorf("255 methods: %q", out)
	}
}

func TestHostile05_MethodNotOffered(t *testing.T) {
	free := start(t, Config{})
	locked := start(t, Config{Users: []User{{"ann", "secret"}}})
	for _, test := range []struct {
		p  *proxy
		in string
	}{
		{free, "\x05\x01\x02"},
		{free, "\x05\x02\x01\x02\x01\x03ann\x06secret"},
		{locked, connect5},
		{locked, "\x05\x01\x01"},
		{locked, "\x05\x02\x00\x01" + connect5},
	} {
		if out := test.p.talk(t, test.in); out != "\x05\xff" {
			t.Errorf("%q: %q", test.in, out)
		}
		if r := test.p.got(); r != nil {
			t.Errorf("%q: connected", test.in)
		}
	}
}

func TestHostile06_Login(t *testing.T) {
	long := strings.Repeat("x", 255)
	p := start(t, Config{Users: []User{{"ann", "secret"}, {long, long}, {"nobody", ""}, {"", "nobody"}}})
	for _, test := range []struct {
		name, in string
		ok       bool
	}{
		{"right", login5("ann", "secret"), true},
		{"longest", login5(long, long), true},
		{"wrong password", login5("ann", "secreT"), false},
		{"unknown user", login5("bob", "secret"), false},
		{"of another", login5("ann", long), false},
		{"no name", login5("", "nobody"), false},
		{"no password", login5("nobody", ""), false},
		{"nothing", login5("", ""), false},
		{"NUL", login5("ann\x00", "secret\x00"), false},
		{"wrong version", "\x05\x01\x02\x05\x03ann\x06secret", false},
		{"truncated name", "\x05\x01\x02\x01\x03an", false},
		{"truncated password", "\x05\x01\x02\x01\x03ann\x06secre", false},
		{"no password length", "\x05\x01\x02\x01\x03ann", false},
	} {
		in, want := test.in+connect5[3:], "\x05\x02\x01\x00"+granted5
		if !test.ok {
			want = "\x05\x02\x01\x01"
		}
		if strings.HasPrefix(test.name, "truncated") || strings.HasPrefix(test.name, "no password length") {
			in = test.in
		}
		if out := p.talk(t, in); out != want {
			t.Errorf("%s: %q, want %q", test.name, out, want)
		}
		if r := p.got(); (r != nil) != test.ok {
			t.Errorf("%s: request %v", test.name, r)
		} else if r != nil && r.User != "ann" && r.User != long {
			t.Errorf("%s: user %q", test.name, r.User)
		}
	}
	if log := p.log.String(); strings.Contains(log, "secre") || strings.Contains(log, "ann") {
		t.Errorf("the log tells: %s", log)
	}
}

func TestHostile08_RequestHead(t *testing.T) {
	p := start(t, Config{})
	addr := "\x01\x02\x03\x04\x00\x50"
	for _, test := range []struct{ name, in, want string }{
		{"version 4", "\x04\x01\x00\x01" + addr, refused5(1)},
		{"command 0", "\x05\x00\x00\x01" + addr, refused5(7)},
		{"BIND", "\x05\x02\x00\x01" + addr, refused5(7)},
		{"UDP ASSOCIATE", "\x05\x03\x00\x01" + addr, refused5(7)},
		{"command 9", "\x05\x09\x00\x01" + addr, refused5(7)},
		{"Tor RESOLVE", "\x05\xf0\x00\x01" + addr, refused5(7)},
		{"RSV", "\x05\x01\xff\x01" + addr, granted5},
		{"address type 0", "\x05\x01\x00\x00" + addr, refused5(8)},
		{"address type 2", "\x05\x01\x00\x02" + addr, refused5(8)},
		{"address type 5", "\x05\x01\x00\x05" + addr, refused5(8)},
		{"truncated head", "\x05\x01", ""},
		{"truncated address", "\x05\x01\x00\x01\x01\x02", ""},
		{"truncated name", "\x05\x01\x00\x03\x09exa", ""},
	} {
		if out := p.talk(t, "\x05\x01\x00"+test.in); out != "\x05\x00"+test.want {
			t.Errorf("%s: %q, want %q", test.name, out, "\x05\x00"+test.want)
		}
	}
}

// The tables of hosts are those of host_test.go; here it is that SOCKS asks.
func TestHostile09_10_BadNames(t *testing.T) {
	p := start(t, Config{})
	for _, host := range badHosts {
		if len(host) > 255 {
			continue
		}
		if out := p.talk(t, "\x05\x01\x00"+request5(host, 80)); out != "\x05\x00"+refused5(4) {
			t.Errorf("%q: %q", host, out)
		}
	}
	if len(p.requests) != 0 {
		t.Errorf("dialed %d of them", len(p.requests))
	}
}

// Each on a proxy of its own, of which the first line of the kind is not left out.
func TestHostile10_LogEscapesNames(t *testing.T) {
	for host, want := range map[string]string{
		"a\r\nlevel=ERROR msg=forged": `a\\r\\nlevel=ERROR msg=forged`, "a\x00b": `a\\x00b`, "\x1b[2J": `\\x1b[2J`, "\xff": `\\xff`, `a"b`: `a\\\"b`,
		"b\u202ea": `b\\u202ea`, "b\u00a0a": `b\\u00a0a`,
	} {
		p := start(t, Config{})
		p.talk(t, "\x05\x01\x00"+request5(host, 80))
		log := p.log.String()
		if strings.Count(log, "\n") != 1 || !strings.Contains(log, want) {
			t.Errorf("%q: the log says %q", host, log)
		}
		for _, r := range strings.TrimSuffix(log, "\n") {
			if !strconv.IsPrint(r) {
				t.Errorf("%q: %q in the log", host, r)
			}
		}
	}
}

func TestHostile11_GoodHosts(t *testing.T) {
	p := start(t, Config{})
	for host, want := range goodHosts {
		if out := p.talk(t, "\x05\x01\x00"+request5(host, 443)); out != "\x05\x00"+granted5 {
			t.Errorf("%q: %q", host, out)
		} else if r := p.got(); r.Host != want || r.Port != 443 || r.Protocol != SOCKS5 || !r.Source.IsValid() {
			t.Errorf("%q: request %+v", host, r)
		}
	}
	v6 := "\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\xbb"
	mapped := "\x05\x01\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x7f\x00\x00\x01\x01\xbb"
	for in, want := range map[string]string{v6: "2001:db8::1", mapped: "127.0.0.1"} {
		p.talk(t, "\x05\x01\x00"+in)
		if r := p.got(); r == nil || r.Host != want {
			t.Errorf("%q: request %+v", in, r)
		}
	}
}

func TestHostile12_NotDialable(t *testing.T) {
	p := start(t, Config{})
	for _, host := range undialableHosts {
		if out := p.talk(t, "\x05\x01\x00"+request5(host, 80)); out != "\x05\x00"+refused5(2) {
			t.Errorf("%q: %q", host, out)
		}
	}
	for _, in := range []string{
		request5("example.com", 0),
		"\x05\x01\x00\x01\x01\x02\x03\x04\x00\x00",
		"\x05\x01\x00\x01\x00\x00\x00\x00\x00\x50",
		"\x05\x01\x00\x04" + strings.Repeat("\x00", 16) + "\x00\x50",
	} {
		if out := p.talk(t, "\x05\x01\x00"+in); out != "\x05\x00"+refused5(2) {
			t.Errorf("%q: %q", in, out)
		}
	}
	if len(p.requests) != 0 {
		t.Errorf("dialed %d of them", len(p.requests))
	}
}

// All in one write, with a half-close behind it.
func TestHostile13_17_Pipelined(t *testing.T) {
	data := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(data)
	for _, test := range []struct{ name, in, want string }{
		{"socks5", connect5, "\x05\x00" + granted5},
		{"socks4", "\x04\x01\x00\x50\x01\x02\x03\x04me\x00", granted4},
		{"socks4a", "\x04\x01\x00\x50\x00\x00\x00\x01me\x00example.com\x00", granted4},
		{"http", "CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n", grantedHTTP},
	} {
		p := start(t, Config{})
		conn := p.dial(t)
		go func() {
			conn.Write(append([]byte(test.in), data...))
			conn.CloseWrite()
		}()
		out, err := io.ReadAll(conn)
		if err != nil || !bytes.Equal(out, append([]byte(test.want), data...)) {
			t.Errorf("%s: %d bytes back (%v)", test.name, len(out), err)
		}
	}
}

func TestHostile14_ByteByByte(t *testing.T) {
	locked, free := start(t, Config{Users: []User{{"ann", "secret"}}}), start(t, Config{})
	for _, test := range []struct {
		p        *proxy
		in, want string
	}{
		{locked, login5("ann", "secret") + request5("example.com", 80) + "hello", "\x05\x02\x01\x00" + granted5 + "hello"},
		{free, "\x04\x01\x00\x50\x00\x00\x00\x01me\x00example.com\x00hello", granted4 + "hello"},
		{locked, "CONNECT example.com:80 HTTP/1.1\r\nProxy-Authorization: Basic YW5uOnNlY3JldA==\r\nHost: h\r\n\r\nhello", grantedHTTP + "hello"},
	} {
		conn := test.p.dial(t)
		for i := range test.in {
			mustWrite(t, conn, test.in[i:i+1])
		}
		conn.CloseWrite()
		mustRead(t, conn, test.want)
	}
}

// The handler's answers reach the application, whatever it still sends.
func TestAbortReplies(t *testing.T) {
	for reason := wire.OK; reason <= wire.RelayDown+1; reason++ {
		p := start(t, Config{Handle: func(_ context.Context, r *Request) { r.Abort(reason) }})
		out := p.talk(t, connect5+strings.Repeat("x", 30000))
		if want := "\x05\x00" + refused5(abortCodes[reason].socks5); out != want {
			t.Errorf("%v: %q, want %q", reason, out, want)
		}
		if out := p.talk(t, "\x04\x01\x00\x50\x01\x02\x03\x04\x00"); out != rejected4 {
			t.Errorf("%v: SOCKS4 %q", reason, out)
		}
		out = p.talk(t, "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"+strings.Repeat("x", 30000))
		if want := fmt.Sprintf("HTTP/1.1 %d ", abortCodes[reason].status); !strings.HasPrefix(out, want) {
			t.Errorf("%v: %q, want %q", reason, out, want)
		}
	}
}

// FuzzSOCKSHandshake: whatever comes, the connection ends, and so do its goroutines; what
// is answered has the form that its protocol has; and nobody gets in without the password.
func FuzzSOCKSHandshake(f *testing.F) {
	for _, seed := range []string{
		connect5, login5("ann", "secret") + request5("example.com", 80), "\x05\x00", "\x05\x01\x00\x05\x03\x00\x01",
		"\x04\x01\x00\x50\x01\x02\x03\x04me\x00", "\x04\x01\x00\x50\x00\x00\x00\x01\x00example.com\x00",
		"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "\x16\x03\x01",
		login5("ann", "wrong"), login5("ann", "secret") + "\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00",
		"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic YW5uOnNlY3JldA==\r\n\r\n",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, locked bool) {
		cfg := Config{HandshakeTimeout: time.Second, Dial: failingDial}
		if locked {
			cfg.Users = []User{{"ann", "secret"}}
		}
		knows := bytes.Contains(in, []byte("secret")) || bytes.Contains(in, []byte("YW5uOnNlY3JldA=="))
		cfg.Handle = func(ctx context.Context, r *Request) {
			if host, err := canonicalHost(r.Host); err != nil || host != r.Host || r.Port == 0 {
				t.Errorf("request %+v (%v)", r, err)
			}
			if locked && !knows {
				t.Errorf("%q is let in", in)
			}
			r.Watch(ctx)
			r.Abort(wire.Failed)
		}
		inBubble(t, cfg, func(t *testing.T, s *Server, ln *memListener) {
			conn := ln.connect("192.0.2.7:1")
			go conn.Write(in)
			conn.SetReadDeadline(time.Now().Add(time.Hour))
			out, err := io.ReadAll(conn)
			if err != nil && err != io.ErrClosedPipe {
				t.Errorf("%q: never closed: %v", in, err)
			}
			if len(out) > 0 && !formed(in[0], string(out)) {
				t.Errorf("%q is answered by %q", in, out)
			}
			conn.Close()
		})
	})
}

// formed reports whether out is what is answered to who begins with that byte.
func formed(first byte, out string) bool {
	const port, addr4 = 2, 4
	switch {
	case first == 4:
		return len(out) == 2+port+addr4 && out[0] == 0 && out[1] >= 0x5a && out[1] <= 0x5d
	case first != 5:
		return strings.HasPrefix(out, "HTTP/1.")
	case out == "\x05\xff" || out == "\x05\x00" || out == "\x05\x02":
		return true
	case strings.HasPrefix(out, "\x05\x02\x01"): // login
		return out[3:] == "\x01" || out[3:] == "\x00" || strings.HasPrefix(out[3:], "\x00\x05") && formedReply(out[4:])
	}
	return strings.HasPrefix(out, "\x05\x00") && formedReply(out[2:])
}

func formedReply(out string) bool {
	return len(out) >= 10 && out[0] == 5 && out[1] <= 8 && out[2] == 0 && (out[3] == 1 && len(out) == 10 || out[3] == 4 && len(out) == 22)
}
