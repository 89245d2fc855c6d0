package config

import (
	"path/filepath"
	"strings"
	"testing"
)

// A secret alone decides over the wire of auto.
func TestWire(t *testing.T) {
	const (
		key    = "key = '" + goodKey + "'\n"
		secret = "[link]\nsecret = '" + goodSecret + "'\n"
		relay  = "[[deployment]]\nurl = 'https://relay.example'\n"
		script = "[[deployment]]\nurl = 'https://script.google.com/macros/s/ID/exec'\n"

		clear  = "warning: c.toml: link.secret: is missing, so relays can read"
		unused = "warning: c.toml:2: link.secret: seals nothing"
	)
	for _, c := range []struct {
		text string
		link bool
		says []string
	}{
		{relay + key, false, []string{clear}},
		{relay, false, []string{"c.toml:1: deployment.key: is missing", clear}},
		{relay + key + "wire = 'json'\n", false, nil},
		{relay + key + "wire = 'link'\n", true, []string{"c.toml:4: deployment.wire: needs a secret"}},
		{secret + relay, true, nil},
		{secret + relay + "wire = 'link'\n", true, nil},
		{secret + relay + key, true, nil},
		{secret + relay + "wire = 'json'\n", false, []string{"c.toml:3: deployment.key: is missing", unused}},
		{secret + script, true, []string{"c.toml:3: deployment.key: is missing"}},
		{secret + script + key, true, nil},
		{secret + script + key + "wire = 'json'\n", false, []string{unused}},
		{secret + script + key + "wire = 'json'\n" + relay, true, nil},
		{secret + relay + "key = '" + goodSecret + "'\n", true, []string{"c.toml:5: deployment.key: is also the secret of [link]"}},
		{"[link]\nsecret = '" + goodSecret[:31] + "'\n" + relay, true, []string{"c.toml:2: link.secret: has 31 characters, but needs at least 32"}},
		{"[link]\nsecret_file = 'none'\n" + relay + "wire = 'link'\n", true, []string{"c.toml:2: link.secret_file: none: no such file"}},
	} {
		path := write(t, "c.toml", c.text)
		lines := report(Source{Role: Run, Path: path})
		if len(lines) != len(c.says) {
			t.Errorf("%s\nsays %q, want %q", c.text, lines, c.says)
		}
		for _, part := range c.says {
			wantProblem(t, lines, part)
		}
		l := newLoader(Source{Path: path})
		l.readFile()
		if d := l.cfg.Deployments[len(l.cfg.Deployments)-1]; l.cfg.Links(&d) != c.link {
			t.Errorf("%s\nlink: %v", c.text, !c.link)
		}
	}
}

// relay/fronted has the same rule and the same table.
func TestScriptURLs(t *testing.T) {
	for path, want := range map[string]bool{
		"/macros/s/ID/exec":                true,
		"/a/macros/example.org/s/ID/exec":  true,
		"/front/macros/s/ID/exec":          true,
		"/macros/s//exec":                  false,
		"/macros/s/ID/dev":                 false,
		"/macros/s/ID/exec/":               false,
		"/s/ID/exec":                       false,
		"/macros/example.org/s/ID/exec":    false,
		"":                                 false,
		"/b/macros/example.org/s/ID/exec2": false,
		"/%zz/macros/s/ID/exec":            false,
	} {
		d := Deployment{URL: "https://script.google.com" + path}
		if got := d.Script(); got != want {
			t.Errorf("%q: script = %v", path, got)
		}
	}
}

// The default quota is that of scripts; what the file says counts anyway.
func TestQuotas(t *testing.T) {
	relay := minimal + "account = "
	script := strings.ReplaceAll(minimal, "relay.example", "script.google.com/macros/s/ID/exec") + "account = "
	cfg := mustLoad(t, Run, relay+"'direct'\n"+relay+"'mixed'\n"+script+"'mixed'\n"+relay+"'set'\n"+script+"'none'\n"+
		"[[account]]\nname='direct'\n[[account]]\nname='mixed'\n[[account]]\nname='set'\ndaily_quota=7\n[[account]]\nname='none'\ndaily_quota=0\n"+
		strings.TrimSuffix(script, "account = ")+minimal)
	for i, want := range []int{0, 20000, 7, 0, 20000, 0} {
		if a := cfg.Accounts[i]; a.DailyQuota != want {
			t.Errorf("account %q has a quota of %d, want %d", a.Name, a.DailyQuota, want)
		}
	}
}

// A node has a key, clients, or both.
func TestNodeWithoutKey(t *testing.T) {
	client := "[[node.client]]\nname = 'laptop'\nsecret = '" + goodSecret + "'\n"
	cfg := mustLoad(t, Node, "[node]\nself_signed = true\n"+client)
	if cfg.Node.Key.IsSet() || len(cfg.Node.Clients) != 1 {
		t.Errorf("got %+v", cfg.Node)
	}
	file := write(t, "laptop.secret", goodSecret+"\n")
	cfg = mustLoad(t, Node, "[node]\nself_signed = true\n[[node.client]]\nname = 'laptop'\nsecret_file = '"+file+"'\n")
	if cfg.Node.Clients[0].Secret.Reveal() != goodSecret {
		t.Error("the secret is not that of the file")
	}
	wantProblem(t, report(Source{Role: Node, Path: write(t, "c.toml", "[node]\nself_signed = true\n")}), "node.key: is missing, and so is any")
	weak := "[node]\nself_signed = true\nkey = 'short'\n" + client
	wantProblem(t, report(Source{Role: Node, Path: write(t, "c.toml", weak)}), "node.key: has 5 characters")
}

func TestStateDir(t *testing.T) {
	home, xdg, own := t.TempDir(), t.TempDir(), t.TempDir()
	cfg := mustLoad(t, Run, "[state]\ndir = 'here'\n"+minimal)
	if got := StateDir(cfg, []string{"HOME=" + home}); got != cfg.State.Dir || filepath.Base(got) != "here" || !filepath.IsAbs(got) {
		t.Errorf("a directory of the file: %q", got)
	}
	for _, c := range []struct {
		system  string
		environ []string
		want    string
	}{
		{"linux", []string{"HOME=" + home}, filepath.Join(home, ".local", "state", "relaymux")},
		{"linux", []string{"HOME=" + home, "XDG_STATE_HOME=" + xdg}, filepath.Join(xdg, "relaymux")},
		{"linux", []string{"HOME=" + home, "XDG_STATE_HOME=relative"}, filepath.Join(home, ".local", "state", "relaymux")},
		{"linux", []string{"HOME=" + home, "STATE_DIRECTORY=" + own + ":" + xdg}, own},
		{"linux", []string{"STATE_DIRECTORY=relative"}, ""},
		{"linux", []string{"XDG_STATE_HOME=" + xdg}, filepath.Join(xdg, "relaymux")},
		{"linux", nil, ""},
		{"darwin", []string{"HOME=" + home, "XDG_STATE_HOME=" + xdg}, filepath.Join(home, "Library", "Application Support", "relaymux")},
		{"windows", []string{"APPDATA=" + home, "HOME=" + xdg}, filepath.Join(home, "relaymux")},
		{"windows", []string{"AppData=" + home}, filepath.Join(home, "relaymux")},
		{"windows", []string{"HOME=" + xdg}, ""},
	} {
		if got := usualState(c.system, c.environ); got != c.want {
			t.Errorf("%s, %v: got %q, want %q", c.system, c.environ, got, c.want)
		}
	}
}
