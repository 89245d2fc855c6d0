package config

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestWritableFiles: what everybody may write to decides nothing: not where traffic goes,
// nor whose certificate is trusted. That a group may is its owner's business.
func TestWritableFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	cert, _ := makeCertificate(t)
	ca := write(t, "ca.pem", string(cert))
	key := write(t, "key", goodKey)
	text := strings.Replace(minimal, `key = "`+goodKey+`"`, "key_file = '"+key+"'", 1) + "ca_file = '" + ca + "'\n"
	node := "[node]\nlisten = '127.0.0.1:443'\ntls = 'acme'\nkey = '" + goodKey + "'\n[node.acme]\ndomains = ['node.example.com']\nca_file = '" + ca + "'\n"
	file := write(t, "c.toml", text)
	nodeFile := write(t, "n.toml", node)
	for _, c := range []struct {
		config, ca os.FileMode
		want       string
	}{{0o644, 0o644, ""}, {0o664, 0o664, ""}, {0o646, 0o644, "c.toml: everybody may write to this file; run: chmod o-w "}, {0o644, 0o666, "ca_file: everybody may write to this file"}} {
		_, _ = os.Chmod(file, c.config), os.Chmod(ca, c.ca)
		lines := report(Source{Role: Run, Path: file})
		if c.want == "" {
			if slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "everybody") }) {
				t.Errorf("%v, %v: %q", c.config, c.ca, lines)
			}
			continue
		}
		wantProblem(t, lines, c.want)
		if c.ca&0o002 != 0 {
			wantProblem(t, report(Source{Role: Node, Path: nodeFile}), "node.acme.ca_file: everybody may write to this file")
		}
	}
}

// TestCheckDir: a directory in which others may replace what is kept there is refused.
func TestCheckDir(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	dir := t.TempDir()
	for mode, ok := range map[os.FileMode]bool{0o700: true, 0o755: true, 0o775: true, 0o777: false, 0o777 | os.ModeSticky: true} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := CheckDir(dir); (err == nil) != ok {
			t.Errorf("%v: %v", mode, err)
		}
	}
	if err := CheckDir(filepath.Join(dir, "none")); err != nil {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chown(dir, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	defer os.Chown(dir, 0, 0)
	if err := CheckDir(dir); err == nil {
		t.Error("another user's is taken")
	}
}

// TestUnverified: that nobody's certificate is looked at does not go unsaid.
func TestUnverified(t *testing.T) {
	const off = "insecure_skip_verify = true\n"
	linked := "[link]\nsecret = '" + goodSecret + "'\n" + strings.Replace(minimal, `wire = "json"`, "", 1)
	for _, c := range []struct{ text, want string }{
		{minimal, ""}, {linked, ""}, {strings.Replace(minimal, "relay.example", "127.0.0.1:8443", 1) + off, ""},
		{minimal + off, "read the key and what your programs do not encrypt; pin_sha256"},
		{linked + off, "read the key; pin_sha256"},
	} {
		_, warnings, err := Load(Source{Role: Run, Path: write(t, "c.toml", c.text)})
		if err != nil {
			t.Fatal(err)
		}
		said := slices.ContainsFunc(warnings, func(p Problem) bool {
			return strings.Contains(p.String(), "insecure_skip_verify: ") && strings.Contains(p.String(), c.want)
		})
		if said != (c.want != "") {
			t.Errorf("%s: %v", c.text, warnings)
		}
	}
}
