package setup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	oldTOML = `[relay]
mode = "full"
script_ids = ["AKfyOne", "https://script.google.com/macros/s/AKfyTwo/exec", "AKfyOne"]
script_id = "AKfyIsNotRead"
auth_key = "the key of the old script"

[network]
google_ip = "216.239.32.120"
front_domain = "mail.google.com"
listen_host = "127.0.0.1"
listen_port = 8085
socks5_port = 8086

[network.hosts]

[exit_node]
enabled = false
`
	oldJSON = `{"mode": "full", "script_id": "AKfyOne", "auth_key": "the key of the old script", "google_ip": "216.239.32.120",
"front_domain": "mail.google.com", "listen_host": "0.0.0.0", "listen_port": 8085, "socks5_port": 8086, "hosts": {}}`

	// What mhrv-rs has in its example, and its script.
	exampleTOML = `[relay]
mode = "full"
script_id = "YOUR_APPS_SCRIPT_DEPLOYMENT_ID"
auth_key = "CHANGE_ME_TO_A_STRONG_SECRET"
`
	exampleScript = `
const AUTH_KEY = "CHANGE_ME_TO_A_STRONG_SECRET";
const TUNNEL_SERVER_URL = "https://YOUR_TUNNEL_NODE_URL";
const TUNNEL_AUTH_KEY = "YOUR_TUNNEL_AUTH_KEY";
`

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
			said := mustRun(t, o)
			client, node := load(t, o.Dir)
			d := client.Deployments[0]
			if d.URL != scriptURL("AKfyOne") || d.Key.Reveal() != "the key of the old script" ||
				d.ConnectTo != "216.239.32.120:443" || d.ServerName != "mail.google.com" {
				t.Errorf("got %+v", d)
			}
			if n := map[string]int{"config.toml": 2, "config.json": 1}[name]; len(client.Deployments) != n {
				t.Errorf("%d scripts of %d", len(client.Deployments), n)
			}
			if got, want := client.Proxy.Listen, []string{"127.0.0.1:1080", "127.0.0.1:8086", "127.0.0.1:8085"}; !slices.Equal(got, want) {
				t.Errorf("listens on %v", got)
			}
			if !strings.Contains(said, "Manage deployments > Edit > New version") {
				t.Error(said)
			}
			if strings.Contains(said, "open to its network") != (name == "config.json") {
				t.Error(said)
			}
			if text := read(t, o.Dir, "Code.gs"); !strings.Contains(text, `"the key of the old node"`) {
				t.Error("the script has another key than the old one")
			}
			if node.Node.Key.Reveal() != "the key of the old node" || node.Node.Listen != "0.0.0.0:8443" {
				t.Errorf("got %+v", node.Node)
			}
		})
	}
}

func TestTakeOverAWeakKey(t *testing.T) {
	script := strings.ReplaceAll(oldScript, "the key of the old node", "changeme")
	o := Options{Dir: filepath.Join(t.TempDir(), "setup"), From: []string{old(t, "c", oldTOML), old(t, "s", script)}}
	if said := mustRun(t, o); !strings.Contains(said, "is an example, which everybody knows; a new one stands in node.toml") {
		t.Error(said)
	}
	load(t, o.Dir)
}

// TestTakeOverExamples: what nobody has filled in is nothing to take over.
func TestTakeOverExamples(t *testing.T) {
	for name, text := range map[string]string{"config.toml": exampleTOML, "CodeFull.gs": exampleScript} {
		if _, err := takeOver([]string{old(t, name, text)}); err == nil || !strings.Contains(err.Error(), "nothing that could be taken over") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTakeOverAppsScriptMode: a script that carries no connections has to give way.
func TestTakeOverAppsScriptMode(t *testing.T) {
	o := Options{Dir: filepath.Join(t.TempDir(), "setup"), Node: "node.example",
		From: []string{old(t, "c", strings.ReplaceAll(oldTOML, `"full"`, `"apps_script"`))}}
	if said := mustRun(t, o); !strings.Contains(said, "Code.gs has to take its place") {
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
