package command

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMistyped: what was meant is named, and the exit code is that of usage.
func TestMistyped(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"chek"}, `there is no command "chek"; did you mean check?`, 2},
		{[]string{"chek", "--json"}, "did you mean check?", 2},
		{[]string{"nosuch"}, "relaymux --help lists them", 2},
		{[]string{"chek", "--help"}, `there is no command "chek"; did you mean check?`, 2},
		{[]string{"-h", "nosuch"}, `there is no command "nosuch"; relaymux --help lists them`, 2},
		{[]string{"check", "--help"}, "relaymux check --config relaymux.toml", 0},
		{[]string{"--help"}, "Available Commands:", 0},
		{[]string{"help"}, "Available Commands:", 0},
		{[]string{"completion"}, "Available Commands:", 0},
		{[]string{"completion", "nosuch"}, `there is no command "nosuch"; relaymux completion --help lists them`, 2},
		{[]string{"completion", "zhs", "--help"}, `there is no command "zhs"; did you mean zsh?`, 2},
		{[]string{"help", "completion", "nosuch"}, `there is no command "nosuch"`, 2},
		{[]string{"help", "nosuch"}, `there is no command "nosuch"`, 2},
		{[]string{"help", "check"}, "relaymux check --config relaymux.toml", 0},
		{[]string{"--prox", "x"}, "did you mean --proxy?", 2},
		{[]string{"check", "-config", "x"}, "did you mean --config?", 2},
		{[]string{"init", "--nothing-like-it"}, "unknown flag", 2},
		{[]string{"check", "s3/node.toml"}, "check takes no operand; a config file is named by --config s3/node.toml", 2},
		{[]string{"version", "x"}, `version takes no operand such as "x"`, 2},
	} {
		if text, code := output(t, c.args...); code != c.code || !strings.Contains(text, c.want) {
			t.Errorf("%v: %d, %s", c.args, code, text)
		}
	}
}

// TestCompletion: what a shell is offered.
func TestCompletion(t *testing.T) {
	for want, args := range map[string][]string{
		"apps-script": {"script", ""}, "files": {"init", "--node-tls", ""}, "proxy": {"init", "--relay", ""},
		"warn": {"--log-level", ""}, "toml": {"check", "--config", ""}, "check\t": {"help", ""},
	} {
		text, code := output(t, append([]string{"__complete"}, args...)...)
		if code != 0 || !slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("%v: %d, %q", args, code, text)
		}
	}
}

// TestScript: with both configs the command prints what init has written, and it says
// what it cannot know.
func TestScript(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "setup")
	if text, code := output(t, "init", "--dir", dir, "--node", "node.example", "--relay", "direct", "--relay", "apps-script=AKfy1",
		"--relay", "proxy=https://proxy.example/below"); code != 0 {
		t.Fatalf("init: %d, %s", code, text)
	}
	client, node := filepath.Join(dir, "relaymux.toml"), filepath.Join(dir, "node.toml")
	for kind, file := range map[string]string{"apps-script": "Code.gs", "nginx": "nginx.conf", "caddy": "Caddyfile"} {
		want, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, configs := range [][]string{{client, node}, {node, client}} {
			text, code := output(t, "script", kind, "--node", "https://node.example:8443", "--config", configs[0], "--config", configs[1])
			if code != 0 || !strings.HasPrefix(text, string(want)) || !strings.Contains(text[len(want):], "the node's certificate is self-signed") {
				t.Errorf("%s: %d, %s", kind, code, text)
			}
			if strings.Contains(text, "which must be for node.example, the host of --node") != (kind != "apps-script") {
				t.Errorf("%s, of the certificate's name: %s", kind, text)
			}
		}
		text, code := output(t, "script", kind, "--config", client)
		if code != 0 || strings.Contains(text, "PUT-THE-PATH-HERE") || !strings.Contains(text, "add --config node.toml") {
			t.Errorf("%s with the proxy's config: %d, %s", kind, code, text)
		}
	}
	if text, code := output(t, "script", "worker", "--config", node); code != 0 || !strings.Contains(text, "a Worker refuses that") {
		t.Errorf("a Worker before a node with a certificate of its own: %d, %s", code, text)
	}
	if err := os.Remove(filepath.Join(dir, "cert.pem")); err != nil {
		t.Fatal(err)
	}
	text, code := output(t, "script", "apps-script", "--config", node)
	if code != 0 || !strings.Contains(text, "\nconst VERIFY_CERTIFICATE = true") || !strings.Contains(text, "check: "+node+": node.tls_cert cannot be looked at here") {
		t.Errorf("without the certificate: %d, %s", code, text)
	}
	change(t, node, func(text string) string {
		text = strings.Replace(text, `tls_cert    = "cert.pem"`, "self_signed = true", 1)
		return strings.Replace(text, `tls_key     = "key.pem"`, "", 1)
	})
	if text, code = output(t, "script", "apps-script", "--config", node); code != 0 || !strings.Contains(text, "\nconst VERIFY_CERTIFICATE = false") {
		t.Errorf("self_signed: %d, %s", code, text)
	}
	if text, code = output(t, "script", "nginx", "--config", node); code != 0 || !strings.Contains(text, "a new certificate at each start") {
		t.Errorf("self_signed and nginx: %d, %s", code, text)
	}
}

// TestExamples: help has one for each command.
func TestExamples(t *testing.T) {
	for _, c := range new(app).root().Commands() {
		if c.Example == "" && c.Name() != "help" {
			t.Errorf("%s has no example", c.Name())
		}
	}
}
