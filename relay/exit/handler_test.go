package exit

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"relaymux/mux/link"
	"relaymux/mux/wire"
)

func TestNewWithoutKey(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a node without a key")
	}
}

// whole is an answer with its head, but for the date.
func whole(t *testing.T, r *http.Response) string {
	t.Helper()
	r.Header.Del("Date")
	dump, err := httputil.DumpResponse(r, true)
	if err != nil {
		t.Fatal(err)
	}
	return string(dump)
}

func TestHostile58_KeyProbes(t *testing.T) {
	r := newRig(t, Config{})
	want := whole(t, r.post(t.Context(), "/", nil).Result())
	for _, key := range []string{
		"", "x", "changeme", testKey[1:], testKey[:len(testKey)-1], testKey + "x", strings.ToUpper(testKey),
		testKey + "\x00", " " + testKey, strings.Repeat("k", 1<<20),
	} {
		for _, path := range []string{pathBatch, pathSingle} {
			got := whole(t, r.post(t.Context(), path, wire.AppendBatch(nil, key, true, nil)).Result())
			if got != want {
				t.Errorf("key %.20q: got %q, want %q", key, got, want)
			}
		}
	}
	if r.node.Stats().Exchanges != 0 {
		t.Error("a probe counted as an exchange")
	}
}

// TestHostile64_ActiveProbes asks a real listener all kinds of things.
func TestHostile64_ActiveProbes(t *testing.T) {
	r := newRig(t, Config{})
	ok := string(wire.AppendBatch(nil, testKey, false, nil))
	probes := []struct{ method, path, body string }{
		{"GET", "/", ""}, {"HEAD", "/", ""}, {"GET", pathBatch, ""}, {"GET", pathSingle, ok}, {"PUT", pathBatch, ok},
		{"POST", "/", "hello"}, {"POST", pathBatch, ""}, {"POST", pathBatch, "hello"}, {"POST", pathSingle, "[]"},
		{"POST", pathBatch, `{"k":"` + testKey + `","ops":[`}, {"POST", pathBatch, `{"ops":[]}`},
		{"POST", pathBatch, strings.Repeat("a", 1<<20)}, {"POST", "/x", strings.Repeat("a", 1<<20)},
		{"POST", pathBatch + "/", ok}, {"POST", "/tunnel/../tunnel/batch", ok}, {"OPTIONS", "*", ""},
		{"TRACE", pathBatch, ""}, {"POST", pathHealth, ""}, {"GET", pathBatch + "?k=" + testKey[:7], ""},
		{"POST", pathBatch, "\x1f\x8b\x08"}, {"POST", pathBatch, string(zip([]byte(ok)))[:20]},
	}
	for name, server := range map[string]*httptest.Server{
		"http1": httptest.NewServer(r.node), "h2": h2Server(r.node),
	} {
		t.Run(name, func(t *testing.T) {
			defer server.Close()
			want := ""
			for _, p := range probes {
				req, err := http.NewRequestWithContext(t.Context(), p.method, server.URL+strings.TrimPrefix(p.path, "*"), strings.NewReader(p.body))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := server.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got := whole(t, resp)
				resp.Body.Close()
				if want == "" {
					want = got
				}
				if p.method == "HEAD" {
					got += "404 page not found\n"
				}
				if got != want {
					t.Errorf("%s %s %.20q: got\n%s\nwant\n%s", p.method, p.path, p.body, got, want)
				}
			}
		})
	}
}

// TestHostile64_PathsTakeTheSameTime: what is refused is looked at the same way whatever
// its path is, so that neither the time nor a want of memory tells which paths there are.
func TestHostile64_PathsTakeTheSameTime(t *testing.T) {
	many := make([]link.Client, 300) // whose secrets are all tried on a hello
	for i := range many {
		many[i] = clients(fmt.Sprint("client ", i))[0]
	}
	_, hello, err := link.Hello(secretOf("a stranger"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Config{Clients: many})
	ask := func(path, body string) (status int, took time.Duration) {
		w := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		began := time.Now()
		r.node.ServeHTTP(w, req)
		return w.Code, time.Since(began)
	}
	paths := []string{pathLink, pathBatch, pathSingle, "/", "/x"}
	for name, body := range map[string]string{
		"a hello": string(hello), "JSON": `{"x":[` + strings.Repeat(`"\u0041a",`, 300_000) + `0],"k":"no"}`,
		"gzip": string(zip([]byte(`{"k":"` + strings.Repeat("a", 8<<20) + `"}`))),
	} {
		// The least of each, of as many rounds as it takes: noise goes away, and a difference stays.
		least := make(map[string]time.Duration)
		alike := func() bool {
			return !slices.ContainsFunc(paths, func(p string) bool { return least[p] > 3*least["/"] || least[p] < least["/"]/3 })
		}
		for round := 0; round < 10 || round < 200 && !alike(); round++ {
			for _, path := range paths {
				status, took := ask(path, body)
				if status != http.StatusNotFound {
					t.Fatalf("%s to %s: %d", name, path, status)
				}
				if first, there := least[path]; !there || took < first {
					least[path] = took
				}
			}
		}
		if !alike() {
			t.Errorf("%s takes %v", name, least)
		}
	}
	r.node.bodies.Force(int(r.node.bodies.Limit()))
	defer r.node.bodies.Return(int(r.node.bodies.Limit()))
	for _, path := range paths {
		if status, _ := ask(path, "x"); status != http.StatusServiceUnavailable {
			t.Errorf("%s without memory: %d", path, status)
		}
	}
}

func h2Server(h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.StartTLS()
	return s
}

// TestHostile68_TruncatedBodies cuts a batch at every byte, plain and gzip.
func TestHostile68_TruncatedBodies(t *testing.T) {
	r := newRig(t, Config{})
	body := wire.AppendBatch(nil, testKey, false, []wire.Op{connectOp("refused.test"), poll([]byte("NOBODY"))})
	for _, whole := range [][]byte{body, zip(body)} {
		for i := range len(whole) + 1 {
			w := r.post(t.Context(), pathBatch, bytes.Clone(whole[:i]))
			// The last bytes of a gzip are of its trailer: without them the text is whole, and refused.
			if want := http.StatusNotFound; i < len(whole) && w.Code != want {
				t.Errorf("%d of %d bytes: status %d", i, len(whole), w.Code)
			}
			if i == len(whole) && w.Code != http.StatusOK {
				t.Errorf("the whole body: status %d", w.Code)
			}
		}
	}
}

// FuzzServeHTTP: whatever comes is answered by the one page, or by an answer that has a
// result for each op, by which a client knows what became of it.
func FuzzServeHTTP(f *testing.F) {
	f.Add(wire.AppendBatch(nil, testKey, false, []wire.Op{connectData("refused.test", "x"), poll([]byte("NOBODY"))}))
	f.Add([]byte(`{"k":"` + testKey + `","op":"data","sid":"x","data":"AAEC"}`))
	f.Add([]byte(`{"k":"` + testKey + `","ops":[{"op":"udp_open","host":"a b","port":1,"d":"AA=="},{"op":"?"},{"op":"data","d":"!"},{"op":"close"}],"zc":1}`))
	f.Add(zip([]byte(`{"k":"` + testKey + `","ops":[]}`)))
	r := newRig(f, Config{Dialer: dialFunc(dialNowhere)})
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := wire.ParseEnvelope(bytes.Clone(body))
		plain := err == nil && e.Ops != nil && e.ZOps == nil
		var ops []wire.Op
		if plain {
			ops, err = wire.ParseOps(e.Ops, nil, maxOps)
		}
		for _, path := range []string{pathBatch, pathSingle} {
			w := r.post(t.Context(), path, bytes.Clone(body))
			if w.Code == http.StatusNotFound {
				continue
			}
			text := w.Body.Bytes()
			if w.Code != http.StatusOK || err != nil && !bytes.HasPrefix(body, gzipMagic) {
				t.Errorf("status %d, %v", w.Code, err)
			}
			if path == pathSingle {
				text = slices.Concat([]byte(`{"r":[`), text, []byte(`]}`))
			}
			var a wire.Answer
			if err := wire.ParseAnswer(bytes.Clone(text), &a, maxOps); err != nil {
				t.Errorf("%s: %v", text, err)
			}
			if path == pathBatch && plain && !a.HasErr && len(a.Results) != len(ops) {
				t.Errorf("%d results of %d ops", len(a.Results), len(ops))
			}
		}
	})
}

// padded is a batch whose body has exactly n bytes.
func padded(n int) []byte {
	body := wire.AppendBatch([]byte(`{"_pad":"",`), testKey, false, nil)
	body = slices.Delete(body, len(`{"_pad":"",`), len(`{"_pad":"",{`))
	return slices.Insert(body, len(`{"_pad":"`), bytes.Repeat([]byte("A"), n-len(body))...)
}

func TestHostile73_BodyLimits(t *testing.T) {
	r := newRig(t, Config{})
	for _, c := range []struct {
		name string
		body []byte
		want int
	}{
		{"raw at the limit", padded(maxBody), http.StatusOK},
		{"raw above", padded(maxBody + 1), http.StatusNotFound},
		{"gzip at the limit", zip(padded(maxPlain)), http.StatusOK},
		{"gzip bomb", zip(padded(maxPlain + 1)), http.StatusNotFound},
		{"zstd at the limit", zops(maxPlain), http.StatusOK},
		{"zstd bomb", zops(maxPlain + 1), http.StatusNotFound},
		{"zstd bomb of 256 MiB", hugeZops(), http.StatusNotFound},
	} {
		if w := r.post(t.Context(), pathBatch, c.body); w.Code != c.want {
			t.Errorf("%s (%d bytes): status %d, want %d", c.name, len(c.body), w.Code, c.want)
		}
		if m := r.node.Stats().Memory; m != 0 {
			t.Errorf("%s: %d bytes still charged", c.name, m)
		}
	}
}

// zops is a batch whose list takes n bytes, packed.
func zops(n int) []byte {
	enc, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	plain := []byte(`[{"op":"close","sid":"x","_pad":""}]`)
	plain = slices.Insert(plain, len(plain)-len(`"}]`), bytes.Repeat([]byte("A"), n-len(plain))...)
	return packed(enc.EncodeAll(plain, nil))
}

func packed(frame []byte) []byte {
	return []byte(`{"k":"` + testKey + `","zc":1,"zops":"` + base64.StdEncoding.EncodeToString(frame) + `"}`)
}

// hugeZops is a frame that does not say how long it is.
func hugeZops() []byte {
	var b bytes.Buffer
	enc, _ := zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedFastest))
	zero := make([]byte, 1<<20)
	for range 256 {
		_, _ = enc.Write(zero)
	}
	_ = enc.Close()
	return packed(b.Bytes())
}

// TestZR carries a batch and its answer packed.
func TestZR(t *testing.T) {
	r := newRig(t, Config{})
	enc, _ := zstd.NewWriter(nil)
	w := r.post(t.Context(), pathBatch, packed(enc.EncodeAll([]byte(`[{"op":"connect","host":"refused.test","port":1}]`), nil)))
	var a wire.Answer
	if err := wire.ParseAnswer(w.Body.Bytes(), &a, maxOps); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	frame, _ := base64.StdEncoding.DecodeString(string(a.ZR))
	dec, _ := zstd.NewReader(nil)
	defer dec.Close()
	got, err := dec.DecodeAll(frame, nil)
	if want := `[{"e":"connect failed: connection refused"}]`; err != nil || string(got) != want || !a.ZC {
		t.Errorf("got %s, %v, zc %v, want %s", got, err, a.ZC, want)
	}
}

// TestOverload has no memory left for bodies, which is not the same as a 404.
func TestOverload(t *testing.T) {
	r := newRig(t, Config{Memory: 2 << 20})
	if w := r.post(t.Context(), pathBatch, padded(64<<10)); w.Code != http.StatusOK {
		t.Errorf("status %d for a body that fits", w.Code)
	}
	if w := r.post(t.Context(), pathBatch, padded(2<<20)); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("status %d for one that does not", w.Code)
	}
}

func TestHealth(t *testing.T) {
	for _, c := range []struct {
		name, from, forwarded string
		diagnostics           bool
		want                  int
	}{
		{"loopback", "127.0.0.1:9", "", false, http.StatusOK},
		{"loopback 6", "[::1]:9", "", false, http.StatusOK},
		{"a proxy on this machine", "127.0.0.1:9", "203.0.113.9", false, http.StatusNotFound},
		{"elsewhere", "203.0.113.9:9", "", false, http.StatusNotFound},
		{"elsewhere, diagnostics", "203.0.113.9:9", "", true, http.StatusOK},
	} {
		r := newRig(t, Config{Diagnostics: c.diagnostics})
		req := httptest.NewRequest(http.MethodGet, pathHealth, nil)
		req.RemoteAddr = c.from
		if c.forwarded != "" {
			req.Header.Set("X-Forwarded-For", c.forwarded)
		}
		w := httptest.NewRecorder()
		r.node.ServeHTTP(w, req)
		if w.Code != c.want {
			t.Errorf("%s: status %d, want %d", c.name, w.Code, c.want)
		}
	}
}

func TestDiagnostics(t *testing.T) {
	r := newRig(t, Config{Diagnostics: true})
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{pathBatch, `{"k":"x","ops":[]}`, http.StatusUnauthorized, `{"e":"unauthorized"}`},
		{pathBatch, `{"k":`, http.StatusBadRequest, `{"e":"malformed request"}`},
		{"/x", ``, http.StatusNotFound, `{"e":"not found"}`},
		{pathBatch, string(padded(maxBody + 1)), http.StatusRequestEntityTooLarge, `{"e":"request too large"}`},
	} {
		w := r.post(t.Context(), c.path, []byte(c.body))
		if w.Code != c.status || w.Body.String() != c.want {
			t.Errorf("%.30s: %d %s, want %d %s", c.body, w.Code, w.Body, c.status, c.want)
		}
	}
}

// TestHTTP2 carries an op over a real h2 connection.
func TestHTTP2(t *testing.T) {
	r := newRig(t, Config{})
	server := h2Server(r.node)
	defer server.Close()
	body := wire.AppendBatch(nil, testKey, false, []wire.Op{connectData("echo.test", "x")})
	resp, err := server.Client().Post(server.URL+pathBatch, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.ProtoMajor != 2 || !bytes.Contains(got, []byte(`"d":"eA=="`)) {
		t.Errorf("%s %v: %s", resp.Proto, err, got)
	}
	if resp.ContentLength != int64(len(got)) || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("head %v", resp.Header)
	}
}
