package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
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
