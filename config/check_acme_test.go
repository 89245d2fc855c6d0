package config

import (
	"fmt"
	"testing"
)

// TestACMEPorts: which port the CA asks at, and what is said of another.
func TestACMEPorts(t *testing.T) {
	for _, c := range []struct {
		listen, acme string
		byHTTP       bool
		warning      string
	}{
		{"0.0.0.0:443", "", false, ""},
		{"0.0.0.0:8443", "", true, ""},
		{"0.0.0.0:443", `challenge = "http-01"`, true, ""},
		{"0.0.0.0:8443", `http_listen = "127.0.0.1:8080"`, true, "port 80 of the domains"},
		{"0.0.0.0:443", `http_listen = "127.0.0.1:8080"`, false, ""},
		{"0.0.0.0:8443", `challenge = "tls-alpn-01"`, false, "port 443 of the domains"},
	} {
		text := fmt.Sprintf("[node]\nlisten = %q\ntls = 'acme'\nkey = %q\n[node.acme]\ndomains = ['node.example.com']\n%s\n", c.listen, goodKey, c.acme)
		cfg, warnings, err := Load(Source{Role: Node, Path: write(t, "c.toml", text)})
		if err != nil || cfg.Node.ByHTTP() != c.byHTTP || len(warnings) > 0 != (c.warning != "") {
			t.Errorf("%s %s: %v, %v", c.listen, c.acme, warnings, err)
			continue
		}
		if c.warning != "" {
			wantProblem(t, []string{warnings[0].String()}, c.warning)
		}
	}
}

// TestStateIsOfBoth: where a node keeps things does not make its file a proxy's.
func TestStateIsOfBoth(t *testing.T) {
	mustLoad(t, Any, testdata(t, "node.toml")+"[state]\ndir = '/var/lib/relaymux'\n")
	wantProblem(t, report(Source{Role: Any, Path: write(t, "c.toml", "[state]\ndir = 'x'\n")}), "deployment: there is none")
}

// TestEmbeddedKnowsNoACME: that is of a node elsewhere.
func TestEmbeddedKnowsNoACME(t *testing.T) {
	cfg, _, err := Load(Source{Role: Run, Environ: []string{"RELAYMUX_NODE_TLS=acme", "RELAYMUX_NODE_ACME_EMAIL=x"}})
	if err != nil || cfg.Node.TLS != Auto || !cfg.Node.SelfSigned {
		t.Errorf("%+v, %v", cfg, err)
	}
}
