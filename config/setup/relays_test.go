package setup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"relaymux/relay/script"
)

// TestGitignore: it goes into a directory of init's own, and never into one that has
// other things.
func TestGitignore(t *testing.T) {
	o := Options{Dir: t.TempDir(), Node: "node.example", Relays: []string{Direct}}
	if err := os.WriteFile(filepath.Join(o.Dir, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, o)
	if _, err := os.Stat(filepath.Join(o.Dir, ".gitignore")); err == nil {
		t.Error("a directory with other things is hidden from git")
	}
}

// TestKeys: each kind of relay has a key of its own, and every deployment a name.
func TestKeys(t *testing.T) {
	o := Options{Dir: filepath.Join(t.TempDir(), "setup"), Node: "node.example:443",
		Relays: []string{Direct, script.AppsScript, script.AppsScript + "=AKfy_1-a", script.Worker, Proxy + "=https://proxy.example/x"}}
	said := mustRun(t, o)
	client, _ := load(t, o.Dir)
	var names []string
	for _, d := range client.Deployments {
		names = append(names, d.Name)
	}
	if want := []string{"direct", "apps-script", "apps-script-2", "worker", "proxy"}; !slices.Equal(names, want) {
		t.Errorf("the names are %v", names)
	}
	if client.Deployments[2].URL != "https://script.google.com/macros/s/AKfy_1-a/exec" {
		t.Errorf("an id alone is %s", client.Deployments[2].URL)
	}
	if a, w := client.Deployments[1].Key, client.Deployments[3].Key; a == w || a != client.Deployments[2].Key ||
		!strings.Contains(read(t, o.Dir, "worker.js"), w.Reveal()) || !strings.Contains(read(t, o.Dir, "Code.gs"), a.Reveal()) {
		t.Error("the Worker and the scripts do not have each their key")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"acme, as a Worker takes only", "scp " + quote(self) + " root@node.example:/usr/local/bin/relaymux",
		"sed -i 's|DEPLOYMENT_ID|THE-ID-YOU-WERE-SHOWN|' "} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
	o = Options{Dir: filepath.Join(t.TempDir(), "setup"), Node: "node.example", Relays: []string{Proxy + "=https://proxy.example/x"}}
	said = mustRun(t, o)
	if made, copied := strings.Index(said, "ssh root@proxy.example 'install -d /etc/relaymux'\n"),
		strings.Index(said, "root@proxy.example:/etc/relaymux/cert.pem\n"); made < 0 || copied < made {
		t.Error(said)
	}
	if strings.Contains(said, "pins it") {
		t.Error("a pin is told of, and there is none")
	}
}

// TestScriptAt: what is a script's address, and what is not.
func TestScriptAt(t *testing.T) {
	for text, ok := range map[string]bool{
		"AKfy_1-a": true, "https://script.google.com/macros/s/AKfy/exec": true, "https://script.google.com/a/macros/site.example/s/AKfy/exec": true,
		"https://x/exec": false, "https://x.example/macros/s/AKfy/exec": false, "https://script.google.com/macros/s/AKfy/dev": false, "x.example": false,
	} {
		at, err := scriptAt(text)
		if (err == nil) != ok || ok && !strings.HasPrefix(at, "https://script.google.com/") {
			t.Errorf("%s: %q, %v", text, at, err)
		}
	}
}
