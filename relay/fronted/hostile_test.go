package fronted_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"relaymux/mux/secret"
	"relaymux/relay"
	"relaymux/relay/fronted"
)

func TestHostile68_TextAroundTheJSON(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{"r":[]}`, `{"r":[]}`},
		{"\ufeff {\"r\":[]}\r\n", `{"r":[]}`},
		{")]}'\n{\"r\":[]} trailer", `{"r":[]}`},
		{`{"r":[`, `{"r":[`}, // truncated: the parser's business
		{`{"a":1}{"b":2}`, `{"a":1}{"b":2}`},
		{"{\"r\":\xff\xfe}", "{\"r\":\xff\xfe}"},
	} {
		r := newRig(t)
		r.serve(server, nil, answer(200, tt.in))
		if got, f := r.exchange(r.transport(node, nil)); f != nil || got != tt.want {
			t.Errorf("%q: %q, %v", tt.in, got, f)
		}
	}
	for _, in := range []string{"", " \n", "\ufeff", "words", "}{", `<script>{"r":[]}</script>`} {
		r := newRig(t)
		r.serve(server, nil, answer(200, in))
		if got, f := r.exchange(r.transport(node, nil)); f == nil || f.Kind != relay.Decoy || got != "" {
			t.Errorf("%q: %q, %v", in, got, f)
		}
	}
}

// TestHostile68_TruncatedAtEveryByte ends the connection after each byte of an
// answer: all of it is there or the exchange is broken.
func TestHostile68_TruncatedAtEveryByte(t *testing.T) {
	const whole = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{\"r\":[]}"
	for n := range len(whole) + 1 {
		r := newRig(t)
		r.accept(server, func(c net.Conn) {
			defer c.Close()
			takeRequest(c)
			_, _ = io.WriteString(c, whole[:n])
		})
		_, f := r.exchange(r.transport(node, nil))
		switch {
		case n == len(whole) && f != nil:
			t.Errorf("whole: %v", f)
		case n < len(whole) && (f == nil || f.Kind != relay.Broken || f.Untouched):
			t.Errorf("after %d bytes: %v", n, f)
		}
	}
}

func TestHostile69_PagesOfARelayLeakNoKey(t *testing.T) {
	for _, page := range []string{
		"<title>%s</title>", "%s is not JSON", "<html><body>You sent <b>%s</b>", "HTTP %s",
	} {
		r := newRig(t)
		r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			body, _ := io.ReadAll(req.Body)
			w.WriteHeader(400)
			fmt.Fprintf(w, page, body[5:])
		}))
		_, f := r.exchange(r.transport(node, nil))
		if f == nil || f.Kind != relay.Refused || strings.Contains(f.Error(), "a-key") {
			t.Errorf("%s: %v", page, f)
		}
	}
}

// TestHostile73_ClaimedMemory: an answer is read for as long as there is memory for it, and
// a small one needs none.
func TestHostile73_ClaimedMemory(t *testing.T) {
	for _, tt := range []struct {
		size, memory int
		ok           bool
	}{{1000, 0, true}, {60 << 10, 0, true}, {70 << 10, 0, false}, {1 << 20, 1 << 20, true}, {1 << 20, 512 << 10, false}, {1 << 30, 2 << 20, false}} {
		r := newRig(t)
		r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"r":[{"d":"`)
			for sent := 0; sent < tt.size; sent += 1000 {
				if _, err := io.WriteString(w, strings.Repeat("A", 1000)); err != nil {
					return
				}
			}
			_, _ = io.WriteString(w, `"}]}`)
		}))
		claimed := 0
		x := relay.Exchange{Body: []byte("{}"), Claim: func(n int) bool {
			if claimed+n > tt.memory {
				return false
			}
			claimed += n
			return true
		}}
		err := r.transport(node, nil).Exchange(t.Context(), &x)
		f, _ := errors.AsType[*relay.Failure](err)
		switch {
		case tt.ok && (err != nil || len(x.Answer) < tt.size):
			t.Errorf("%d bytes with %d: %v", tt.size, tt.memory, err)
		case !tt.ok && (f == nil || f.Kind != relay.NoMemory || !strings.Contains(f.Hint, "limits.memory") || len(x.Answer) > tt.memory+64<<10 || cap(x.Answer) > tt.memory+65<<10):
			t.Errorf("%d bytes with %d: %d bytes, %v", tt.size, tt.memory, len(x.Answer), err)
		}
	}
}

// TestHostile69_AnswersLeakNoKey: what a relay says in the wire's own form, of a batch or
// of one op, is told to people too.
func TestHostile69_AnswersLeakNoKey(t *testing.T) {
	const key = "the key of the deployment"
	for _, text := range []string{
		`{"e":"wrong key: KEY"}`, `{"e":"unauthorized","code":"KEY"}`, `{"r":[{"sid":"a"},{"e":"connect failed: KEY"}]}`, `words {"r":[{"d":"KEY"}]} words`,
	} {
		r := newRig(t)
		r.serve(server, nil, answer(200, strings.ReplaceAll(text, "KEY", key)))
		got, f := r.exchange(r.transport(node, func(c *fronted.Config) { c.Key = secret.New(key) }))
		if f == nil || f.Kind != relay.Malformed || strings.Contains(f.Error(), key) {
			t.Errorf("%s: %q, %v", text, got, f)
		}
		if got, f = r.exchange(r.transport(node, func(c *fronted.Config) { c.Key = secret.New("another") })); f != nil {
			t.Errorf("%s, of another key: %q, %v", text, got, f)
		}
	}
}

// TestHostile69_ScriptException is the one error that comes as JSON.
func TestHostile69_ScriptException(t *testing.T) {
	for _, tt := range []struct {
		text string
		kind relay.Kind // 0: handed on
	}{
		{`{"e":"Exception: Service invoked too many times for one day: urlfetch."}`, relay.Quota},
		{`{"e":"Exception: Bandwidth quota exceeded: https://x"}`, relay.Quota},
		{`{"e":"connect failed: no route to host"}`, 0},
		{`{"r":[{"e":"Service invoked too many times for one day: urlfetch."}]}`, 0},
	} {
		r := newRig(t)
		r.serve(server, nil, answer(200, tt.text))
		got, f := r.exchange(r.transport(script, nil))
		switch {
		case tt.kind == 0 && (f != nil || got != tt.text):
			t.Errorf("%s: %q, %v", tt.text, got, f)
		case tt.kind != 0 && (f == nil || f.Kind != tt.kind || !f.Untouched):
			t.Errorf("%s: %v", tt.text, f)
		}
	}
}

func TestHostile70_Redirects(t *testing.T) {
	const (
		echo  = "http://script.googleusercontent.com/macros/echo?id=1"
		fails = ""
	)
	for _, tt := range []struct {
		name, url, to string
		status        int
		kind          relay.Kind // 0: followed
		host          string     // that the GET asked for
	}{
		{"echo", script, echo, 302, 0, "script.googleusercontent.com"},
		{"301", script, echo, 301, 0, "script.googleusercontent.com"},
		{"303", script, echo, 303, 0, "script.googleusercontent.com"},
		{"307 without the body", script, echo, 307, 0, "script.googleusercontent.com"},
		{"308 without the body", script, echo, 308, 0, "script.googleusercontent.com"},
		{"google.com", script, "http://docs.google.com/x", 302, 0, "docs.google.com"},
		{"relative", script, "/macros/echo", 302, 0, "script.google.com"},
		{"own host", node, node + "/x", 302, 0, "127.0.0.1"},
		{"other host", script, "http://evil.test/", 302, relay.Redirected, fails},
		{"look-alike", script, "http://evilgoogleusercontent.com/", 302, relay.Redirected, fails},
		{"look-alike suffix", script, "http://script.googleusercontent.com.evil.test/", 302, relay.Redirected, fails},
		{"other port", script, "http://script.googleusercontent.com:8080/", 302, relay.Redirected, fails},
		{"private address", script, "http://10.0.0.1/", 302, relay.Redirected, fails},
		{"metadata", node, "http://169.254.169.254/", 302, relay.Redirected, fails},
		{"google for a node", "https://relay.test/", "https://script.googleusercontent.com/", 302, relay.Redirected, fails},
		{"user name", script, "http://u:p@script.googleusercontent.com/", 302, relay.Redirected, fails},
		{"other scheme", script, "https://script.googleusercontent.com/", 302, relay.Redirected, fails},
		{"to http", "https://relay.test/", "http://relay.test/", 302, relay.Redirected, fails},
		{"file", script, "file:///etc/passwd", 302, relay.Redirected, fails},
		{"no Location", script, "", 302, relay.Redirected, fails},
		{"bad Location", script, "http://[", 302, relay.Redirected, fails},
		{"login", script, "http://accounts.google.com/ServiceLogin", 302, relay.SignIn, fails},
		{"300", script, echo, 300, relay.Redirected, fails},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			var gets []string
			h := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				body, _ := io.ReadAll(req.Body)
				if req.Method == "POST" {
					w.Header()["Location"] = []string{tt.to}
					w.WriteHeader(tt.status)
					return
				}
				if req.Method != "GET" || len(body) != 0 || req.Header.Get("Content-Type") != "" {
					t.Errorf("%s with %d bytes, %v", req.Method, len(body), req.Header)
				}
				gets = append(gets, req.Host)
				_, _ = io.WriteString(w, "{}")
			})
			config, leaf := certificate(t, "relay.test", forever())
			r.serve(server, nil, h)
			r.serve("relay.test:443", config, h)
			got, f := r.exchange(r.transport(tt.url, func(c *fronted.Config) { c.RootCAs = poolOf(leaf) }))
			if tt.kind != 0 {
				if f == nil || f.Kind != tt.kind || len(gets) != 0 {
					t.Errorf("%v, and GETs %q", f, gets)
				}
				return
			}
			if f != nil || got != "{}" || len(gets) != 1 || gets[0] != tt.host {
				t.Errorf("%q, %v, GETs %q", got, f, gets)
			}
		})
	}
}

// TestHostile70_Loop follows five redirects and no sixth.
func TestHostile70_Loop(t *testing.T) {
	for _, tt := range []struct{ hops, requests int }{{5, 6}, {6, 6}, {1000, 6}} {
		r := newRig(t)
		requests := 0
		r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_, _ = io.Copy(io.Discard, req.Body)
			if requests++; requests <= tt.hops {
				w.Header().Set("Location", "/again")
				w.WriteHeader(302)
				return
			}
			_, _ = io.WriteString(w, "{}")
		}))
		_, f := r.exchange(r.transport(node, nil))
		if (tt.hops <= 5) != (f == nil) || f != nil && f.Kind != relay.Redirected || requests != tt.requests {
			t.Errorf("%d redirects: %v after %d requests", tt.hops, f, requests)
		}
	}
}

// TestHostile70_LoopbackMayChangeItsPort is the emulator's redirect.
func TestHostile70_LoopbackMayChangeItsPort(t *testing.T) {
	r := newRig(t)
	r.serve(server, nil, http.RedirectHandler("http://localhost:8081/echo", http.StatusFound))
	r.serve("localhost:8081", nil, answer(200, "{}"))
	if got, f := r.exchange(r.transport(node+"/macros/s/x/exec", nil)); f != nil || got != "{}" {
		t.Errorf("%q, %v", got, f)
	}
}

func TestHostile71_RetryAfterIsPassedOn(t *testing.T) {
	r := newRig(t)
	r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(429)
	}))
	_, f := r.exchange(r.transport(node, nil))
	if f == nil || f.Kind != relay.RetryAfter || f.RetryAfter != 2*time.Minute || !f.Untouched || f.Hint == "" {
		t.Errorf("%v, %+v", f, f)
	}
}

// TestHostile71_AfterTheRedirectTheNodeWasTouched: the same statuses mean less
// on the GET of a script's answer.
func TestHostile71_AfterTheRedirectTheNodeWasTouched(t *testing.T) {
	for _, status := range []int{404, 429} {
		for _, hop := range []string{"POST", "GET"} {
			r := newRig(t)
			r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				_, _ = io.Copy(io.Discard, req.Body)
				if req.Method == hop {
					w.WriteHeader(status)
					return
				}
				w.Header().Set("Location", "/macros/echo")
				w.WriteHeader(302)
			}))
			_, f := r.exchange(r.transport(script, nil))
			if f == nil || f.Untouched != (hop == "POST") {
				t.Errorf("%d to the %s: %+v", status, hop, f)
			}
		}
	}
}

// TestHostile73_AnswerLimit has an answer of exactly the limit and one byte
// more, with and without a Content-Length.
func TestHostile73_AnswerLimit(t *testing.T) {
	const limit = 10_000
	for _, size := range []int{limit, limit + 1, 100 * limit} {
		for _, chunked := range []bool{false, true} {
			r := newRig(t)
			r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				_, _ = io.Copy(io.Discard, req.Body)
				if !chunked {
					w.Header().Set("Content-Length", fmt.Sprint(size))
				}
				_, _ = io.WriteString(w, "{"+strings.Repeat(" ", size-2)+"}")
			}))
			got, f := r.exchange(r.transport(node, func(c *fronted.Config) { c.MaxAnswer = limit }))
			if size <= limit && (f != nil || len(got) != size) {
				t.Errorf("%d bytes, chunked %v: %d, %v", size, chunked, len(got), f)
			}
			if size > limit && (f == nil || f.Kind != relay.TooLarge || f.Untouched) {
				t.Errorf("%d bytes, chunked %v: %d, %v", size, chunked, len(got), f)
			}
		}
	}
}

// TestHostile73_GzipBomb is 1:1000; it counts what comes out.
func TestHostile73_GzipBomb(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(bytes.Repeat([]byte("{"), 8<<20))
	_ = z.Close()
	for _, tt := range []struct {
		limit int64
		kind  relay.Kind
	}{{8 << 20, 0}, {8<<20 - 1, relay.TooLarge}, {1 << 20, relay.TooLarge}} {
		r := newRig(t)
		r.serve(server, nil, encoded("gzip", bomb.String()))
		room := make([]byte, 0, 2<<20)
		got, err := carry(t.Context(), r.transport(node, func(c *fronted.Config) { c.MaxAnswer = tt.limit }), request, room)
		f := r.failure(err)
		if (f == nil) != (tt.kind == 0) || f != nil && f.Kind != tt.kind {
			t.Errorf("limit %d: %d bytes, %v", tt.limit, len(got), f)
		}
	}
}

func TestHostile73_Encodings(t *testing.T) {
	for _, tt := range []struct {
		encoding, body string
		kind           relay.Kind
	}{
		{"gzip, gzip", "x", relay.Malformed},
		{"br", "x", relay.Malformed},
		{"zstd", "x", relay.Malformed},
		{"identity", "{}", 0},
		{"gzip", "{}", relay.Broken}, // it lies
		{"gzip", "", relay.Malformed},
		{"gzip", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\xaa", relay.Broken},
	} {
		r := newRig(t)
		r.serve(server, nil, encoded(tt.encoding, tt.body))
		_, f := r.exchange(r.transport(node, nil))
		if (f == nil) != (tt.kind == 0) || f != nil && f.Kind != tt.kind {
			t.Errorf("%s of %q: %v", tt.encoding, tt.body, f)
		}
	}
}

func encoded(encoding, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		w.Header().Set("Content-Encoding", encoding)
		_, _ = io.WriteString(w, body)
	}
}

// TestHostile73_RawLies are answers that no server of net/http would write.
func TestHostile73_RawLies(t *testing.T) {
	huge := strings.Repeat("x", 1<<20)
	for _, tt := range []struct {
		name, answer string
		endless      string // written again and again
		kind         relay.Kind
	}{
		{"length too long", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", "", relay.Broken},
		{"length too short", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{} and more", "", 0},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", "", relay.Broken},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}", "", relay.Broken},
		{"8 EiB announced", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n{", "", relay.TooLarge},
		{"endless chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "100000\r\n" + huge + "\r\n", relay.TooLarge},
		{"endless until close", "HTTP/1.1 200 OK\r\n\r\n{", huge, relay.TooLarge},
		{"chunk size overflow", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "", relay.Broken},
		{"endless header", "HTTP/1.1 200 OK\r\nX: ", huge, relay.Broken},
		{"endless headers", "HTTP/1.1 200 OK\r\n", "X: y\r\n", relay.Broken},
		{"endless 100", "", "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n", relay.Broken},
		{"not HTTP", "SSH-2.0-OpenSSH_9\r\n", "", relay.Broken},
		{"endless error page", "HTTP/1.1 500 No\r\n\r\n", huge, relay.ServerError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.accept(server, func(c net.Conn) {
				defer c.Close()
				takeRequest(c)
				_, err := io.WriteString(c, tt.answer)
				for err == nil && tt.endless != "" {
					_, err = io.WriteString(c, tt.endless)
				}
			})
			got, f := r.exchange(r.transport(node, func(c *fronted.Config) { c.MaxAnswer = 8 << 20 }))
			if (f == nil) != (tt.kind == 0) || f != nil && f.Kind != tt.kind {
				t.Errorf("%q, %v", got, f)
			}
		})
	}
}
