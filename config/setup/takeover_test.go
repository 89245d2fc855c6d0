package setup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	oldTOML = `[relay]
mode = "full"
script_id = ["AKfyOne", "https://script.google.com/macros/s/AKfyTwo/exec"]
auth_key = "the key of the old script"

[network]
google_ip = "216.239.32.120"
front_domain = "mail.google.com"
listen_port = 8085
`
	oldJSON = `{"mode": "full", "script_id": "AKfyOne", "auth_key": "the key of the old script", "google_ip": "216.239.32.120", "front_domain": "mail.google.com"}`

	oldScript = `
const AUTH_KEY = "the key of the old script";
const TUNNEL_SERVER_URL = "http://old.example:8080"; // a comment
const TUNNEL_AUTH_KEY = 'the key of the old node';
`
)

func old(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTakeOver(t *testing.T) {
	for name, config := range map[string]string{"config.toml": oldTOML, "config.json": oldJSON} {
		t.Run(name, func(t *testing.T) {
			o := Options{Dir: filepath.Join(t.TempDir(), "setup"), From: []string{old(t, name, config), old(t, "CodeFull.gs", oldScript)}}
			mustRun(t, o)
			client, node := load(t, o.Dir)
			d := client.Deployments[0]
			if d.URL != scriptURL("AKfyOne") || d.Key.Reveal() != "the key of the old script" ||
				d.ConnectTo != "216.239.32.120:443" || d.ServerName != "mail.google.com" {
				t.Errorf("got %+v", d)
			}
			if n := strings.Count(config, "AKfy"); len(client.Deployments) != n {
				t.Errorf("%d scripts of %d", len(client.Deployments), n)
			}
			if node.Node.Key.Reveal() != "the key of the old node" || node.Node.Listen != "0.0.0.0:8443" {
				t.Errorf("got %+v", node.Node)
			}
		})
	}
}

func TestTakeOverAWeakKey(t *testing.T) {
	script := strings.ReplaceAll(oldScript, "the key of the old node", "CHANGE_ME_TO_A_STRONG_SECRET")
	o := Options{Dir: filepath.Join(t.TempDir(), "setup"), From: []string{old(t, "c", oldTOML), old(t, "s", script)}}
	if said := mustRun(t, o); !strings.Contains(said, "is an example, which everybody knows; a new one stands in node.toml") {
		t.Error(said)
	}
	load(t, o.Dir)
}

// TestTakeOverATLSProxy: a node that Google reached by HTTPS has a real certificate.
func TestTakeOverATLSProxy(t *testing.T) {
	script := strings.ReplaceAll(oldScript, "http://old.example:8080", "https://old.example")
	o := Options{Dir: filepath.Join(t.TempDir(), "setup"), From: []string{old(t, "c", oldTOML), old(t, "s", script)}}
	said := mustRun(t, o)
	if _, node := load(t, o.Dir); !node.Node.Plain || !strings.Contains(said, "caddy reverse-proxy --from old.example:443") {
		t.Error(said)
	}
}

// What is quoted in an error could be a key.
func TestTakeOverQuotesNothing(t *testing.T) {
	for _, text := range []string{"auth_key = hunter2hunter2", `{"auth_key": "hunter2hunter2"`, "mode = 'hunter2hunter2'", ""} {
		_, err := takeOver([]string{old(t, "config", text)})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
