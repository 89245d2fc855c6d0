package config

import (
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
