package fronted_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"relaymux/mux/secret"
	"relaymux/relay"
	"relaymux/relay/fronted"
)

// TestHostile68_LinkTypes: a message of the link is one by its type alone, and text of
// any other type none, whatever is in it.
func TestHostile68_LinkTypes(t *testing.T) {
	for _, contentType := range []string{"", "text/html", "text/plain; charset=utf-8", "application/json", "image/png", "application/octet-streamx", "\xff\xfe", "application/octet-stream, text/html"} {
		for _, body := range []string{string(message), "\xef\xbb\xbf" + string(message), `{"r":[]}`, "<html>", "\xff\xfe\xfd"} {
			r := newRig(t)
			r.serve(server, nil, typed(200, contentType, body))
			if got, f := r.link(r.transport(node, nil)); f == nil || f.Kind != relay.Decoy || f.Hint == "" || got != "" {
				t.Errorf("%q of type %q: %q, %v", body, contentType, got, f)
			}
		}
	}
	// The JSON wire goes by what is there: relays call it anything.
	for _, contentType := range []string{"", "text/html", "image/png", "application/octet-stream"} {
		r := newRig(t)
		r.serve(server, nil, typed(200, contentType, `{"r":[]}`))
		if got, f := r.exchange(r.transport(node, nil)); f != nil || got != `{"r":[]}` {
			t.Errorf("of type %q: %q, %v", contentType, got, f)
		}
	}
}

// TestHostile68_LinkTruncatedAtEveryByte: the same as for JSON. A shorter length that is
// true is the records' business.
func TestHostile68_LinkTruncatedAtEveryByte(t *testing.T) {
	whole := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n%s", len(message), message)
	for n := range len(whole) + 1 {
		r := newRig(t)
		r.accept(server, func(c net.Conn) {
			defer c.Close()
			takeRequest(c)
			_, _ = io.WriteString(c, whole[:n])
		})
		_, f := r.link(r.transport(node, nil))
		if (n == len(whole)) != (f == nil) || f != nil && (f.Kind != relay.Broken || f.Untouched) {
			t.Errorf("after %d bytes: %v", n, f)
		}
	}
}

// TestHostile70_NoSecretElsewhere: of all redirects, of either form of request, no host
// but the deployment's own hears anything; and what is followed carries neither the key,
// nor a body, nor what a host has asked to be remembered.
func TestHostile70_NoSecretElsewhere(t *testing.T) {
	config, leaf := certificate(t, "relay.test", forever())
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{"https://elsewhere.test/", "//elsewhere.test/x", "https://10.0.0.1/", "https://127.0.0.1:81/", "https://[::1]:81/", "http://relay.test/", "https://relay.test:81/", "/again", "https://relay.test/again?k=v#f"} {
			r := newRig(t)
			heard := map[string]int{}
			serve := func(host string) {
				r.accept(host, func(c net.Conn) {
					defer c.Close()
					heard[host]++
				})
			}
			for _, host := range []string{"elsewhere.test:443", "10.0.0.1:443", "127.0.0.1:81", "[::1]:81", "relay.test:80", "relay.test:81"} {
				serve(host)
			}
			gets := 0
			r.serve("relay.test:443", config.Clone(), http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				body, _ := io.ReadAll(req.Body)
				if req.Method == "POST" {
					w.Header().Set("Set-Cookie", "session=1")
					w.Header().Set("Location", to)
					w.WriteHeader(status)
					return
				}
				gets++
				h := fmt.Sprint(req.Header, string(body), req.URL)
				if req.Method != "GET" || len(body) > 0 || strings.Contains(h, bearer) || req.Header.Get("Cookie") != "" || req.Header.Get("Referer") != "" || req.Header.Get("Authorization") != "" {
					t.Errorf("%d to %s: %s %s", status, to, req.Method, h)
				}
				_, _ = io.WriteString(w, "{}")
			}))
			tr := r.transport("https://relay.test", func(c *fronted.Config) { c.Key, c.RootCAs = secret.New(bearer), poolOf(leaf) })
			if _, f := r.link(tr); f == nil || f.Kind != relay.Redirected || gets != 0 {
				t.Errorf("the link, %d to %s: %v, %d GETs", status, to, f, gets)
			}
			_, f := r.exchange(tr)
			if follows := strings.Contains(to, "/again"); follows != (f == nil) || follows != (gets == 1) || f != nil && f.Kind != relay.Redirected {
				t.Errorf("the JSON wire, %d to %s: %v, %d GETs", status, to, f, gets)
			}
			if len(heard) > 0 {
				t.Errorf("%d to %s: %v heard something", status, to, heard)
			}
		}
	}
}

// TestHostile71_RetryAfterForms that relays send, true or not.
func TestHostile71_RetryAfterForms(t *testing.T) {
	for _, form := range []string{"-1", "-99999999999999999999", "1e9", "0x10", "NaN", "tomorrow", "Thu, 01 Jan 1970 00:00:00 GMT", "", "  ", "1;2", "\u0663"} {
		r := newRig(t)
		r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_, _ = io.Copy(io.Discard, req.Body)
			w.Header()["Retry-After"] = []string{form}
			w.WriteHeader(429)
		}))
		if _, f := r.exchange(r.transport(node, nil)); f == nil || f.Kind != relay.RetryAfter || f.RetryAfter != 0 || !f.Untouched {
			t.Errorf("%q: %v, %v", form, f, f.RetryAfter)
		}
	}
}

// bombs of 64 MiB, each packed in a way of its own. Only gzip was asked for, and not for
// the link.
func bombs(t *testing.T) map[string]string {
	t.Helper()
	plain := bytes.Repeat([]byte("{"), 64<<20)
	packed := func(p []byte) []byte {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
		_, _ = z.Write(p)
		_ = z.Close()
		return b.Bytes()
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	one := packed(plain)
	return map[string]string{
		"gzip": string(one), "x-gzip": string(one), "gzip, gzip": string(packed(one)), "zstd": string(enc.EncodeAll(plain, nil)),
		"br": string(one), "deflate": string(one), "identity, gzip": string(one), "GZIP": string(one),
	}
}

// TestHostile73_Bombs: whatever they are packed with, no more is unpacked than the limit,
// and what was not asked for not at all. Memory stays flat.
func TestHostile73_Bombs(t *testing.T) {
	const limit = 1 << 20
	for encoding, bomb := range bombs(t) {
		for _, binary := range []bool{false, true} {
			r := newRig(t)
			r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				_, _ = io.Copy(io.Discard, req.Body)
				w.Header().Set("Content-Type", "application/octet-stream")
				w.Header().Set("Content-Encoding", encoding)
				_, _ = io.WriteString(w, bomb)
			}))
			tr := r.transport(node, func(c *fronted.Config) { c.MaxAnswer = limit })
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var f *relay.Failure
			if binary {
				_, f = r.link(tr)
			} else {
				_, f = r.exchange(tr)
			}
			runtime.ReadMemStats(&after)
			want := relay.Malformed
			if !binary && strings.EqualFold(encoding, "gzip") {
				want = relay.TooLarge
			}
			if f == nil || f.Kind != want {
				t.Errorf("%s, binary %v: %v", encoding, binary, f)
			}
			// An answer that grows by doubling is twice itself in all; the rest is the server's.
			if n := after.TotalAlloc - before.TotalAlloc; n > 8*limit {
				t.Errorf("%s, binary %v: %d bytes allocated", encoding, binary, n)
			}
		}
	}
}
