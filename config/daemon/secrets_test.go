package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"relaymux/config"
)

// A ledger of all that is said, by everybody.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// Secrets of the test. None is a part of another.
const (
	linkSecret    = "link-Secret/of+the=test-0123456789abc"
	oldLinkSecret = "another-Secret-of-the-test-9876543210xy"
	nodeKey       = "node-Key/of+the=test-abcdefgh"
	relayKey      = "relay-Key/of+the=test-ijklmnop"
	password      = "pass-Word/of+the=test"
	wrongPassword = "wrong-Word-of-the-test"
	adminToken    = "admin-Token/of+the=test-qrstuvwx"
)

// forms are how a secret may be written.
func forms(s string) []string {
	return []string{s, hex.EncodeToString([]byte(s)), base64.StdEncoding.EncodeToString([]byte(s)), url.QueryEscape(s), url.PathEscape(s),
		fmt.Sprintf("%q", s)[1 : len(s)+1], fmt.Sprint([]byte(s))}
}

// TestSecretsAreNotTold runs a node and a proxy with a secret in each place that can have
// one, with relays that work, that do not, and one that repeats what it is asked; uses them
// well and badly; and looks into all that is told of it.
func TestSecretsAreNotTold(t *testing.T) {
	log := new(said)
	logger := slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(log, r.Header, r.URL) // what a target gets to know
	}))
	defer target.Close()
	parrot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Query(); {
		case strings.HasPrefix(r.URL.Path, "/page"):
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprintf(w, "<title>%s %s</title>", r.Header.Get("Authorization"), body)
		case strings.HasPrefix(r.URL.Path, "/away"):
			http.Redirect(w, r, "/"+url.PathEscape(r.Header.Get("Authorization")), http.StatusFound)
		default:
			_ = json.NewEncoder(w).Encode(map[string]string{"e": "you said " + r.Header.Get("Authorization") + string(body)})
		}
	}))
	defer parrot.Close()

	read := func(role config.Role, text string) *config.Config {
		t.Helper()
		file := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, warnings, err := config.Load(config.Source{Role: role, Path: file})
		fmt.Fprintln(log, warnings, err)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	environ := []string{"STATE_DIRECTORY=" + t.TempDir()}
	node, err := NewNode(read(config.Node, "[node]\nlisten = '127.0.0.1:0'\nself_signed = true\nkey = '"+nodeKey+"'\ndiagnostics = true\n"+
		"[[node.client]]\nname = 'laptop'\nsecret = '"+linkSecret+"'\n[node.egress]\nallow_private = true\n"), Process{Environ: environ, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { _ = node.Run(ctx) })
	defer all.Wait()
	defer stop()

	proxyConfig := func(secret, extra string) *config.Config {
		text := "[proxy]\nlisten = '127.0.0.1:0'\nusers = [{name = 'ann', password = '" + password + "'}]\n[admin]\nlisten = '127.0.0.1:0'\ntoken = '" + adminToken +
			"'\n[link]\nsecret = '" + secret + "'\ngrace = '1s'\n" + extra
		at := "https://" + node.ln.Addr().String()
		for _, d := range []string{
			"name = 'straight'\nurl = '" + at + "'\npin_sha256 = '" + node.server.Fingerprint() + "'\nhttp = '1.1'\n",
			"name = 'json'\nwire = 'json'\nurl = '" + at + "'\npin_sha256 = '" + node.server.Fingerprint() + "'\nkey = '" + nodeKey + "'\nhttp = '1.1'\n",
			"name = 'pinned'\nurl = '" + at + "'\nkey = '" + relayKey + "'\nhttp = '3'\n",
			"name = 'parrot'\nurl = '" + parrot.URL + "/a'\nkey = '" + relayKey + "'\n",
			"name = 'page'\nurl = '" + parrot.URL + "/page'\nkey = '" + relayKey + "'\n",
			"name = 'away'\nurl = '" + parrot.URL + "/away'\nkey = '" + relayKey + "'\n",
			"name = 'script'\nurl = '" + parrot.URL + "/macros/s/AKfyX/exec'\nkey = '" + relayKey + "'\n",
			"name = 'gone'\nwire = 'json'\nurl = 'https://127.0.0.1:1'\nkey = '" + relayKey + "'\n",
		} {
			text += "[[deployment]]\nexchange_limit = '5s'\n" + d
		}
		return read(config.Run, text)
	}
	cfg := proxyConfig(linkSecret, "")
	p, err := NewProxy(cfg, Process{Environ: environ[:0], Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	all.Go(func() { _ = p.Run(ctx) })

	get := func(user, word, to string) int {
		u := &url.URL{Scheme: "http", Host: p.Addrs()[0].String(), User: url.UserPassword(user, word)}
		c := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{Proxy: http.ProxyURL(u), DisableKeepAlives: true}}
		resp, err := c.Get(to)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		_, _ = io.Copy(log, resp.Body)
		fmt.Fprintln(log, resp.Header)
		return resp.StatusCode
	}
	for range 3 {
		if got := get("ann", password, target.URL+"/x"); got != http.StatusOK {
			t.Errorf("with the password: %d\n%s", got, log)
		}
		if got := get("ann", wrongPassword, target.URL); got != http.StatusProxyAuthRequired {
			t.Errorf("with a wrong one: %d", got)
		}
		get("ann", password, "http://127.0.0.1:1/")
	}
	for _, word := range []string{password, wrongPassword} { // by SOCKS
		c, err := net.Dial("tcp", p.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(c, "\x05\x01\x02\x01\x03ann%c%s\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x01", len(word), word)
		_, _ = io.CopyN(io.Discard, c, 14)
		c.Close()
	}
	for _, body := range []string{`{"k":"` + wrongPassword + `","ops":[]}`, wrongPassword} { // strangers at the node
		c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
		resp, err := c.Post("https://"+node.ln.Addr().String()+"/tunnel/batch", "", strings.NewReader(body))
		if err == nil {
			_, _ = io.Copy(log, resp.Body)
			resp.Body.Close()
		}
	}

	ask := func(path, authorization string) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Pages()[0].String()+path, nil)
		req.Header.Set("Authorization", authorization)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		fmt.Fprintln(log, path, resp.Status, resp.Header)
		_, _ = io.Copy(log, resp.Body)
	}
	for _, path := range []string{"/", "/proxy.pac", "/healthz", "/api/status", "/api/log", "/api/setup", "/metrics", "/api/route?to=x.test:1", "/api/proof?nonce=" + strings.Repeat("00", 32), "/nothing"} {
		ask(path, "Bearer "+adminToken)
		ask(path, "Bearer "+wrongPassword)
		ask(path, "")
	}

	examined, stopExam := context.WithTimeout(ctx, 20*time.Second)
	report, err := Examine(examined, cfg, environ, "127.0.0.1:1")
	stopExam()
	if err != nil {
		t.Fatal(err)
	}
	_ = json.NewEncoder(log).Encode(report)
	other := proxyConfig(oldLinkSecret, "[batch]\nmax_ops = 20\n")
	fmt.Fprintln(log, config.Diff(cfg, other))
	if err := p.Reload(other); err != nil {
		t.Error(err)
	}
	fmt.Fprintf(log, "%v %+v %#v %v", cfg, other, *cfg, other.Link)
	_ = json.NewEncoder(log).Encode(cfg)
	logger.Info("all", "cfg", cfg, "node", node.cfg.Node, "users", cfg.Proxy.Users)
	get("ann", password, target.URL+"/y")
	ask("/api/log?level=DEBUG", "Bearer "+adminToken)
	stop()
	all.Wait()

	text := log.String()
	for _, part := range []string{"link to the node is made", "certificate_sha256", "relaymux_exchanges_total", `"deployments"`} {
		if !strings.Contains(text, part) {
			t.Errorf("the test has seen no %q", part)
		}
	}
	for _, s := range []string{linkSecret, oldLinkSecret, nodeKey, relayKey, password, wrongPassword, adminToken} {
		for _, form := range forms(s) {
			if i := strings.Index(text, form); i >= 0 {
				t.Errorf("%q is told: %.400q", s, text[max(0, i-200):])
			}
		}
	}
}
