package dash

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"relaymux/mux/secret"
)

// FuzzAdmin: whatever is asked, nobody sees or changes anything without the token, by
// another host's name, or for another origin's page; and no answer lets one in.
func FuzzAdmin(f *testing.F) {
	const shown = "Authorization: Bearer " + proofToken + "\r\n"
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: 127.0.0.1:1081\r\n\r\n", "GET /api/status?flows=1&recent=-1 HTTP/1.1\r\nHost: localhost\r\n" + shown + "\r\n",
		"GET /api/status HTTP/1.1\r\nHost: evil.example\r\n" + shown + "\r\n", "GET /api/log?after=x&level=warn HTTP/1.1\r\nHost: [::1]:1\r\n" + shown + "\r\n",
		"POST /api/flows/7/close HTTP/1.1\r\nHost: localhost.\r\nOrigin: null\r\n" + shown + "\r\n", "POST /api/flows/7/close HTTP/1.1\r\nHost: LOCALHOST\r\n\r\n",
		"GET /api/proof?nonce=" + strings.Repeat("0a", nonceLen) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /api/route?to=a:1 HTTP/1.1\r\nHost: localhost\r\n" + shown + "\r\n",
		"GET /api/status HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n\r\n", "GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: proof x\r\n\r\n",
		"GET //api/../api/status HTTP/1.1\r\nHost: localhost\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET http://localhost/proxy.pac HTTP/1.1\r\nHost: a\r\n\r\n",
		"PUT /healthz HTTP/1.1\r\nHost: [fe80::1%25lo]:1081\r\nContent-Length: 3\r\n\r\nabc", "GET /api/setup HTTP/1.1\r\nHost: localhost:<script>\r\n\r\n",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, text string, locked bool) {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		const hidden = "nobody-may-see.example"
		r := newRig(t, func(c *Config) {
			c.Route = func(string) (string, string, error) { return hidden, "", nil }
			if locked {
				c.Token = secret.New(proofToken)
			}
		})
		r.snap.Flows[1].Host = hidden
		req.RemoteAddr = "127.0.0.1:2"
		at := net.Addr(net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:1081")))
		req = req.WithContext(context.WithValue(context.WithValue(t.Context(), http.LocalAddrContextKey, at), nonceKey{}, new(string)))
		w := httptest.NewRecorder()
		r.http.Handler.ServeHTTP(w, req)

		ended := r.ended.Load() != 0
		saw := ended || strings.Contains(w.Body.String(), hidden)
		proves := strings.Contains(text, proofToken)
		switch {
		case w.Code >= 500:
			t.Errorf("status %d", w.Code)
		case saw && locked && !proves:
			t.Errorf("status %d without the token", w.Code)
		case ended && !proves && !locked: // the page's token is known to nobody here
			t.Errorf("a flow is ended without the page's token")
		case saw && !ours(req.Host):
			t.Errorf("status %d for the host %q", w.Code, req.Host)
		case saw && strangers(req):
			t.Errorf("status %d for %v", w.Code, req.Header)
		case strings.Contains(w.Body.String(), proofToken) && !strings.Contains(text, proofToken):
			t.Errorf("the token is in %s", w.Body)
		}
		for name := range w.Header() {
			if strings.HasPrefix(name, "Access-Control-") || name == "Set-Cookie" || name == "Location" && w.Code >= 400 {
				t.Errorf("%s: %q", name, w.Header()[name])
			}
		}
		if to := w.Header().Get("Location"); to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//")) {
			t.Errorf("it leads to %q", to)
		}
		if w.Header().Get("Content-Security-Policy") == "" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("the headers are %v", w.Header())
		}
	})
}

// ours reports whether a Host is one of loopback.
func ours(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if strings.EqualFold(strings.TrimSuffix(name, "."), "localhost") {
		return true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(name, "."))
	return err == nil && a.Unmap().WithZone("").IsLoopback()
}

// strangers reports whether a browser would say this of another origin's page.
func strangers(r *http.Request) bool {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	return site == "cross-site" || site == "same-site" || origin != "" && !strings.HasSuffix(origin, "://"+r.Host)
}
