package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const goodKey = "Zm9yIHRlc3RzIG9ubHkh"

// minimal is the least that `run` accepts without a warning.
const minimal = `
[[deployment]]
url = "https://relay.example"
key = "` + goodKey + `"
wire = "json"
`

const goodSecret = "ZCqzl4yP0bTtUvR8wE2mNc6sKfHjXg1a"

// write puts text into a file of its own directory that only we may read.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func testdata(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "testdata", "config", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// mustLoad loads text and wants no problem.
func mustLoad(t *testing.T, role Role, text string, environ ...string) *Config {
	t.Helper()
	cfg, _, err := Load(Source{Role: role, Path: write(t, "c.toml", text), Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// report loads a source and returns its problems and warnings as lines, with
// the directory of the file left out.
func report(src Source) []string {
	var lines []string
	_, warnings, err := Load(src)
	if err != nil {
		lines = strings.Split(err.Error(), "\n")
	}
	for _, w := range warnings {
		lines = append(lines, "warning: "+w.String())
	}
	for i, line := range lines {
		if src.Path != "" {
			lines[i] = strings.ReplaceAll(line, filepath.Dir(src.Path)+string(filepath.Separator), "")
		}
	}
	return lines
}

// wantProblem wants a line that holds part.
func wantProblem(t *testing.T, lines []string, part string) {
	t.Helper()
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, part) }) {
		t.Errorf("no %q in:\n%s", part, strings.Join(lines, "\n"))
	}
}

func TestDefaults(t *testing.T) {
	cfg := mustLoad(t, Run, minimal)
	want := &Config{
		Proxy:  Proxy{Listen: []string{"127.0.0.1:1080"}, Connect: Optimistic},
		Admin:  Admin{Listen: "127.0.0.1:1081"},
		Limits: Limits{Memory: 256 << 20, Connections: 10000},
		Batch:  Batch{MaxOps: 50, MaxBytes: 4 << 20, CoalesceStep: 10e6, CoalesceMax: 1e9},
		Link:   Link{HedgePercent: 2, Grace: 120e9},
		UDP:    UDP{GSO: "auto", GRO: "auto", Stale: 3e9, BlockQUIC: "auto"},
		DNS:    DNS{Server: "1.1.1.1:53"},
		Deployments: []Deployment{{
			Name: "relay.example", URL: "https://relay.example", Key: NewSecret(goodKey), Account: "relay.example",
			ExchangeLimit: 30e9, Wire: "json", HTTP: "auto",
		}},
		Accounts: []Account{{Name: "relay.example", Slots: 30}},
		Node: ExitNode{
			Listen: "0.0.0.0:8443", TLS: Auto,
			ACME:   ACME{Challenge: Auto, HTTPListen: "0.0.0.0:80", Directory: "https://acme-v02.api.letsencrypt.org/directory"},
			Limits: NodeLimits{Memory: 256 << 20, Streams: 4096, DialsPerSecond: 0, ClientDialsPerSecond: 10000, Reap: 180e9},
			UDP:    UDP{GSO: "auto", GRO: "auto", Stale: 3e9, BlockQUIC: "auto"},
		},
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got\n%+v\nwant\n%+v", cfg, want)
	}
}

func TestExamplesAreValid(t *testing.T) {
	for name, role := range map[string]Role{"run.toml": Run, "node.toml": Node} {
		for _, r := range []Role{role, Any} {
			path := write(t, name, testdata(t, name))
			if lines := report(Source{Role: r, Path: path}); len(lines) > 0 {
				t.Errorf("%s as role %d:\n%s", name, r, strings.Join(lines, "\n"))
			}
		}
	}
}

// A new key that full.toml does not set fails here.
func TestFullSetsEveryKey(t *testing.T) {
	l := newLoader(Source{Path: "full.toml"})
	l.decode(testdata(t, "full.toml"))
	for _, p := range l.problems {
		t.Error(p)
	}
	for _, f := range leaves(l.cfg) {
		if f.value.IsZero() {
			t.Errorf("full.toml does not set %s", f.path)
		}
	}
	for _, f := range declared() {
		if !l.isSet(f.path) {
			t.Errorf("full.toml does not have %s", f.path)
		}
	}
}

// The bad files and what is said of them. UPDATE_GOLDEN=1 writes the answers
// anew; read them before committing.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "testdata", "config", "bad", "*.toml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no bad files", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".toml")
		t.Run(name, func(t *testing.T) {
			role := Run
			if strings.HasPrefix(name, "node-") {
				role = Node
			}
			path := write(t, name+".toml", testdata(t, "bad/"+name+".toml"))
			got := strings.Join(report(Source{Role: role, Path: path}), "\n") + "\n"
			golden := strings.TrimSuffix(file, ".toml") + ".want"
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := testdata(t, "bad/"+name+".want"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if strings.Contains(got, "hunter2") || strings.Contains(got, "0123456789012345") {
				t.Error("a secret is shown")
			}
		})
	}
}

func TestTenMistakesAreTenLines(t *testing.T) {
	path := write(t, "c.toml", testdata(t, "bad/run-ten_mistakes.toml"))
	_, _, err := Load(Source{Role: Run, Path: path})
	all, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	var got []int
	for _, p := range all.Problems() {
		got = append(got, p.Line)
	}
	if want := []int{2, 5, 6, 9, 10, 11, 12, 14, 19, 23}; !slices.Equal(got, want) {
		t.Errorf("lines %v, want %v:\n%v", got, want, err)
	}
}

func TestHostile53_OpenProxyRefused(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:1080", ":1080", "[::]:1080", "192.168.1.2:1080", "proxy.example:1080"} {
		environ := []string{"RELAYMUX_PROXY_LISTEN=127.0.0.1:1090," + listen}
		lines := report(Source{Role: Run, Environ: environ})
		wantProblem(t, lines, "RELAYMUX_PROXY_LISTEN: ")
		wantProblem(t, lines, `add users = [{name = "...", password = "..."}] under [proxy], or listen on "127.0.0.1:1080"`)

		users := "[proxy]\nusers = [{name = 'ann', password = 'a word of the test'}]\n" + minimal
		mustLoad(t, Run, users, environ...)
	}
	for _, listen := range []string{"127.0.0.1:0", "127.9.9.9:1080", "[::1]:1080", "localhost:1080", "[::ffff:127.0.0.1]:1080"} {
		mustLoad(t, Run, minimal, "RELAYMUX_PROXY_LISTEN="+listen)
	}
}

func TestHostile52_AdminBeyondLoopbackRefused(t *testing.T) {
	environ := []string{"RELAYMUX_ADMIN_LISTEN=0.0.0.0:1081"}
	wantProblem(t, report(Source{Role: Run, Environ: environ}), "RELAYMUX_ADMIN_LISTEN: \"0.0.0.0:1081\" would show")
	wantProblem(t, report(Source{Role: Run, Environ: append(environ, "RELAYMUX_ADMIN_TOKEN=abcdefghijklmno")}),
		"RELAYMUX_ADMIN_TOKEN: has 15 characters, but needs at least 16")
	mustLoad(t, Run, minimal, append(environ, "RELAYMUX_ADMIN_TOKEN=abcdefghijklmnop")...)
	mustLoad(t, Run, minimal, "RELAYMUX_ADMIN_LISTEN=")
}

func TestEmbeddedWithoutFile(t *testing.T) {
	cfg, warnings, err := Load(Source{Role: Run, Flags: Flags{"slots": "7"}})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if !cfg.Embedded || len(cfg.Deployments) != 1 || len(cfg.Accounts) != 1 || cfg.Accounts[0].Slots != 7 {
		t.Errorf("got %+v", cfg)
	}
	d := cfg.Deployments[0]
	if d.Account != cfg.Accounts[0].Name || d.Key != cfg.Node.Key || weakness(d.Key.Reveal(), minKey) != "" {
		t.Errorf("deployment and node do not fit: %+v", cfg)
	}
	c := cfg.Node.Clients
	if len(c) != 1 || c[0].Secret != cfg.Link.Secret || weakness(c[0].Secret.Reveal(), minSecret) != "" || !cfg.Links(&d) {
		t.Errorf("link and node do not fit: %+v", cfg)
	}
	if isLoopback, err := parseListen(cfg.Node.Listen); !isLoopback || err != nil || !cfg.Node.SelfSigned {
		t.Errorf("embedded node: %+v", cfg.Node)
	}
	other, _, _ := Load(Source{Role: Run})
	if other.Node.Key == cfg.Node.Key || other.Link.Secret == cfg.Link.Secret {
		t.Error("two embedded nodes share a key or a secret")
	}
}

// The environment of a node on the same machine does not move the embedded one.
func TestEmbeddedNodeKeepsToLoopback(t *testing.T) {
	environ := []string{
		"RELAYMUX_NODE_LISTEN=0.0.0.0:8443", "RELAYMUX_NODE_PLAIN=true", "RELAYMUX_NODE_TLS_CERT=x", "RELAYMUX_NODE_KEY=changeme",
		"RELAYMUX_NODE_KEY_FILE=x", "RELAYMUX_NODE_EGRESS_ALLOW_PRIVATE=true",
		"RELAYMUX_LINK_SECRET=changeme", "RELAYMUX_LINK_SECRET_FILE=x",
	}
	cfg, warnings, err := Load(Source{Role: Run, Environ: environ})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	n := cfg.Node
	if n.Listen != "127.0.0.1:0" || n.Plain || n.Key != cfg.Deployments[0].Key || !n.Egress.AllowPrivate || n.Clients[0].Secret != cfg.Link.Secret {
		t.Errorf("got %+v", n)
	}
	wantProblem(t, report(Source{Role: Run, Environ: []string{"RELAYMUX_NODE_EGRESS_DENY=*"}}), "RELAYMUX_NODE_EGRESS_DENY: ")
}

func TestNodeByEnvironmentOnly(t *testing.T) {
	environ := []string{"RELAYMUX_NODE_KEY=" + goodKey, "RELAYMUX_NODE_SELF_SIGNED=true", "RELAYMUX_NODE_LIMITS_MEMORY=32MiB"}
	cfg, _, err := Load(Source{Role: Node, Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Embedded || cfg.Node.Limits.Memory != 32<<20 || cfg.Node.Key.Reveal() != goodKey {
		t.Errorf("got %+v", cfg.Node)
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	src := Source{Path: filepath.Join(t.TempDir(), "none.toml"), Environ: []string{"RELAYMUX_BATCH_MAX_OPS=x"}}
	want := []string{"none.toml: no such file or directory", `RELAYMUX_BATCH_MAX_OPS: must be a whole number, not "x"`}
	if got := report(src); !slices.Equal(got, want) {
		t.Errorf("missing file: got %q, want %q", got, want)
	}
	if _, _, err := Load(Source{Path: t.TempDir()}); err == nil {
		t.Error("a directory was read")
	}
	largest := minimal + strings.Repeat("#", maxFile-len(minimal))
	mustLoad(t, Run, largest)
	wantProblem(t, report(Source{Path: write(t, "big.toml", largest+"#")}), "big.toml: has more than 1048576 bytes")
}

func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("..", "testdata", "config", "bad", "*.toml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add(testdata(f, "bad/"+filepath.Base(file)))
	}
	f.Add(testdata(f, "full.toml"))
	f.Add("\xff\xfea = 1\n")
	f.Add("\ufeff[proxy]\r\nlisten = '''\r\n[x]\r\n'''\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := write(t, "c.toml", text)
		for _, role := range []Role{Any, Run, Node} {
			cfg, _, err := Load(Source{Role: role, Path: path})
			if (cfg == nil) != (err != nil) {
				t.Fatalf("role %d: config %v with error %v", role, cfg, err)
			}
			last := strings.Count(text, "\n") + 1
			if all, ok := errors.AsType[*Error](err); ok {
				for _, p := range all.Problems() {
					if p.Line < 0 || p.Line > last || p.Text == "" {
						t.Errorf("problem of a file of %d lines: %v", last, p)
					}
				}
			}
		}
	})
}
