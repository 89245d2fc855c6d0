package environ

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"relaymux/config"
)

func TestReach(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		"127.0.0.1:1080": "127.0.0.1:1080", "0.0.0.0:1080": "127.0.0.1:1080", "[::]:1080": "[::1]:1080", ":1080": "127.0.0.1:1080",
		"192.168.1.2:1": "192.168.1.2:1", "localhost:1080": "localhost:1080", "127.0.0.1:0": "", "1080": "",
	} {
		if got, err := Reach(listen); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", listen, got, err)
		}
	}
}

// wild is a proxy whose password every shell would read otherwise.
var wild = Proxy{Address: "[::1]:1080", User: "a'n n", Password: config.NewSecret("p'w$(touch x)`\\\"\n%@:/‘’")}

// TestVariables: what is asked for a password is in the URL, escaped.
func TestVariables(t *testing.T) {
	t.Parallel()
	vars := wild.Variables()
	if len(vars) != 8 || vars[0].Name != "http_proxy" || vars[1].Name != "HTTP_PROXY" || vars[1].Value != vars[0].Value {
		t.Errorf("%+v", vars)
	}
	for _, v := range vars[:6] {
		if strings.ContainsAny(v.Value, "\"` \n\\‘’()") {
			t.Errorf("%s=%s", v.Name, v.Value)
		}
		if !strings.HasSuffix(v.Value, "@[::1]:1080") {
			t.Errorf("%s=%s", v.Name, v.Value)
		}
	}
	got := Proxy{Address: "127.0.0.1:1"}.Over([]string{"A=b", "http_proxy=old", "HTTP_PROXYX=other", "NO_PROXY=old"})
	if !slices.Equal(got[:2], []string{"A=b", "HTTP_PROXYX=other"}) || !slices.Contains(got, "http_proxy=http://127.0.0.1:1") || len(got) != 10 {
		t.Errorf("%q", got)
	}
}

// TestDirect: what the environment has is added to, once.
func TestDirect(t *testing.T) {
	t.Parallel()
	for old, want := range map[string]string{
		"": direct, "*": direct, "corp.example": direct + ",corp.example", direct: direct, direct + ",corp.example": direct + ",corp.example",
	} {
		p := Proxy{Direct: directOf([]string{"http_proxy=x", "NO_PROXY=" + old})}
		if got := p.Variables()[6].Value; got != want {
			t.Errorf("%q: %q, want %q", old, got, want)
		}
	}
}

// TestShells: each shell that is here reads what was written for it as it was meant.
func TestShells(t *testing.T) {
	t.Parallel()
	show := map[string]string{
		"sh": `printf '%s' "$all_proxy"`, "fish": `printf '%s' $all_proxy`, "powershell": `[Console]::Out.Write($env:all_proxy)`,
	}
	for _, shell := range Shells() {
		binary, err := exec.LookPath(map[string]string{"sh": "sh", "fish": "fish", "powershell": "pwsh"}[shell])
		if err != nil {
			t.Logf("there is no %s", shell)
			continue
		}
		var b strings.Builder
		if err := wild.Write(&b, shell); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(binary, "-c", b.String()+show[shell]).Output()
		if want := wild.Variables()[4].Value; err != nil || string(out) != want {
			t.Errorf("%s: %q, %v, want %q", shell, out, err, want)
		}
	}
}

func TestShellOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ shell, system, want string }{
		{"/bin/bash", "linux", "sh"}, {"/usr/bin/fish", "linux", "fish"}, {"", "windows", "powershell"}, {"/usr/bin/bash", "windows", "sh"}, {"", "linux", "sh"},
	} {
		if got := ShellOf(c.shell, c.system); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestRun: what cannot be run has the exit code that a shell would give it.
func TestRun(t *testing.T) {
	t.Parallel()
	if code, err := Run([]string{"no-such-program-anywhere"}, nil); code != exitNotFound || err == nil {
		t.Errorf("%d, %v", code, err)
	}
	if code, err := Run([]string{t.TempDir()}, nil); code != exitNotRun || err == nil {
		t.Errorf("a directory: %d, %v", code, err)
	}
}

// TestOverHidesSecrets: a program that is run gets to know the proxy's password, and no
// other secret of this one.
func TestOverHidesSecrets(t *testing.T) {
	t.Parallel()
	keep := []string{"RELAYMUX_CONFIG=/etc/x", "RELAYMUX_BATCH_MAX_OPS=7", "RELAYMUX_LINK_SECRET_FILE=/s", "LINK_SECRET=mine"}
	list := Proxy{Address: "127.0.0.1:1"}.Over(append(slices.Clone(keep),
		"RELAYMUX_LINK_SECRET=s1", "RELAYMUX_NODE_KEY=s2", "RELAYMUX_ADMIN_TOKEN=s3", "relaymux_node_key=s4"))
	for _, kv := range list {
		if _, value, _ := strings.Cut(kv, "="); strings.HasPrefix(value, "s") && !strings.HasPrefix(value, "socks5h:") {
			t.Error(kv)
		}
	}
	for _, kv := range keep {
		if !slices.Contains(list, kv) {
			t.Errorf("%s is gone", kv)
		}
	}
}
