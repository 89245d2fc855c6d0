package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHostile83_ReloadNoFile: a file that is gone is named, be it found or told by a flag, and where
// there never was one that is said.
func TestHostile83_ReloadNoFile(t *testing.T) {
	p := run(t, nil, "run", "--proxy", "127.0.0.1:0", "--admin", "")
	p.await("proxy on")
	p.hangUp()
	p.await("the config is as it was", "there is no config file to read again")

	client, _, _ := setUp(t)
	text, err := os.ReadFile(client)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	found := filepath.Join(dir, "relaymux", "config.toml")
	if err := os.Mkdir(filepath.Dir(found), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file    string
		environ []string
		args    []string
	}{
		{found, []string{"XDG_CONFIG_HOME=" + dir}, nil},
		{client, nil, []string{"--config", client}},
	} {
		if err := os.WriteFile(c.file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		p := run(t, c.environ, append([]string{"run", "--proxy", "127.0.0.1:0", "--admin", ""}, c.args...)...)
		p.await("proxy on")
		if err := os.Remove(c.file); err != nil {
			t.Fatal(err)
		}
		p.hangUp()
		p.await("the config is as it was", "the config file that was read at the start is gone: "+c.file)
	}
}

// TestHostile83_Status: who looks at the state of the proxy sees that a config with
// mistakes, or one that is gone, is not in effect, until one is that is right; and that
// the state directory cannot be written, which stops nothing.
func TestHostile83_Status(t *testing.T) {
	client, _, _ := setUp(t)
	good, err := os.ReadFile(client)
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(state, nil, 0o600); err != nil { // no directory: nobody can write there, not even root
		t.Fatal(err)
	}
	p := run(t, []string{"RELAYMUX_STATE_DIR=" + state}, "run", "--config", client, "--proxy", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "carried") }))
	defer target.Close()
	proxy := by(t, address(p.await("proxy on")))
	page := address(p.await("Admin page on"))
	p.await("Config ")
	expect := func(when string, refused ...string) {
		t.Helper()
		type state struct {
			Refused string `json:"config_refused"`
			Unkept  string `json:"state_unkept"`
			Advice  []struct{ Code string }
		}
		var st state
		for began := time.Now(); time.Since(began) < 10*time.Second; { // a look is shared for a while, and the log is a moment ahead
			text, _, err := get(http.DefaultClient, page+"api/status")
			st = state{}
			if err == nil {
				err = json.Unmarshal([]byte(text), &st)
			}
			if err != nil {
				t.Fatal(err)
			}
			if (len(refused) == 0) == (st.Refused == "") {
				break
			}
		}
		if (len(refused) == 0) != (st.Refused == "") || st.Unkept == "" {
			t.Errorf("%s: %q, %q", when, st.Refused, st.Unkept)
		}
		for _, word := range refused {
			if !strings.Contains(st.Refused, word) {
				t.Errorf("%s: no %q in %q", when, word, st.Refused)
			}
		}
		codes := fmt.Sprint(st.Advice)
		if strings.Contains(codes, "config_refused") != (len(refused) > 0) || !strings.Contains(codes, "state_unkept") {
			t.Errorf("%s: the advice is %s", when, codes)
		}
		if text, _, err := get(proxy, target.URL); text != "carried" {
			t.Errorf("%s: %q, %v", when, text, err)
		}
	}
	expect("at first")
	change(t, client, func(text string) string { return text + "[batch]\nmax_ops = 0\ncolor = 1\n" })
	p.hangUp()
	p.await("the config is as it was")
	expect("with two mistakes", filepath.Base(client)+":", "batch.", "(and 1 more)")
	change(t, client, func(string) string { return string(good) })
	p.hangUp()
	p.await("config read again")
	expect("with a right one")
	if err := os.Remove(client); err != nil {
		t.Fatal(err)
	}
	p.hangUp()
	p.await("the config is as it was")
	expect("when it is gone", "is gone")
}

// TestHostile43_OwnPorts: the admin page is not to be had through the proxy, though the node is on
// this machine and connects to it.
func TestHostile43_OwnPorts(t *testing.T) {
	p := run(t, nil, "run", "--proxy", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	proxy := address(p.await("proxy on"))
	page := address(p.await("Admin page on"))
	if text, status, err := get(by(t, proxy), page+"healthz"); err != nil || status != http.StatusForbidden {
		t.Errorf("%d, %q, %v", status, text, err)
	}
}

// TestHostile83_Reload: a file with mistakes changes nothing and every mistake is told; a good
// one moves the port, asks for a password, and brings another deployment, while a
// download goes on whole.
func TestHostile83_Reload(t *testing.T) {
	client, _, _ := setUp(t)
	more := make(chan []byte)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/long" {
			fmt.Fprint(w, "carried")
			return
		}
		for {
			w.(http.Flusher).Flush()
			select {
			case p, ok := <-more:
				if !ok {
					return
				}
				_, _ = w.Write(p)
			case <-r.Context().Done():
				return
			}
		}
	}))
	defer target.Close()

	first, second := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	change(t, client, func(text string) string {
		return strings.Replace(text, "127.0.0.1:1080", first, 1) + "\n[admin]\nlisten = \"\"\n"
	})
	p := run(t, nil, "run", "--config", client)
	p.await("proxy on")
	resp, err := by(t, first).Get(target.URL + "/long")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	part := bytes.Repeat([]byte("part "), 20_000)
	take := func() {
		t.Helper()
		select {
		case more <- part:
		case <-time.After(30 * time.Second):
			t.Fatal("the download has ended")
		}
		got := make([]byte, len(part))
		if _, err := io.ReadFull(resp.Body, got); err != nil || !bytes.Equal(got, part) {
			t.Fatalf("the download: %v", err)
		}
	}
	take()

	good, err := os.ReadFile(client)
	if err != nil {
		t.Fatal(err)
	}
	change(t, client, func(text string) string {
		return strings.Replace(text, first, second, 1) + "[batch]\nmax_ops = 0\ncolor = 1\n"
	})
	p.hangUp()
	for _, key := range []string{"batch.max_ops", "batch.color"} {
		var told struct {
			Level, File, Key, Text string
			Line                   int
		}
		line := p.await(`"key":"` + key + `"`)
		if err := json.Unmarshal([]byte(line), &told); err != nil || told.Level != "ERROR" || told.File != client || told.Line == 0 || told.Text == "" {
			t.Errorf("%s is told by %s (%v)", key, line, err)
		}
	}
	p.await(`"level":"ERROR"`, "the config is as it was", `"mistakes":2`)
	take()
	if text, _, err := get(by(t, first), target.URL); text != "carried" {
		t.Errorf("after a file with mistakes: %q, %v", text, err)
	}

	const word = "a password of the test"
	change(t, client, func(string) string {
		text := strings.Replace(string(good), first, second, 1)
		text = strings.Replace(text, "[proxy]\n", "[proxy]\nusers = [{name = \"ann\", password = \""+word+"\"}]\n", 1)
		text = strings.Replace(text, "= \"direct\"", "= \"again\"", 1)
		return text + "[limits]\nmemory = \"64MiB\"\nconnections = 7\n"
	})
	p.hangUp()
	line := p.await("config read again", "proxy.listen", "+proxy.users.ann", "+deployment.again", "limits.connections")
	if strings.Contains(line, word) || strings.Contains(line, "limits.memory") {
		t.Errorf("the log says %s", line)
	}
	p.await("needs a restart", "limits.memory")
	take()
	if c, err := net.Dial("tcp", first); err == nil {
		c.Close()
		t.Error("the old port is still open")
	}
	if _, status, err := get(by(t, second), target.URL); err != nil || status != http.StatusProxyAuthRequired {
		t.Errorf("without the password: %d, %v", status, err)
	}
	with := by(t, url.UserPassword("ann", word).String()+"@"+second)
	if text, status, err := get(with, target.URL); text != "carried" {
		t.Errorf("by the new port: %q, %d, %v", text, status, err)
	}
	take()

	// The address becomes one of all interfaces, with the same port number; and one
	// that cannot be had leaves what there is.
	change(t, client, func(text string) string {
		return strings.Replace(text, second, strings.Replace(second, "127.0.0.1", "0.0.0.0", 1), 1) + "[route]\nblock = [\"blocked.example\"]\n"
	})
	p.hangUp()
	p.await("config read again", "proxy.listen", "route.block")
	if _, status, err := get(with, "http://blocked.example/"); err != nil || status != http.StatusForbidden {
		t.Errorf("what is blocked now: %d, %v", status, err)
	}
	if text, _, err := get(with, target.URL); text != "carried" {
		t.Errorf("by all interfaces: %q, %v", text, err)
	}
	taken := strings.TrimPrefix(target.URL, "http://")
	port := strings.TrimPrefix(second, "127.0.0.1")
	change(t, client, func(text string) string {
		return strings.Replace(text, `"0.0.0.0`+port+`"`, `["`+taken+`", "0.0.0.0`+port+`"]`, 1)
	})
	p.hangUp()
	p.await(`"level":"ERROR"`, "the config is as it was", "address already in use")
	if text, _, err := get(with, target.URL); text != "carried" {
		t.Errorf("after an address that cannot be had: %q, %v", text, err)
	}
	close(more)
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("the download ended with %d bytes more, %v", len(rest), err)
	}
}

// TestNodeReload: the node takes another egress policy and other clients, and what else
// has changed it names.
func TestNodeReload(t *testing.T) {
	client, node, n := setUp(t)
	target := func() string { // another each time, for the proxy keeps connections
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "carried") }))
		t.Cleanup(s.Close)
		return s.URL
	}
	p := run(t, nil, "run", "--config", client, "--proxy", "127.0.0.1:0", "--admin", "")
	proxy := by(t, address(p.await("proxy on")))
	if text, _, err := get(proxy, target()); text != "carried" {
		t.Fatalf("%q, %v", text, err)
	}
	change(t, node, func(text string) string {
		return strings.Replace(text, "allow_private = true", "allow_private = false", 1) + "[node.limits]\nmemory = \"64MiB\"\n"
	})
	n.hangUp()
	n.await("config read again", "node.egress.allow_private")
	n.await("needs a restart", "node.limits.memory")
	if text, _, _ := get(proxy, target()); text == "carried" {
		t.Error("a private address is reached though it is not allowed any more")
	}
}
