package setup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"relaymux/config"
	"relaymux/relay/script"
)

// run makes a setup in dir, as if typed were typed on a terminal; of none there is
// no terminal.
func run(t *testing.T, o Options, typed ...string) (text string, err error) {
	t.Helper()
	var out bytes.Buffer
	s := Setup{Console: Console{Out: &out}, Binary: "/usr/local/bin/relaymux"}
	if typed != nil {
		s.In = bufio.NewReader(strings.NewReader(strings.Join(typed, "\n") + "\n"))
	}
	err = s.Run(o)
	return out.String(), err
}

func mustRun(t *testing.T, o Options, typed ...string) string {
	t.Helper()
	text, err := run(t, o, typed...)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return text
}

// load reads what was written, which must be without a mistake, or a warning but that a
// node has no TLS, or what is to be filled in. A certificate that is to come from elsewhere is made.
func load(t *testing.T, dir string) (client, node *config.Config) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, certFile)); err != nil && strings.Contains(read(t, dir, nodeFile), "tls_cert") {
		cert, err := newCertificate("node.example")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range cert.files() {
			if err := put(filepath.Join(dir, f.name), f); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, to := range map[string]**config.Config{clientFile: &client, nodeFile: &node} {
		role := map[string]config.Role{clientFile: config.Run, nodeFile: config.Node}[name]
		cfg, warnings, err := config.Load(config.Source{Role: role, Path: filepath.Join(dir, name)})
		if err != nil || slices.ContainsFunc(warnings, func(w config.Problem) bool {
			return w.Key != "node.plain" && !strings.Contains(w.Text, "; fill in ")
		}) {
			t.Fatalf("%s: %v, %v", name, err, warnings)
		}
		*to = cfg
	}
	return client, node
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryKindOfRelay(t *testing.T) {
	for _, c := range []struct {
		name   string
		o      Options
		client []string // in the client's config
		node   []string
		said   []string
	}{
		{"straight", Options{Node: "node.example", Relays: []string{Direct}},
			[]string{`"https://node.example:8443"`, "pin_sha256"}, []string{`"0.0.0.0:8443"`}, []string{"ufw allow 8443", "pins it"}},
		{"straight to an address of IPv6", Options{Node: "[2001:db8::1]:443", Relays: []string{Direct}},
			[]string{`"https://[2001:db8::1]"`}, []string{`"[::]:443"`}, []string{"root@[2001:db8::1]:/etc/relaymux/"}},
		{"a script, and a certificate of its own making", Options{Node: "192.0.2.1:8443", Relays: []string{script.AppsScript}},
			[]string{"script.google.com/macros/s/DEPLOYMENT_ID/exec", `"216.239.38.120:443"`, "www.google.com"}, []string{"key  "},
			[]string{"VERIFY_CERTIFICATE = false", "refuses the node's certificate", "DEPLOYMENT_ID", "in the place of its Code.gs"}},
		{"a script and a TLS proxy", Options{Node: "node.example:443", NodeTLS: Behind, Relays: []string{script.AppsScript}},
			nil, []string{"plain       = true", `"127.0.0.1:8080"`}, []string{"caddy reverse-proxy", "travel in clear"}},
		{"a Worker", Options{Node: "node.example:443", Relays: []string{script.Worker + "=https://w.example.workers.dev"}},
			[]string{`"https://w.example.workers.dev"`, "key  "},
			[]string{`"0.0.0.0:443"`, `tls         = "acme"`, `domains     = ["node.example"]`, `dir         = "/var/lib/relaymux"`},
			[]string{"npx wrangler deploy", "/worker.js --name"}},
		{"a Worker, and a CA that asks by HTTP", Options{Node: "node.example", Relays: []string{script.Worker, Direct}},
			[]string{`"https://node.example:8443"`}, []string{`"0.0.0.0:8443"`, "at port 80"}, []string{"ufw allow 8443'", "ufw allow 80/tcp"}},
		{"a Worker, and a certificate that is there", Options{Node: "node.example", NodeTLS: Files, Relays: []string{script.Worker}},
			nil, []string{`tls_cert    = "cert.pem"`}, []string{"/etc/letsencrypt/live/node.example"}},
		{"a Worker without TLS behind it", Options{Node: "node.example:8080", NodeTLS: Plain, Relays: []string{script.Worker, Proxy}},
			nil, []string{"plain       = true", `"0.0.0.0:8080"`}, []string{"would travel in clear", "node.toml has no key"}},
		{"a reverse proxy", Options{Node: "https://node.example", Relays: []string{Proxy}},
			[]string{`"https://YOUR-PROXY.example/hidden"`}, []string{"tls_cert"},
			[]string{"nginx: ", "Caddy: ", "cert.pem root@YOUR-PROXY.example:/etc/relaymux/cert.pem"}},
		{"all that there is", Options{Node: "node.example:443", Relays: []string{Direct, script.AppsScript, script.AppsScript, script.Worker, Proxy}}, nil, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Dir = filepath.Join(t.TempDir(), "setup")
			said := mustRun(t, c.o)
			client, node := load(t, c.o.Dir)
			if client.Link.Secret != node.Node.Clients[0].Secret || !client.Link.Secret.IsSet() {
				t.Error("the client and the node have not the same secret")
			}
			for want, in := range map[string][]string{read(t, c.o.Dir, clientFile): c.client, read(t, c.o.Dir, nodeFile): c.node, said: c.said} {
				for _, w := range in {
					if !strings.Contains(want, w) {
						t.Errorf("there is no %q in\n%s", w, want)
					}
				}
			}
			secrets := []string{client.Link.Secret.Reveal(), node.Node.Key.Reveal()}
			for _, d := range client.Deployments {
				secrets = append(secrets, d.Key.Reveal())
			}
			for _, s := range secrets {
				if s != "" && strings.Contains(said, s) {
					t.Error("a secret is printed")
				}
			}
		})
	}
}

// TestPAC: names are looked up at the node alone, so that there is no way past the proxy,
// and no SOCKS of version 4 to fall back on.
func TestPAC(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "setup")
	mustRun(t, Options{Dir: dir, Node: "node.example", Relays: []string{Direct}})
	const want = "function FindProxyForURL(url, host) {\n  return \"SOCKS5 127.0.0.1:1080; PROXY 127.0.0.1:1080\";\n}\n"
	if got := read(t, dir, "proxy.pac"); got != want {
		t.Errorf("%s", got)
	}
	if client, _ := load(t, dir); client.Proxy.Listen[0] != usualListen {
		t.Errorf("the proxy listens at %v", client.Proxy.Listen)
	}
}

func TestPrivateFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	dir := filepath.Join(t.TempDir(), "setup")
	mustRun(t, Options{Dir: dir, Node: "node.example", Relays: []string{script.AppsScript}})
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	public := []string{".gitignore", certFile, "relaymux.service", "relaymux-node.service", "proxy.pac"}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		want := os.FileMode(0o600)
		if slices.Contains(public, e.Name()) {
			want = 0o644
		}
		if info.Mode().Perm()&^want != 0 {
			t.Errorf("%s has %v", e.Name(), info.Mode())
		}
	}
	if len(entries) != 9 || read(t, dir, ".gitignore") != "*\n" {
		t.Errorf("there are %v", entries)
	}
}

// TestDirectoryOfOthers: secrets are not written to where others could put theirs.
func TestDirectoryOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, Options{Dir: dir, Node: "node.example", Relays: []string{Direct}}); err == nil || !strings.Contains(err.Error(), "chmod o-w") {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("there are %v", entries)
	}
}

// TestAgain: a second run changes nothing; one by force says what it overwrites, and
// asks where it can.
func TestAgain(t *testing.T) {
	o := Options{Dir: filepath.Join(t.TempDir(), "setup"), Node: "node.example", Relays: []string{Direct}}
	mustRun(t, o)
	before := read(t, o.Dir, clientFile) + read(t, o.Dir, keyFile)
	for _, again := range []Options{{Dir: o.Dir}, {Dir: o.Dir, Yes: true}} {
		if said := mustRun(t, again); !strings.Contains(said, "left as they are") || !strings.Contains(said, "relaymux.toml, node.toml, key.pem, cert.pem") {
			t.Error(said)
		}
	}
	for _, again := range []Options{o, {Dir: o.Dir, Node: "node.example"}, {Dir: o.Dir, Relays: []string{Direct}}, {Dir: o.Dir, NodeTLS: ACME}, {Dir: o.Dir, Client: "phone"}} {
		if _, err := run(t, again); err == nil || !strings.Contains(err.Error(), "--force") || !strings.Contains(err.Error(), "another --dir") {
			t.Errorf("%+v: %v", again, err)
		}
	}
	if _, err := run(t, Options{Dir: o.Dir, Relays: []string{"pigeon"}}); err == nil || !strings.HasPrefix(err.Error(), "--relay ") {
		t.Errorf("a wrong flag beside files: %v", err)
	}
	if read(t, o.Dir, clientFile)+read(t, o.Dir, keyFile) != before {
		t.Fatal("a second run has changed something")
	}
	if err := os.Remove(filepath.Join(o.Dir, nodeFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, o); err == nil || !strings.Contains(err.Error(), "has no node.toml") {
		t.Errorf("got %v", err)
	}
	o.Force = true
	if said, err := run(t, o, "no"); !errors.Is(err, errStopped) || !strings.Contains(said, "Overwrites in "+o.Dir+": relaymux.toml, key.pem") {
		t.Errorf("%v, %s", err, said)
	}
	if read(t, o.Dir, clientFile)+read(t, o.Dir, keyFile) != before {
		t.Fatal("a no has changed something")
	}
	mustRun(t, o)
	load(t, o.Dir)
	if read(t, o.Dir, clientFile)+read(t, o.Dir, keyFile) == before {
		t.Error("nothing was overwritten")
	}
}

// TestUnitsOutliveSecrets: what holds no secret is left also when the others are made.
func TestUnitsOutliveSecrets(t *testing.T) {
	o := Options{Dir: t.TempDir(), Node: "node.example", Relays: []string{Direct}}
	if err := os.WriteFile(filepath.Join(o.Dir, "proxy.pac"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if said := mustRun(t, o); !strings.Contains(said, "Left as they were: proxy.pac.") || read(t, o.Dir, "proxy.pac") != "mine" {
		t.Error(said)
	}
}

func TestQuestions(t *testing.T) {
	o := Options{Dir: filepath.Join(t.TempDir(), "setup")}
	said := mustRun(t, o, "node example", "node.example:443", "apps-script, direct", "plain", "proxy")
	for _, part := range []string{"is not HOST:PORT", "The script is told to take it", "port 443 of node.example must lead to it",
		"(plain does not go with a script", "Certificate [self-signed]: plain does not go with a script"} {
		if !strings.Contains(said, part) {
			t.Errorf("no %q in\n%s", part, said)
		}
	}
	if client, node := load(t, o.Dir); len(client.Deployments) != 2 || !node.Node.Plain {
		t.Error("the answers do not count")
	}
	o.Dir = filepath.Join(t.TempDir(), "setup")
	said = mustRun(t, o, "node.example", "worker", "")
	if _, node := load(t, o.Dir); node.Node.TLS != config.TLSACME || !strings.Contains(said, "Certificate [acme]") ||
		!strings.Contains(said, "(self-signed does not go with a Worker") || !strings.Contains(said, "  plain ") {
		t.Error(said)
	}
	o.Dir = filepath.Join(t.TempDir(), "setup")
	if said = mustRun(t, o, "node.example", "direct"); strings.Contains(said, "Certificate [") {
		t.Errorf("one is asked what goes without saying:\n%s", said)
	}
	if _, err := run(t, Options{Dir: t.TempDir()}, ""); err == nil {
		t.Error("an end of the input is an answer")
	}
}

func TestUsage(t *testing.T) {
	for flag, o := range map[string]Options{
		"node":     {Node: "node.example:0", Relays: []string{Direct}},
		"relay":    {Node: "node.example"},
		"node-tls": {Node: "node.example", Relays: []string{Direct}, NodeTLS: "none"},
		"from":     {Node: "node.example", From: []string{"setup_test.go"}},
	} {
		o.Dir = filepath.Join(t.TempDir(), "setup")
		_, err := run(t, o)
		if e, ok := errors.AsType[*UsageError](err); !ok || e.Flag != flag {
			t.Errorf("--%s: %v", flag, err)
		}
	}
	for how, c := range map[string]struct{ node, relay string }{
		SelfSigned: {"node.example", script.Worker}, ACME: {"192.0.2.1", Direct}, Plain: {"node.example", script.AppsScript}, "": {"", ""},
	} {
		o := Options{Dir: filepath.Join(t.TempDir(), "setup"), Node: c.node, NodeTLS: how, Relays: []string{c.relay}}
		if how == "" {
			o.Node, o.NodeTLS, o.Relays = "node.example", Plain, []string{Direct, script.Worker}
		}
		_, err := run(t, o)
		if e, ok := errors.AsType[*UsageError](err); !ok || e.Flag != "node-tls" || !strings.Contains(e.Text, " does not go with ") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	_, err := run(t, Options{Dir: t.TempDir(), Node: "192.0.2.1", Relays: []string{script.Worker}})
	if e, ok := errors.AsType[*UsageError](err); !ok || e.Flag != "node" {
		t.Errorf("a Worker and an address: %v", err)
	}
}

// TestScripts: the relays that are written lack nothing, and have what both configs have.
func TestScripts(t *testing.T) {
	for how, o := range map[string]Options{
		SelfSigned: {Node: "node.example", Relays: []string{script.AppsScript, Proxy + "=https://proxy.example/below"}},
		ACME:       {Node: "node.example:443", Relays: []string{script.AppsScript, script.Worker + "=https://w.example/x"}},
		Plain:      {Node: "node.example:8080", Relays: []string{Proxy, script.Worker}},
	} {
		o.NodeTLS, o.Dir = how, filepath.Join(t.TempDir(), "setup")
		mustRun(t, o)
		client, node := load(t, o.Dir)
		url := map[string]string{SelfSigned: "https://node.example:8443", ACME: "https://node.example", Plain: "http://node.example:8080"}[how]
		for file, want := range map[string][]string{
			"Code.gs": {node.Node.Key.Reveal(), client.Deployments[0].Key.Reveal(), fmt.Sprint("VERIFY_CERTIFICATE = ", how != SelfSigned)},
			"worker.js": {`KEY = "` + client.Deployments[1].Key.Reveal(),
				`PREFIX = "` + map[bool]string{true: "/x"}[how == ACME] + `"`},
			"nginx.conf": {"location " + map[bool]string{true: "/below", false: "/hidden"}[how == SelfSigned] + "/ {",
				map[bool]string{true: "certificate /etc/relaymux/cert.pem;", false: "ca-certificates.crt"}[how == SelfSigned]},
			"Caddyfile": {"reverse_proxy " + url + " {"},
		} {
			text, err := os.ReadFile(filepath.Join(o.Dir, file))
			if err != nil {
				if !errors.Is(err, os.ErrNotExist) {
					t.Error(err)
				}
				continue
			}
			if left := script.Missing(string(text)); len(left) > 0 {
				t.Errorf("%s, %s: %v is left", how, file, left)
			}
			for _, w := range append(want, url) {
				if w == "" || !strings.Contains(string(text), w) {
					t.Errorf("%s: no %q in %s", how, w, file)
				}
			}
		}
		for file, there := range map[string]bool{"Code.gs": how != Plain, "worker.js": how != SelfSigned, "nginx.conf": how != ACME, "Caddyfile": how != ACME} {
			if _, err := os.Stat(filepath.Join(o.Dir, file)); (err == nil) != there {
				t.Errorf("%s: %s is there: %v", how, file, err == nil)
			}
		}
		if node.Node.Key.IsSet() != (how != Plain) {
			t.Errorf("%s: a key that would travel in clear, or none", how)
		}
	}
}

// TestUnits: systemd has no complaint about what is written.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze")
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"relaymux.service":      clientUnit(binary),
		"relaymux-node.service": nodeUnit(binary, false),
		"relaymux-low.service":  nodeUnit(binary, true),
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		args := []string{"verify", "--man=no", path}
		if name == "relaymux.service" {
			args = append([]string{"--user"}, args...)
		}
		c := exec.Command(analyze, args...)
		c.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir()) // --user wants one
		if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
