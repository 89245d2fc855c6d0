package config

import (
	"errors"
	"strings"
	"testing"
)

// TestPlaceholders: who has copied a file from the documents hears where each secret
// comes from; the client's are not of its own making.
func TestPlaceholders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"secret", "[link]\nsecret = '...'\n[[deployment]]\nurl = 'https://node.example'\n", "link.secret: is an example; copy the secret"},
		{"script", "[[deployment]]\nurl = 'https://script.google.com/macros/s/a1/exec'\nkey = 'PUT-THE-DEPLOYMENT-KEY-HERE'\n", "deployment.key: is an example; copy the AUTH_KEY"},
		{"node", "[[deployment]]\nurl = 'https://node.example'\nkey = '...'\n", "deployment.key: is an example; copy the key of [node]"},
		{"relay", "[link]\nsecret = 'x9f8e7d6c5b4a3z2y1w0v9u8t7s6r5q4p3'\n[[deployment]]\nurl = 'https://node.example/x'\nkey = 'changeme'\n", "deployment.key: is an example; copy the key that the relay asks for"},
		{"pin", "[[deployment]]\nurl = 'https://node.example'\npin = 'ab'\n", "did you mean pin_sha256?"},
		{"connect", "[[deployment]]\nurl = 'https://node.example'\nconnect = 'ab'\n", "did you mean connect_to?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, warnings, err := Load(Source{Role: Run, Path: write(t, "c.toml", c.text)})
			var all []string
			for _, w := range warnings {
				all = append(all, w.String())
			}
			if err != nil {
				all = append(all, err.Error())
			}
			if text := strings.Join(all, "\n"); !strings.Contains(text, c.want) {
				t.Errorf("want %q in\n%s", c.want, text)
			}
		})
	}
}

// TestUnfilled: a url as init writes it is told until its user has filled it in.
func TestUnfilled(t *testing.T) {
	t.Parallel()
	const secret = "[link]\nsecret = 'x9f8e7d6c5b4a3z2y1w0v9u8t7s6r5q4p3'\n"
	for url, want := range map[string]string{
		"https://script.google.com/macros/s/DEPLOYMENT_ID/exec":  "deployment.url: has still DEPLOYMENT_ID in it; fill in the script's deployment id",
		"https://script.google.com/macros/s/AKfy.../exec":        "deployment.url: has still ... in it; fill in the script's deployment id",
		"https://script.google.com/macros/s/" + IDHere + "/exec": "deployment.url: has still THE-ID-YOU-WERE-SHOWN in it; fill in the script's deployment id",
		"https://relay.example/...":                              "deployment.url: has still ... in it; fill in the relay's address",
		"https://YOUR-WORKER.workers.dev":                        "fill in the relay's address",
		"https://YOUR-PROXY.example/hidden":                      "fill in the relay's address",
		"https://script.google.com/macros/s/AKfy1/exec":          "",
	} {
		text := secret + "[[deployment]]\nurl = '" + url + "'\nkey = 'Zm9yIHRlc3RzIG9ubHkh'\n"
		_, warnings, err := Load(Source{Role: Run, Path: write(t, "c.toml", text)})
		if err != nil || (len(warnings) > 0) != (want != "") || want != "" && !strings.Contains(warnings[0].String(), want) {
			t.Errorf("%s: %v, %v", url, warnings, err)
		}
	}
}

// TestOtherSide: the config of the other side is told as that, and nothing else.
func TestOtherSide(t *testing.T) {
	t.Parallel()
	const client = "[link]\nsecret = 'x9f8e7d6c5b4a3z2y1w0v9u8t7s6r5q4p3'\n[[deployment]]\nurl = 'https://relay.example'\n"
	const node = "[node]\nlisten = '127.0.0.1:0'\nplain = true\nkey = 'Zm9yIHRlc3RzIG9ubHkh'\n"
	for _, c := range []struct {
		role    Role
		text    string
		environ []string
		want    string
	}{
		{Node, client, nil, "is the proxy's config"},
		{Run, node, nil, "is the node's config"},
		{Run, client + node, nil, ""},
		{Node, client + node, nil, ""},
		{Node, client, []string{"RELAYMUX_NODE_PLAIN=true", "RELAYMUX_NODE_LISTEN=127.0.0.1:0", "RELAYMUX_NODE_KEY=Zm9yIHRlc3RzIG9ubHkh"}, ""},
		{Run, "[[deployments]]\nurl = 'https://relay.example'\n", nil, "did you mean deployment?"},
	} {
		_, warnings, err := Load(Source{Role: c.role, Path: write(t, "c.toml", c.text), Environ: c.environ})
		var told []Problem
		if bad, ok := errors.AsType[*Error](err); ok {
			told = bad.Problems()
		}
		if (c.want != "") != (len(told) == 1) || c.want != "" && !strings.Contains(told[0].String(), c.want) {
			t.Errorf("%v, %q: %v, %v", c.role, c.text, err, warnings)
		}
	}
}

// TestNearest: what somebody has mistyped or begun, and what is like nothing.
func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"proxy", "config", "log-level"}
	for name, want := range map[string]string{"prox": "proxy", "conf": "config", "log": "log-level", "loglevel": "log-level", "zzz": ""} {
		if got := Nearest(name, names); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
