package setup

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"relaymux/config"
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

// load reads what was written, which must be without a mistake or a warning.
func load(t *testing.T, dir string) (client, node *config.Config) {
	t.Helper()
	for name, to := range map[string]**config.Config{clientFile: &client, nodeFile: &node} {
		role := map[string]config.Role{clientFile: config.Run, nodeFile: config.Node}[name]
		cfg, warnings, err := config.Load(config.Source{Role: role, Path: filepath.Join(dir, name)})
		if err != nil || len(warnings) > 0 {
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
			[]string{`"https://node.example:8443"`, "pin_sha256"}, []string{`"0.0.0.0:8443"`}, []string{"ufw allow 8443"}},
		{"straight to an address of IPv6", Options{Node: "[2001:db8::1]:443", Relays: []string{Direct}},
			[]string{`"https://[2001:db8::1]"`}, []string{`"[::]:443"`}, []string{"root@[2001:db8::1]:/etc/relaymux/"}},
		{"a script, and a certificate of its own making", Options{Node: "192.0.2.1:8443", Relays: []string{AppsScript}},
			[]string{"script.google.com/macros/s/DEPLOYMENT_ID/exec", `"216.239.38.120:443"`, "www.google.com"}, []string{"key  "},
			[]string{"validateHttpsCertificates: false", "refuses the node's certificate", "DEPLOYMENT_ID"}},
		{"a script and a TLS proxy", Options{Node: "node.example:443", NodeTLS: Behind, Relays: []string{AppsScript}},
			nil, []string{"plain       = true", `"127.0.0.1:8080"`}, []string{"caddy reverse-proxy", "travel in clear"}},
		{"a Worker", Options{Node: "node.example:443", Relays: []string{Worker + "=https://w.example.workers.dev"}},
			[]string{`"https://w.example.workers.dev"`, "key  "}, []string{"plain       = true"}, []string{"worker: take"}},
		{"a reverse proxy", Options{Node: "https://node.example", Relays: []string{Proxy}},
			[]string{`"https://YOUR-PROXY.example/hidden"`}, []string{"tls_cert"}, []string{"proxy_pass https://node.example/"}},
		{"all that there is", Options{Node: "node.example:443", Relays: []string{Direct, AppsScript, AppsScript, Worker, Proxy}}, nil, nil, nil},
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

func TestPrivateFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	dir := filepath.Join(t.TempDir(), "setup")
	mustRun(t, Options{Dir: dir, Node: "node.example", Relays: []string{AppsScript}})
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	public := []string{certFile, "relaymux.service", "relaymux-node.service", "proxy.pac"}
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
	if len(entries) != 7 {
		t.Errorf("there are %v", entries)
	}
}

// TestAgain: a second run changes nothing; one by force says what it overwrites, and
// asks where it can.
func TestAgain(t *testing.T) {
	o := Options{Dir: filepath.Join(t.TempDir(), "setup"), Node: "node.example", Relays: []string{Direct}}
	mustRun(t, o)
	before := read(t, o.Dir, clientFile) + read(t, o.Dir, keyFile)
	if said := mustRun(t, o); !strings.Contains(said, "left as they are") || !strings.Contains(said, "relaymux.toml, node.toml, key.pem, cert.pem") {
		t.Error(said)
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
	said := mustRun(t, o, "node example", "node.example:443", "apps-script, direct", "proxy")
	if !strings.Contains(said, "is not HOST:PORT") || !strings.Contains(said, "validateHttpsCertificates") {
		t.Error(said)
	}
	if client, node := load(t, o.Dir); len(client.Deployments) != 2 || !node.Node.Plain {
		t.Error("the answers do not count")
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
	_, err := run(t, Options{Dir: t.TempDir(), Node: "192.0.2.1", Relays: []string{Worker}})
	if e, ok := errors.AsType[*UsageError](err); !ok || e.Flag != "node" {
		t.Errorf("a Worker and an address: %v", err)
	}
}

// TestScripts: what a relay's script is filled in with, when there is something that
// makes it.
func TestScripts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "setup")
	var got []Script
	s := Setup{Console: Console{Out: io.Discard}, Script: func(s Script) (string, string, error) {
		got = append(got, s)
		return s.Kind + ".txt", "script", nil
	}}
	if err := s.Run(Options{Dir: dir, Node: "node.example:443", Relays: []string{AppsScript, Worker}}); err != nil {
		t.Fatal(err)
	}
	client, node := load(t, dir)
	want := []Script{
		{AppsScript, "https://node.example", client.Deployments[0].Key.Reveal(), node.Node.Key.Reveal(), true},
		{Worker, "https://node.example", client.Deployments[1].Key.Reveal(), "", true},
	}
	if !slices.Equal(got[:2], want) || read(t, dir, "worker.txt") != "script" {
		t.Error("the scripts are filled in with something else")
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
		"relaymux-node.service": nodeUnit(binary, "8443"),
		"relaymux-low.service":  nodeUnit(binary, "443"),
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
