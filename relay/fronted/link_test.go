package fronted_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/secret"
	"relaymux/relay"
	"relaymux/relay/fronted"
	"relaymux/relay/relaytest"
)

// bearer is a key that must turn up nowhere but in its header.
const bearer = "a-key-that-nobody-may-see-1234"

// message is one of the link: bytes that no text survives.
var message = []byte("\x02\x00\xff\xfe\r\n{\x80")

func withKey(c *fronted.Config) { c.Key = secret.New(bearer) }

// link is one binary exchange of message.
func (r *rig) link(t *fronted.Transport) (string, *relay.Failure) {
	r.Helper()
	x := relay.Exchange{Body: message, Binary: true}
	err := t.Exchange(r.Context(), &x)
	return string(x.Answer), r.failure(err)
}

// octets is a handler that answers with body as a message of the link.
func octets(body string) http.HandlerFunc { return typed(200, "application/octet-stream", body) }

// typed is a handler that answers with body of a type; "" is none.
func typed(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		w.Header()["Content-Type"] = nil
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// TestLink holds the request, with and without a key.
func TestLink(t *testing.T) {
	for _, tt := range []struct{ key, authorization string }{{bearer, "Bearer " + bearer}, {"", ""}} {
		r := newRig(t)
		r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			body, _ := io.ReadAll(req.Body)
			h := req.Header
			if req.Method != "POST" || req.URL.Path != "/prefix/tunnel/link" || !bytes.Equal(body, message) ||
				req.ContentLength != int64(len(message)) || h.Get("Content-Type") != "application/octet-stream" ||
				h.Get("Accept-Encoding") != "identity" || h.Get("Cache-Control") != "no-transform, no-store" ||
				h.Get("Authorization") != tt.authorization || h["User-Agent"] != nil {
				t.Errorf("%s %s, %v, %q", req.Method, req.URL, h, body)
			}
			w.Header().Set("Content-Type", "Application/Octet-Stream; x=y")
			_, _ = w.Write(message)
		}))
		tr := r.transport(node+"/prefix/", func(c *fronted.Config) { c.Key = secret.New(tt.key) })
		x := relay.Exchange{Body: message, Answer: []byte("before "), Binary: true}
		if err := tr.Exchange(t.Context(), &x); err != nil || string(x.Answer) != "before "+string(message) {
			t.Errorf("%q, %v", x.Answer, err)
		}
	}
}

// TestBatchShowsTheKey to a binary relay and not to a script, which has it in the request.
func TestBatchShowsTheKey(t *testing.T) {
	for to, want := range map[string]string{node: "Bearer " + bearer, script: ""} {
		r := newRig(t)
		r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if _, err := io.Copy(io.Discard, req.Body); err != nil || req.Header.Get("Authorization") != want {
				t.Errorf("%s: %v, %v", to, req.Header, err)
			}
			_, _ = io.WriteString(w, "{}")
		}))
		if _, f := r.exchange(r.transport(to, withKey)); f != nil {
			t.Error(f)
		}
	}
}

func TestLinkNotByScripts(t *testing.T) {
	r := newRig(t)
	tr := r.transport(script, func(c *fronted.Config) { c.Dial = dialFails(io.EOF) })
	_, f := r.link(tr)
	if tr.Binary() || f == nil || f.Kind != relay.Refused || !f.Untouched {
		t.Errorf("a script, binary %v: %v", tr.Binary(), f)
	}
	if !r.transport(node, nil).Binary() {
		t.Error("a node is not binary")
	}
}

// TestLinkAnswers that are none.
func TestLinkAnswers(t *testing.T) {
	for _, tt := range []struct {
		name      string
		h         http.HandlerFunc
		kind      relay.Kind
		untouched bool
		detail    string // part of it
	}{
		{"empty", octets(""), relay.Malformed, false, "no bytes"},
		{"no type", typed(200, "", "\x02x"), relay.Decoy, false, "not JSON"},
		{"a malformed type", typed(200, "application/octet-stream;;", "\x02x"), relay.Decoy, false, ""},
		{"another type", typed(200, "application/octet-streams", "\x02x"), relay.Decoy, false, ""},
		{"JSON", typed(200, "application/json", `{"r":[]}`), relay.Decoy, false, "JSON where a message of the link was due"},
		{"a script's quota", typed(200, "application/json", `{"e":"Service invoked too many times for one day: urlfetch."}`), relay.Quota, true, ""},
		{"a page", typed(200, "text/html", "<title>Welcome</title>"), relay.Decoy, false, "HTML page: Welcome"},
		{"an empty page", typed(200, "text/html", ""), relay.Decoy, false, "an empty answer"},
		{"an endless page", typed(200, "text/html", "<title>A</title>"+strings.Repeat(" ", 9<<20)), relay.Decoy, false, "HTML page: A"},
		{"404", typed(404, "text/html", "<title>No</title>"), relay.Refused, false, "No"},
		{"404 octets", typed(404, "application/octet-stream", "\x02x"), relay.Refused, false, "404"},
		{"413", typed(413, "", ""), relay.TooLarge, true, ""},
		{"429", typed(429, "", ""), relay.RetryAfter, true, ""},
		{"1027", typed(429, "", "error code: 1027"), relay.Quota, true, ""},
		{"503", typed(503, "", ""), relay.RetryAfter, false, ""},
		{"502", typed(502, "", ""), relay.ServerError, false, ""},
		{"204", typed(204, "application/octet-stream", ""), relay.Malformed, false, ""},
		{"gzip", func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			octets("x")(w, req)
		}, relay.Malformed, false, "gzip"},
		{"identity", func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Encoding", "identity")
			octets("x")(w, req)
		}, 0, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.serve(server, nil, tt.h)
			got, f := r.link(r.transport(node, func(c *fronted.Config) { c.MaxAnswer = 8 << 20 }))
			if tt.kind == 0 {
				if f != nil || got == "" {
					t.Errorf("%q, %v", got, f)
				}
				return
			}
			if f == nil || f.Kind != tt.kind || f.Untouched != tt.untouched || !strings.Contains(f.Detail, tt.detail) || got != "" {
				t.Errorf("%v, %+v, %q", f, f, got)
			}
		})
	}
}

// TestLinkRedirects are never followed: no message goes elsewhere, and none is
// dropped to a GET.
func TestLinkRedirects(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{"/elsewhere", node + "/x", "http://evil.test/", "http://script.googleusercontent.com/", ""} {
			r := newRig(t)
			requests := 0
			r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				_, _ = io.Copy(io.Discard, req.Body)
				requests++
				w.Header()["Location"] = []string{to}
				w.WriteHeader(status)
			}))
			if _, f := r.link(r.transport(node, nil)); f == nil || f.Kind != relay.Redirected || requests != 1 {
				t.Errorf("%d to %q: %v, %d requests", status, to, f, requests)
			}
		}
	}
}

// TestLinkRawLies are answers that no server of net/http would write.
func TestLinkRawLies(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
	huge := strings.Repeat("x", 1<<20)
	for _, tt := range []struct {
		name, answer string
		endless      string // written again and again
		kind         relay.Kind
	}{
		{"truncated", head + "Content-Length: 99\r\n\r\nab", "", relay.Broken},
		{"truncated at once", head + "Content-Length: 99\r\n\r\n", "", relay.Broken},
		{"no bytes until close", head + "\r\n", "", relay.Malformed},
		{"no chunks", head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", relay.Malformed},
		{"endless chunks", head + "Transfer-Encoding: chunked\r\n\r\n", "100000\r\n" + huge + "\r\n", relay.TooLarge},
		{"endless until close", head + "\r\n", huge, relay.TooLarge},
		{"8 EiB announced", head + "Content-Length: 9223372036854775807\r\n\r\nx", "", relay.TooLarge},
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
			_, f := r.link(r.transport(node, func(c *fronted.Config) { c.MaxAnswer = 8 << 20 }))
			if f == nil || f.Kind != tt.kind || f.Untouched {
				t.Errorf("%v", f)
			}
		})
	}
}

// TestLinkAnswerLimit has an answer of exactly the limit and one byte more.
func TestLinkAnswerLimit(t *testing.T) {
	for size, kind := range map[int]relay.Kind{10_000: 0, 10_001: relay.TooLarge} {
		r := newRig(t)
		r.serve(server, nil, octets(strings.Repeat("x", size)))
		got, f := r.link(r.transport(node, func(c *fronted.Config) { c.MaxAnswer = 10_000 }))
		if kind == 0 && (f != nil || len(got) != size) || kind != 0 && (f == nil || f.Kind != kind) {
			t.Errorf("%d bytes: %d, %v", size, len(got), f)
		}
	}
}

// TestHostile69_PagesLeakNoBearer: a relay that shows the request's header in a
// page, a line of the protocol or a redirect.
func TestHostile69_PagesLeakNoBearer(t *testing.T) {
	for _, key := range []string{bearer, "short"} {
		for _, answer := range []string{
			"HTTP/1.1 400 No\r\n\r\n<title>KEY</title>", "HTTP/1.1 200 OK\r\n\r\nyou sent Bearer KEY", "HTTP/1.1 KEY\r\n\r\n",
			"KEY\r\n\r\n", "HTTP/1.1 302 No\r\nLocation: /KEY\r\n\r\n", "HTTP/1.1 302 No\r\nLocation: http://KEY/\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Encoding: KEY\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: KEY\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"e\":\"KEY\"}",
		} {
			r := newRig(t)
			r.accept(server, func(c net.Conn) {
				defer c.Close()
				takeRequest(c)
				_, _ = io.WriteString(c, strings.ReplaceAll(answer, "KEY", key))
			})
			_, f := r.link(r.transport(node, func(c *fronted.Config) { c.Key = secret.New(key) }))
			if f == nil || strings.Contains(f.Error(), key) {
				t.Errorf("%q: %v", answer, f)
			}
		}
	}
}

// TestFaultsOfTheEmulatedWorker holds which failure each fault comes to.
func TestFaultsOfTheEmulatedWorker(t *testing.T) {
	for _, tt := range []struct {
		name      string
		knobs     relaytest.Knobs
		kind      relay.Kind // 0: an answer
		untouched bool
	}{
		{"none", relaytest.Knobs{RTT: 1500 * time.Millisecond}, 0, false},
		{"decoy", relaytest.Knobs{Decoy: true}, relay.Decoy, false},
		{"quota", relaytest.Knobs{QuotaPage: true}, relay.Quota, true},
		{"429", relaytest.Knobs{Status: 429, RetryAfter: "9"}, relay.RetryAfter, true},
		{"lost before", relaytest.Knobs{LoseBefore: 1}, relay.Broken, false},
		{"lost after", relaytest.Knobs{LoseAfter: 1}, relay.Broken, false},
		{"late", relaytest.Knobs{Late: 1, LateBy: time.Hour}, relay.Timeout, false},
		{"its limit", relaytest.Knobs{ExchangeLimit: time.Second}, relay.ServerError, false},
		{"twice", relaytest.Knobs{Duplicate: 1}, 0, false},
		{"truncated", relaytest.Knobs{Truncate: 5}, 0, false}, // the records' business
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.emulator(2 * time.Second).Set(func(k *relaytest.Knobs) { *k = tt.knobs })
				got, f := r.link(r.transport(node+"/w/WORKER", withKey))
				switch {
				case tt.kind == 0 && (f != nil || !strings.HasPrefix(nodeAnswer, got) || got == ""):
					t.Errorf("%q, %v", got, f)
				case tt.kind != 0 && (f == nil || f.Kind != tt.kind || f.Untouched != tt.untouched):
					t.Errorf("%v, %+v", f, f)
				}
			})
		})
	}
	r := newRig(t)
	r.emulator(0)
	if _, f := r.link(r.transport(node+"/w/WORKER", nil)); f == nil || f.Kind != relay.Refused {
		t.Errorf("without a key: %v", f)
	}
}
