package dash

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/secret"
)

func TestHostile45_DNSRebinding(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Hosts = []string{"proxy.lan"} })
	paths := []string{"/", "/api/status", "/api/log", "/api/setup", "/api/route?to=a:1", "/metrics", "/proxy.pac", "/healthz"}
	for _, host := range []string{
		"evil.com", "evil.com:1081", "localhost.evil.com:1081", "127.0.0.1.nip.io:1081", "127.0.0.1.evil.com", "evil.com:127.0.0.1",
		"2130706433:1081", "0x7f.1:1081", "127.1:1081", "0.0.0.0:1081", "[::]:1081", "192.168.1.2:1081", "203.0.113.7", "", "[::1", "::1]:1081",
		"localhost@evil.com", "evil.com#localhost", "localhost ", "proxy.lan.evil.com:1081", "[fe80::1%25lo]:1081",
	} {
		for _, path := range paths {
			if w := r.do("GET", path, "Host", host); w.Code != http.StatusMisdirectedRequest {
				t.Errorf("%s for Host %q: %d", path, host, w.Code)
			}
		}
		if w := r.do("POST", "/api/flows/7/close", "Host", host, "Authorization", "Bearer "+r.pageToken(t)); w.Code != http.StatusMisdirectedRequest || r.ended.Load() != 0 {
			t.Errorf("a flow was ended for Host %q: %d", host, w.Code)
		}
	}
	for _, host := range []string{"127.0.0.1:1081", "127.0.0.1", "localhost:1081", "LOCALHOST:8000", "localhost.:1081", "[::1]:1081", "[::1]",
		"127.9.9.9:1081", "[::ffff:127.0.0.1]:1081", "proxy.lan:1081", "Proxy.LAN"} {
		for _, path := range paths {
			if w := r.do("GET", path, "Host", host); w.Code != http.StatusOK {
				t.Errorf("%s for Host %q: %d", path, host, w.Code)
			}
		}
	}
}

// The address that a connection has reached is a name for the page; others of the
// machine are not.
func TestHostile45_OwnAddress(t *testing.T) {
	for host, want := range map[string]bool{"192.0.2.5:1081": true, "192.0.2.6:1081": false, "[::ffff:192.0.2.5]:1081": true} {
		req := requestAt("GET", "/healthz", "192.0.2.5:1081")
		req.Host = host
		if got := newRig(t, nil).knows(req); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}

func TestHostile46_CrossSiteRequestForgery(t *testing.T) {
	r := newRig(t, nil)
	token := "Bearer " + r.pageToken(t)
	const path = "/api/flows/7/close"
	for name, headers := range map[string][]string{
		"no token":                     {},
		"a form":                       {"Content-Type", "application/x-www-form-urlencoded", "Origin", "http://evil.com", "Sec-Fetch-Site", "cross-site"},
		"a form of an old browser":     {"Content-Type", "text/plain"},
		"another origin":               {"Origin", "http://evil.com", "Authorization", token},
		"another port":                 {"Origin", "http://127.0.0.1:8000", "Authorization", token},
		"no origin at all":             {"Origin", "null", "Authorization", token},
		"a page of the same site":      {"Sec-Fetch-Site", "same-site", "Authorization", token},
		"another site":                 {"Sec-Fetch-Site", "cross-site", "Authorization", token},
		"a navigation with a form":     {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Authorization", token},
		"basic credentials":            {"Authorization", "Basic " + strings.TrimPrefix(token, "Bearer ")},
		"the token in the wrong place": {"Cookie", "token=" + token},
	} {
		if w := r.do("POST", path, headers...); w.Code != http.StatusForbidden && w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "PATCH"} { // an <img> can GET
		if w := r.do(method, path, "Authorization", token); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
	if r.ended.Load() != 0 {
		t.Error("a flow was ended")
	}
	own := []string{"Origin", "http://127.0.0.1:1081", "Sec-Fetch-Site", "same-origin", "Authorization", token}
	if w := r.do("POST", path, own...); w.Code != http.StatusNoContent || r.ended.Load() != 7 {
		t.Errorf("the page itself: %d", w.Code)
	}
}

// What is only read is not for other origins either, but for a link to the page.
func TestHostile46_CrossSiteReads(t *testing.T) {
	r := newRig(t, nil)
	for _, path := range []string{"/api/status", "/api/log", "/api/setup", "/api/route?to=a:1", "/metrics", "/proxy.pac", "/"} {
		if w := r.do("GET", path, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"); w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := r.do("GET", "/", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"); w.Code != http.StatusOK {
		t.Errorf("a link to the page: %d", w.Code)
	}
	if w := r.do("GET", "/api/status", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"); w.Code != http.StatusForbidden {
		t.Errorf("a link to the state: %d", w.Code)
	}
}

func TestHostile47_NoCORS(t *testing.T) {
	r := newRig(t, nil)
	for _, origin := range []string{"", "null", "http://evil.com", "http://127.0.0.1:1081"} {
		for _, path := range []string{"/", "/api/status", "/api/log", "/api/setup", "/api/route?to=a:1", "/metrics", "/proxy.pac", "/healthz", "/api/flows/7/close", "*"} {
			for _, method := range []string{"GET", "POST", "OPTIONS"} {
				headers := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Private-Network", "true",
					"Access-Control-Request-Headers", "authorization"}
				if origin != "" {
					headers = append(headers, "Origin", origin)
				}
				if path == "*" {
					path = "/anything"
				}
				w := r.do(method, path, headers...)
				for name := range w.Header() {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s %s from %q says %s", method, path, origin, name)
					}
				}
				if method == "OPTIONS" && w.Code < 400 {
					t.Errorf("a preflight for %s from %q is answered by %d", path, origin, w.Code)
				}
			}
		}
	}
}

func TestHostile48_Token(t *testing.T) {
	const text = "0123456789abcdefghijklmn"
	r := newRig(t, func(c *Config) { c.Token = secret.New(text) })
	page := r.do("GET", "/").Body.String()
	if strings.Contains(page, text) || r.pageToken(t) != "" {
		t.Error("the page gives the token away")
	}
	for _, path := range []string{"/api/status", "/api/log", "/api/setup", "/api/route?to=a:1", "/metrics"} {
		for _, given := range []string{"", "Bearer", "Bearer ", "Bearer " + text[:23], "Bearer " + text + "x", "Bearer  " + text, "Basic " + text, text} {
			w := r.do("GET", path, "Authorization", given)
			if w.Code != http.StatusUnauthorized || strings.Contains(w.Body.String(), "d1") || strings.Contains(w.Body.String(), text) {
				t.Errorf("%s with %q: %d %.80q", path, given, w.Code, w.Body)
			}
		}
		if w := r.do("GET", path+map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")]+"token="+text+"&access_token="+text, "Cookie", "token="+text); w.Code != http.StatusUnauthorized {
			t.Errorf("%s takes a token that ends up in logs: %d", path, w.Code)
		}
		if w := r.do("GET", path, "Authorization", "bearer "+text); w.Code != http.StatusOK {
			t.Errorf("%s with the token: %d", path, w.Code)
		}
	}
	if w := r.do("POST", "/api/flows/7/close", "Authorization", "Bearer "+text); w.Code != http.StatusNoContent {
		t.Errorf("closing a flow with the token: %d", w.Code)
	}
	for name := range r.do("GET", "/").Header() {
		if name == "Set-Cookie" {
			t.Error("there is a cookie, which another local port could take")
		}
	}
	if a, b := newRig(t, nil).pageToken(t), newRig(t, nil).pageToken(t); a == b || len(a) < 26 {
		t.Errorf("the page's own tokens are %q and %q", a, b)
	}
}

// What comes from the network cannot become markup: it is never in the page, and the
// script puts it there as text.
func TestHostile49_Markup(t *testing.T) {
	r := newRig(t, nil)
	for _, path := range []string{"/", "/?x=<script>alert(1)</script>"} {
		if w := r.do("GET", path, "User-Agent", evilHost, "Referer", evilHost); strings.Contains(w.Body.String(), "alert(") {
			t.Errorf("%s repeats what it was sent", path)
		}
	}
	for _, path := range []string{"/<script>alert(1)</script>", "/api/flows/<script>/close", "/nowhere"} {
		if w := r.do("GET", strings.ReplaceAll(path, "<", "%3C")); strings.Contains(w.Body.String(), "<script>") {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
	if w := r.do("GET", "/api/status"); strings.Contains(w.Body.String(), "<") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the state could be taken for markup: %.300s", w.Body)
	}
	for _, path := range []string{"/", "/api/status", "/api/log", "/api/setup", "/api/route?to=a:1", "/metrics", "/proxy.pac", "/nowhere"} {
		h := r.do("GET", path).Header()
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'"} {
			if policy := h.Get("Content-Security-Policy"); !strings.Contains(policy, want) || strings.Contains(policy, "unsafe") {
				t.Errorf("%s: policy %q", path, policy)
			}
		}
	}
}

func TestHostile50_PathTraversal(t *testing.T) {
	r := newRig(t, nil)
	for _, path := range []string{
		"/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "//etc/passwd", "/page/page.js", "/page.js",
		"/./../dash.go", "/api/../../etc/passwd", `/..\..\etc\passwd`, "/api/flows/../status/close", "/index.html", "/favicon.ico",
	} {
		w := r.do("GET", path)
		if w.Code == http.StatusOK || strings.Contains(w.Body.String(), "root:") {
			t.Errorf("%s: %d %.80q", path, w.Code, w.Body)
		}
	}
}

// A thousand readers look at the mux as often as one does.
func TestHostile50_ThousandReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() { r.do("GET", "/api/status") })
		}
		all.Wait()
		if n := r.looks.Load(); n != 1 {
			t.Errorf("%d looks", n)
		}
		time.Sleep(lookEvery)
		r.do("GET", "/metrics")
		if n := r.looks.Load(); n != 2 {
			t.Errorf("%d looks after a while", n)
		}
	})
}

// Who connects and says nothing takes one of the places, for a while: the others wait,
// and then are served.
func TestHostile50_SilentConnections(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	few := limit(ln, 2)
	defer few.Close()
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := few.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	select {
	case <-accepted:
		t.Fatal("a third one was let in")
	case <-time.After(50 * time.Millisecond):
	}
	first.Close()
	first.Close() // makes room once
	third := <-accepted
	few.Close()
	if c, open := <-accepted; open {
		t.Errorf("%v was let in after the end", c.RemoteAddr())
	}
	second.Close()
	third.Close()
}

// The server has that limit: who is one too many waits for a place, and then is answered.
func TestHostile50_OneTooMany(t *testing.T) {
	address := newRig(t, nil).serve(t, "")
	conns := make([]net.Conn, connsMost+1)
	answered := func(i int, within time.Duration) bool {
		conns[i].SetReadDeadline(time.Now().Add(within))
		resp, err := http.ReadResponse(bufio.NewReader(conns[i]), nil)
		return err == nil && resp.StatusCode == http.StatusOK
	}
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("tcp", address); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
		io.WriteString(conns[i], "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if i < connsMost && !answered(i, 10*time.Second) {
			t.Fatalf("connection %d is not answered", i)
		}
	}
	if answered(connsMost, 50*time.Millisecond) {
		t.Error("one too many is answered")
	}
	conns[0].Close()
	if !answered(connsMost, 10*time.Second) {
		t.Error("it is not answered when there is room")
	}
}

// A head without end is not kept.
func TestHostile50_LargeHead(t *testing.T) {
	address := newRig(t, nil).serve(t, "")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", 1<<20))
	answer, _ := io.ReadAll(conn)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
		t.Errorf("%.100q", answer)
	}
}

func TestHostile52_NothingToDebug(t *testing.T) {
	r := newRig(t, nil)
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/vars", "/debug/requests"} {
		if w := r.do("GET", path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
