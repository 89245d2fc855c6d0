package command

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

// TestHostile84_PortTaken: a port that another program has is told by its address.
func TestHostile84_PortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := ln.Addr().String()
	if text, code := output(t, "run", "--proxy", taken, "--admin", ""); code != 1 || !strings.Contains(text, taken) || !strings.Contains(text, "in use") {
		t.Errorf("the proxy's: exit code %d, %s", code, text)
	}
	p := run(t, nil, "run", "--proxy", "127.0.0.1:0", "--admin", taken)
	p.await("no admin page", taken, "in use") // the proxy is worth more than its page
}
