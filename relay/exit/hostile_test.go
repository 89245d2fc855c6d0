package exit

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"relaymux/mux/link"
	"relaymux/mux/secret"
	"relaymux/mux/wire"
)

// TestHostile58_Time: 10^5 keys that are wrong in their first byte, and in their last:
// the one takes as long as the other.
func TestHostile58_Time(t *testing.T) {
	r := newRig(t, Config{})
	body := func(key string) []byte { return wire.AppendBatch(nil, key, false, nil) }
	first := body("X" + testKey[1:])
	last := body(testKey[:len(testKey)-1] + "X")
	const rounds, tries = 100, 500
	batch := func(body []byte) time.Duration {
		began := time.Now()
		for range tries {
			if _, err := r.node.open(body); err != errKey {
				t.Fatal(err)
			}
		}
		return time.Since(began)
	}
	var ratio float64
	for range 3 { // the machine may be busy with something else
		var firsts, lasts []time.Duration
		for range rounds {
			firsts, lasts = append(firsts, batch(first)), append(lasts, batch(last))
		}
		slices.Sort(firsts)
		slices.Sort(lasts)
		ratio = float64(lasts[rounds/4]) / float64(firsts[rounds/4])
		if ratio > 0.9 && ratio < 1.1 {
			return
		}
	}
	t.Errorf("a key that is wrong in its last byte takes %.2f times as long as in its first", ratio)
}

// TestHostile59_LinkElsewhere: what was captured on its way to a node is brought to the
// same node after it began anew, and to another one: nothing of it is carried out, and
// the hello makes nothing that anybody could use.
func TestHostile59_LinkElsewhere(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		_, hello, err := link.Hello(secretOf("ann"), new(link.HelloParams).Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		_ = r.post(t.Context(), pathLink, hello)
		a := c.connect("silent.test")
		c.write(a, "once")
		_, request := c.request(ask(0))
		_, _ = c.post(t.Context(), request)
		for name, other := range map[string]*rig{
			"after a restart": newRig(t, Config{Clients: clients("ann", "bob")}),
			"another node":    newRig(t, Config{Clients: clients("ann", "bob"), Identity: secret.New("another")}),
		} {
			want := whole(t, other.post(t.Context(), "/", nil).Result())
			for range 2 {
				if got := whole(t, other.post(t.Context(), pathLink, request).Result()); got != want {
					t.Errorf("%s: a request is answered by %q", name, got)
				}
				first := other.post(t.Context(), pathLink, hello).Body.Bytes()
				if link.KindOf(first) == link.KindRecords {
					t.Errorf("%s: a hello is answered by records", name)
				}
			}
			if s := other.node.Stats(); s.Links > 1 || s.Dials != 0 || s.LinkStreams != 0 || other.world.dials != 0 {
				t.Errorf("%s: %+v", name, s)
			}
		}
	})
}

// TestHostile59_ConnectAgain: of the JSON wire only who has the node's key can bring
// something again. Bytes that come again are not written again.
func TestHostile59_ConnectAgain(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.open("silent.test")
		body := wire.AppendBatch(nil, testKey, false, []wire.Op{writeSeq(sid, 0, "once")})
		for range 5 {
			_ = r.post(t.Context(), pathBatch, bytes.Clone(body))
		}
		other := newRig(t, Config{})
		if w := other.post(t.Context(), pathBatch, bytes.Clone(body)); strings.Contains(w.Body.String(), "once") || other.world.dials != 0 {
			t.Errorf("another node: %s, %d dials", w.Body, other.world.dials)
		}
		r.batch(closeOp(sid))
		if got, _ := io.ReadAll(r.world.far("silent.test")); string(got) != "once" {
			t.Errorf("the target got %q", got)
		}
	})
}

// TestHostile64_Listener asks a real one what scanners ask: what it says is a web
// server's, of whichever name they ask, and nowhere this program's.
func TestHostile64_Listener(t *testing.T) {
	r := newRig(t, Config{Clients: clients("ann")})
	address, s := serve(t, r, TLS{SelfSigned: true})
	secure := func(name string, protocols ...string) net.Conn {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, ServerName: name, NextProtos: protocols})
		if err != nil {
			t.Fatalf("as %q: %v", name, err)
		}
		if got := fingerprint(&tls.Certificate{Certificate: [][]byte{conn.ConnectionState().PeerCertificates[0].Raw}}); got != s.Fingerprint() {
			t.Errorf("as %q: another certificate", name)
		}
		return conn
	}
	plain := func() net.Conn {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	says := func(conn net.Conn, text string) string {
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(conn, text)
		all, _ := io.ReadAll(conn)
		var lines []string
		for line := range strings.Lines(string(all)) {
			if !strings.HasPrefix(line, "Date:") {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
	get := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	want := says(secure("a.test"), get)
	if !strings.HasPrefix(want, "HTTP/1.1 404 ") {
		t.Fatalf("%q", want)
	}
	for _, c := range []struct {
		name, text, want string
		conn             net.Conn
	}{
		{"without a name", get, want, secure("")},
		{"an address for a name", get, want, secure("192.0.2.1")},
		{"another name", get, want, secure("metadata.google.internal")},
		{"a random POST", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\x00\x01\x02\x03", want, secure("")},
		{"a POST to the link", "POST /tunnel/link HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\x00\x01\x02\x03", want, secure("")},
		{"an upload without an end", "POST /tunnel/link HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n", want, secure("")},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "", secure("")},
		{"HTTP/0.9", "GET /\r\n\r\n", "HTTP/1.1 400 ", secure("")},
		{"h2 where 1.1 was agreed on", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", secure("", "http/1.1")},
		{"half a frame of h2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x04", "", secure("", "h2")},
		{"HTTP to the port of TLS", get, "HTTP/1.0 400 ", plain()},
		{"SSH", "SSH-2.0-OpenSSH_9.2\r\n", "", plain()},
		{"SOCKS", "\x05\x01\x00", "", plain()},
	} {
		if closer, ok := c.conn.(interface{ CloseWrite() error }); ok {
			got := func() string {
				_ = c.conn.SetDeadline(time.Now().Add(20 * time.Second))
				_, _ = io.WriteString(c.conn, c.text)
				_ = closer.CloseWrite()
				return says(c.conn, "")
			}()
			if c.want != "" && !strings.HasPrefix(got, c.want) || strings.Contains(strings.ToLower(got), "relaymux") {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
		}
	}
	if st := r.node.Stats(); st.Links != 0 || st.Exchanges != 0 || st.Memory != 0 {
		t.Errorf("%+v", st)
	}
}

// TestHostile64_ShortOfMemory: what a stranger is told when there is no room for his body
// does not depend on where he sends it, nor on whether it is packed.
func TestHostile64_ShortOfMemory(t *testing.T) {
	r := newRig(t, Config{Memory: 2 << 20, Clients: clients("ann")})
	for _, size := range []int{0, 1000, 64 << 10, 4 << 20, maxBody, maxBody + 1} {
		body := bytes.Repeat([]byte("a"), size)
		for _, body := range [][]byte{body, zip(body)} {
			want := ""
			for _, path := range []string{"/", "/x", pathBatch, pathSingle, pathLink, pathHealth} {
				got := whole(t, r.post(t.Context(), path, body).Result())
				if want == "" {
					want = got
				}
				if got != want {
					t.Errorf("%d bytes to %s: got %q, want %q", size, path, got, want)
				}
			}
		}
	}
	if m := r.node.Stats().Memory; m != 0 {
		t.Errorf("%d bytes still charged", m)
	}
}

// TestHostile68_BrokenBodies: none of them is carried out in part.
func TestHostile68_BrokenBodies(t *testing.T) {
	r := newRig(t, Config{})
	good := string(wire.AppendBatch(nil, testKey, false, []wire.Op{connectOp("echo.test")}))
	for name, body := range map[string]string{
		"two documents":    good + good,
		"words behind":     good + " over",
		"words in front":   "says: " + good,
		"a mark in front":  "\xef\xbb\xbf" + good,
		"NUL behind":       good + "\x00",
		"a list":           "[" + good + "]",
		"a comment":        "/**/" + good,
		"UTF-16":           "\xff\xfe{\x00}\x00",
		"deeply nested":    `{"k":"` + testKey + `","ops":` + strings.Repeat("[", 100_000),
		"deep beside ops":  `{"k":"` + testKey + `","x":` + strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000) + `,"ops":[]}`,
		"a cut name":       `{"k":"` + testKey + `","op`,
		"another's escape": strings.Replace(good, "echo.test", `echo.test\u00`, 1),
	} {
		if w := r.post(t.Context(), pathBatch, []byte(body)); w.Code != http.StatusNotFound && w.Code != http.StatusOK || r.world.dials != 0 {
			t.Errorf("%s: status %d, %d dials", name, w.Code, r.world.dials)
		}
	}
	// Broken UTF-8 in a name is a name that does not exist, and no more.
	broken := strings.Replace(good, "echo.test", "echo\xff\xfe.test", 1)
	if w := r.post(t.Context(), pathBatch, []byte(broken)); w.Code != http.StatusOK && w.Code != http.StatusNotFound {
		t.Errorf("broken UTF-8: status %d", w.Code)
	}
	// What it calls itself does not matter.
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, pathBatch, strings.NewReader(good))
	req.Header.Set("Content-Type", "image/png")
	w := httptest.NewRecorder()
	if r.node.ServeHTTP(w, req); w.Code != http.StatusOK {
		t.Errorf("another content type: status %d", w.Code)
	}
}

// TestHostile73_Encodings: what is packed twice, or as nothing that is known, is no
// request; and bombs of all kinds take no more memory than their limit.
func TestHostile73_Encodings(t *testing.T) {
	r := newRig(t, Config{})
	good := wire.AppendBatch(nil, testKey, false, nil)
	bomb := func(layers int) []byte {
		b := bytes.Repeat([]byte("A"), 64<<20)
		for range layers {
			var out bytes.Buffer
			z, _ := gzip.NewWriterLevel(&out, flate.BestSpeed)
			_, _ = z.Write(b)
			_ = z.Close()
			b = out.Bytes()
		}
		return b
	}
	for _, c := range []struct {
		name string
		body []byte
		want int
	}{
		{"gzip", zip(good), http.StatusOK},
		{"gzip in gzip", zip(zip(good)), http.StatusNotFound},
		{"two members", append(zip(good[:10]), zip(good[10:])...), http.StatusOK},
		{"a bomb", bomb(1), http.StatusNotFound},
		{"a bomb in a bomb", bomb(2), http.StatusNotFound},
		{"gzip of nothing", zip(nil), http.StatusNotFound},
		{"a head of gzip", []byte("\x1f\x8b\x08"), http.StatusNotFound},
	} {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := r.post(t.Context(), pathBatch, c.body)
		runtime.ReadMemStats(&after)
		if w.Code != c.want {
			t.Errorf("%s: status %d, want %d", c.name, w.Code, c.want)
		}
		// A buffer that grows to maxPlain by doubling is four times that in all; in a build for
		// the race detector slices.Grow also makes what it appends, half as much again.
		if n := after.TotalAlloc - before.TotalAlloc; n > 6*maxPlain {
			t.Errorf("%s: %d bytes allocated", c.name, n)
		}
		if m := r.node.Stats().Memory; m != 0 {
			t.Errorf("%s: %d bytes still charged", c.name, m)
		}
	}
}

// TestHostile73_Heads asks a real listener with heads that are too large, and with
// lengths that are not true.
func TestHostile73_Heads(t *testing.T) {
	r := newRig(t, Config{})
	address, _ := serve(t, r, TLS{Plain: true})
	for _, c := range []struct{ name, text, want string }{
		{"a long line", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "431 "},
		{"many lines", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 100_000) + "\r\n", "431 "},
		{"a long path", "GET /" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\nHost: a\r\n\r\n", "431 "},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400 "},
		{"a negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "400 "},
		{"a length beyond all", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", "400 "},
		{"a length that is not true", fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n{}", pathBatch), "404 "},
		{"a chunk beyond all", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "404 "},
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		go func() {
			_, _ = io.WriteString(conn, c.text)
			_ = conn.(*net.TCPConn).CloseWrite()
		}()
		all, _ := io.ReadAll(conn)
		conn.Close()
		if !strings.HasPrefix(string(all), "HTTP/1.1 "+c.want) {
			t.Errorf("%s: %.100q", c.name, all)
		}
		if m := r.node.Stats().Memory; m != 0 {
			t.Errorf("%s: %d bytes charged", c.name, m)
		}
	}
}
