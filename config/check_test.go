package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestUserLimits(t *testing.T) {
	for _, c := range []struct {
		name, password string
		ok             bool
	}{
		{"a", "b", true},
		{strings.Repeat("a", 255), strings.Repeat("b", 254) + "c", true},
		{strings.Repeat("a", 256), "b", false},
		{"a", strings.Repeat("b", 255) + "c", false},
		{"", "b", false}, {"a", "", false}, {"a:", "b", false}, {"a", "b:", true},
	} {
		text := fmt.Sprintf("[proxy]\nusers = [{name = %q, password = %q}]\n%s", c.name, c.password, minimal)
		lines := report(Source{Role: Run, Path: write(t, "c.toml", text)})
		if ok := len(lines) == 0; ok != c.ok {
			t.Errorf("%d and %d bytes: %v", len(c.name), len(c.password), lines)
		}
	}
}

// TestPasswords: none that everybody would try, and where others can try at all, none
// that is short.
func TestPasswords(t *testing.T) {
	const example, repeats, short = "is an example", "only repeats itself", "has 7 bytes, but needs at least 8"
	for _, c := range []struct{ password, loopback, beyond string }{
		{"hunter2!", "", ""}, {"hunter2", "", short}, {"گذرواژه", "", ""}, {"x", "", "has 1 bytes"},
		{"...", example, example}, {"password", example, example}, {"Password!", example, example}, {"change-me", example, example},
		{"YOUR-PASSWORD-HERE", example, example}, {"abcdabcd", repeats, repeats}, {"11", repeats, repeats},
	} {
		for listen, want := range map[string]string{
			"'127.0.0.1:1080'": c.loopback, "['[::1]:1080', 'localhost:1']": c.loopback,
			"'0.0.0.0:1080'": c.beyond, "['127.0.0.1:1080', '192.168.1.2:1080']": c.beyond,
		} {
			text := fmt.Sprintf("[proxy]\nlisten = %s\nusers = [{name = 'ann', password = '%s'}]\n%s", listen, c.password, minimal)
			lines := report(Source{Role: Run, Path: write(t, "c.toml", text)})
			if want == "" && len(lines) > 0 || want != "" && (len(lines) != 1 || !strings.Contains(lines[0], `proxy.users.password: of user "ann" `+want)) {
				t.Errorf("%s on %s: %v", c.password, listen, lines)
			}
		}
	}
}

// TestListenTwice: of two listeners at one port one could not be opened; all addresses are
// those of IPv4 too. Only the admin page is not missed.
func TestListenTwice(t *testing.T) {
	const warning = "warning: "
	for _, c := range []struct{ proxy, dns, admin, want string }{
		{"'0.0.0.0:1080', '[::]:1080'", "", "127.0.0.1:1081", "proxy.listen: "},
		{"':1080', '0.0.0.0:1080'", "", "127.0.0.1:1081", "proxy.listen: "},
		{"'[::]:1080', '[::1]:1080'", "", "127.0.0.1:1081", "proxy.listen: "},
		{"'127.0.0.1:1080', '127.0.0.1:1080'", "", "127.0.0.1:1081", "proxy.listen: "},
		{"'127.0.0.1:5300'", "127.0.0.1:5300", "127.0.0.1:1081", "dns.listen: "},
		{"'0.0.0.0:1081'", "", "localhost:1081", warning},
		{"'127.0.0.1:1080'", "127.0.0.1:1081", "127.0.0.1:1081", warning},
		{"'127.0.0.1:1080', '[::1]:1080', '192.168.1.2:1080'", "127.0.0.1:5300", "127.0.0.1:1081", ""},
		{"'0.0.0.0:1080', '[::1]:1080'", "127.0.0.1:5300", "[::1]:1081", ""},
		{"'0.0.0.0:0', '[::]:0'", "127.0.0.1:0", "127.0.0.1:0", ""},
	} {
		text := fmt.Sprintf("[proxy]\nlisten = [%s]\nusers = [{name = 'ann', password = 'hunter2!'}]\n[dns]\nlisten = '%s'\n[admin]\nlisten = '%s'\n%s",
			c.proxy, c.dns, c.admin, minimal)
		lines := report(Source{Role: Run, Path: write(t, "c.toml", text)})
		if c.want == "" && len(lines) > 0 || c.want != "" && (len(lines) != 1 || !strings.Contains(lines[0], c.want) || !strings.Contains(lines[0], "takes the port that")) ||
			c.want != warning && len(lines) > 0 && strings.HasPrefix(lines[0], warning) {
			t.Errorf("%+v: %q", c, lines)
		}
	}
}

func TestWeakness(t *testing.T) {
	const random = "dCqzl4yP0bTtUvR8wE2mNc6sKfHjXg1a"
	for _, secret := range []string{random[:16], random, "a secret of my own", "0123456789abcdef"} {
		if m := weakness(secret, 16); m != "" {
			t.Errorf("%q: %s", secret, m)
		}
	}
	if weakness(random[:31], minSecret) == "" || weakness(random[:32], minSecret) != "" {
		t.Error("the shortest secret of a link is wrong")
	}
	for _, secret := range []string{
		"", random[:15], "changeme", "CHANGE_ME", "CHANGE_ME_TO_A_STRONG_SECRET", "secret", "password", "your-key-here",
		"your-secret-goes-here", "example", "----------------", "aaaaaaaaaaaaaaaaaaaa", "passwordpassword", "0101010101010101",
	} {
		if weakness(secret, 16) == "" {
			t.Errorf("%q is accepted", secret)
		}
	}
}

// The node does not start without a key of its own.
func TestHostile58_NoDefaultNodeKey(t *testing.T) {
	for _, key := range []string{"", "changeme", "CHANGE_ME_TO_A_STRONG_SECRET", "short"} {
		environ := []string{"RELAYMUX_NODE_SELF_SIGNED=1", "RELAYMUX_NODE_KEY=" + key}
		lines := report(Source{Role: Node, Environ: environ})
		wantProblem(t, lines, "RELAYMUX_NODE_KEY: ")
		wantProblem(t, lines, "head -c 24 /dev/urandom | base64")
	}
}

func TestURLs(t *testing.T) {
	for _, u := range []string{
		"https://script.google.com/macros/s/AKfycb/exec", "https://relay.example", "https://relay.example:8443/a/b", "https://[2001:db8::1]/",
		"http://127.0.0.1:8080", "http://localhost/x", "http://[::1]:1/", "HTTPS://relay.example/dev",
	} {
		if m := urlMistake(u); m != "" {
			t.Errorf("%s: %s", u, m)
		}
	}
	for _, u := range []string{
		"", "relay.example", "/path", "https://", "https:///x", "https:relay.example", "ftp://relay.example", "http://relay.example",
		"http://127.0.0.1.example", "https://u@relay.example", "https://u:p@relay.example", "https://relay.example?", "https://relay.example#",
		"https://relay.example:0", "https://relay.example:65536", "https://relay.example:", "https://re lay.example", "https://relay..example",
		"https://script.google.com/macros/s/AKfycb/dev", "https://1.2.3", "https://%zz", " https://relay.example", "://",
	} {
		if urlMistake(u) == "" {
			t.Errorf("%q is accepted", u)
		}
	}
}

func TestListenAddresses(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1:0": true, "[::1]:65535": true, "localhost:1": true, ":1": false, "0.0.0.0:1": false, "host:1": false} {
		if got, err := parseListen(address); err != nil || got != want {
			t.Errorf("%s: %v, %v", address, got, err)
		}
	}
	for _, address := range []string{"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:http", "::1:80", "1.2.3:80", "a b:80", "127.0.0.1:01"} {
		if _, err := parseListen(address); err == nil {
			t.Errorf("%q is accepted", address)
		}
	}
}

func TestDeploymentNames(t *testing.T) {
	const one = "[[deployment]]\nkey = '" + goodKey + "'\nurl = 'https://a.example'\nwire = 'json'\n"
	cfg := mustLoad(t, Run, one+"name = 'd2'\n"+one+one+one+"name = 'x'\naccount = 'shared'\n[[account]]\nname = 'shared'\n")
	var got []string
	for _, d := range cfg.Deployments {
		got = append(got, d.Name+" "+d.Account)
	}
	if want := []string{"d2 d2", "a.example a.example", "d3 d3", "x shared"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if want := []string{"shared", "d2", "a.example", "d3"}; len(cfg.Accounts) != len(want) {
		t.Errorf("accounts %v, want %v", cfg.Accounts, want)
	}
}

func TestNameLimits(t *testing.T) {
	for n, ok := range map[int]bool{1: true, 64: true, 65: false} {
		lines := report(Source{Role: Run, Path: write(t, "c.toml", minimal+"name = '"+strings.Repeat("n", n)+"'\n")})
		if (len(lines) == 0) != ok {
			t.Errorf("%d bytes: %v", n, lines)
		}
	}
	long := strings.Repeat(strings.Repeat("a", 60)+".", 3) + "example"
	mustLoad(t, Run, strings.ReplaceAll(minimal, "relay.example", long))
	wantProblem(t, report(Source{Role: Run, Path: write(t, "c.toml", minimal+"name = \"a\\u001b[31m\"\n")}), `"a\x1b[31m" has characters`)
}

func TestWeakDeploymentKeyIsAWarning(t *testing.T) {
	cfg, warnings, err := Load(Source{Role: Run, Path: write(t, "c.toml", strings.ReplaceAll(minimal, goodKey, "hunter2"))})
	if err != nil || len(warnings) != 1 || strings.Contains(warnings[0].String(), "hunter2") {
		t.Errorf("got %v, %v, %v", cfg, warnings, err)
	}
}

func TestPlainNode(t *testing.T) {
	const text = "[node]\nplain = true\nkey = '" + goodKey + "'\nlisten = "
	if lines := report(Source{Role: Node, Path: write(t, "c.toml", text+"'127.0.0.1:8443'")}); len(lines) > 0 {
		t.Error(lines)
	}
	wantProblem(t, report(Source{Role: Node, Path: write(t, "c.toml", text+"'0.0.0.0:8443'")}), "warning: c.toml:2: node.plain: ")
}

// Sections of the other role need not make sense, but their types are checked.
func TestRoles(t *testing.T) {
	const noNode = minimal + "[node]\nlisten = 'nowhere'\n"
	mustLoad(t, Run, noNode)
	wantProblem(t, report(Source{Role: Any, Path: write(t, "c.toml", noNode)}), "node.listen: ")
	wantProblem(t, report(Source{Role: Run, Path: write(t, "c.toml", minimal+"[node]\nlisten = 5\n")}), "node.listen: ")
	node := testdata(t, "node.toml") + "[[deployment]]\n"
	mustLoad(t, Node, node)
	wantProblem(t, report(Source{Role: Any, Path: write(t, "c.toml", node)}), "deployment.url: ")
	wantProblem(t, report(Source{Role: Any, Path: write(t, "c.toml", "")}), "deployment: there is none")
	mustLoad(t, Any, minimal, "RELAYMUX_NODE_KEY=changeme")
	mustLoad(t, Any, testdata(t, "node.toml"), "RELAYMUX_PROXY_LISTEN=0.0.0.0:1")
}

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	file("good.key", goodKey+"\r\n", 0o600)
	file("largest.key", strings.Repeat("k", maxSecretFile), 0o400)
	file("large.key", strings.Repeat("k", maxSecretFile+1), 0o600)
	file("group.key", goodKey, 0o640)
	file("all.key", goodKey, 0o604)
	file("empty.key", "\n", 0o600)
	file("lines.key", goodKey+"\n\n", 0o600)
	for name, want := range map[string]string{
		"good.key": "", "largest.key": "", "large.key": "more than 4096 bytes", "missing.key": "no such file",
		"group.key": "chmod 600 " + filepath.Join(dir, "group.key"), "all.key": "chmod 600 ",
		"empty.key": "is empty", "lines.key": "must hold one line", ".": "not a regular file",
	} {
		secret, mistake := readSecretFile(filepath.Join(dir, name))
		if runtime.GOOS == "windows" && strings.HasPrefix(want, "chmod") {
			continue
		}
		if want == "" && (mistake != "" || !secret.IsSet()) || want != "" && !strings.Contains(mistake, want) {
			t.Errorf("%s: %q, want %q", name, mistake, want)
		}
	}
	path := filepath.Join(dir, "c.toml")
	file("c.toml", "[[deployment]]\nurl = 'https://relay.example'\nkey_file = 'good.key'\nwire = 'json'\n", 0o644)
	cfg, _, err := Load(Source{Role: Run, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if d := cfg.Deployments[0]; d.Key.Reveal() != goodKey || d.KeyFile != filepath.Join(dir, "good.key") {
		t.Errorf("got %+v", d)
	}
}

func TestHostile51_ConfigWithSecretMustBePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o620: false} {
		path := write(t, "c.toml", minimal)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		lines := report(Source{Role: Run, Path: path})
		if ok != (len(lines) == 0) {
			t.Errorf("%o: %v", mode, lines)
		}
		if !ok {
			wantProblem(t, lines, "c.toml:4: deployment.key: stands in a file that others may read; run: chmod 600 ")
		}
	}
}

// A secret of the environment replaces a file that the configuration names;
// two in the same source contradict each other.
func TestSecretPrecedence(t *testing.T) {
	other := write(t, "node.key", "anotherKey0123456789\n")
	both := "[node]\nself_signed = true\nkey_file = " + fmt.Sprintf("%q", other) + "\n"
	cfg := mustLoad(t, Node, both, "RELAYMUX_NODE_KEY="+goodKey)
	if cfg.Node.Key.Reveal() != goodKey {
		t.Error("the file's key won")
	}
	inline := "[node]\nself_signed = true\nkey = '" + goodKey + "'\n"
	cfg = mustLoad(t, Node, inline, "RELAYMUX_NODE_KEY_FILE="+other)
	if cfg.Node.Key.Reveal() != "anotherKey0123456789" {
		t.Error("the variable's file lost")
	}
	both += "key = '" + goodKey + "'\n"
	wantProblem(t, report(Source{Role: Node, Path: write(t, "c.toml", both)}), "c.toml:3: node.key_file: excludes key")
}

func TestNodeCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := makeCertificate(t)
	text := func(certFile, keyFile string) string {
		return fmt.Sprintf("[node]\nkey = '%s'\ntls_cert = '%s'\ntls_key = '%s'\n", goodKey, certFile, keyFile)
	}
	load := func(keyText []byte, mode os.FileMode) []string {
		for name, b := range map[string][]byte{"cert.pem": cert, "key.pem": keyText, "c.toml": []byte(text("cert.pem", "key.pem"))} {
			path := filepath.Join(dir, name)
			os.Remove(path)
			if err := os.WriteFile(path, b, mode); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(dir, "c.toml"), 0o600); err != nil {
			t.Fatal(err)
		}
		return report(Source{Role: Node, Path: filepath.Join(dir, "c.toml")})
	}
	if lines := load(key, 0o600); len(lines) > 0 {
		t.Error(lines)
	}
	if lines := load(key, 0o640); len(lines) > 0 {
		t.Error("a group may not read the key:", lines)
	}
	if runtime.GOOS != "windows" {
		wantProblem(t, load(key, 0o644), "c.toml:4: node.tls_key: everybody may read this file; run: chmod 640 ")
	}
	_, otherKey := makeCertificate(t)
	wantProblem(t, load(otherKey, 0o600), "c.toml:3: node.tls_cert: ")
	wantProblem(t, report(Source{Role: Node, Path: write(t, "c.toml", text("no.pem", "no.pem"))}), "c.toml:3: node.tls_cert: no.pem: no such file")
	wantProblem(t, report(Source{Role: Node, Path: write(t, "c.toml", text("no.pem", ""))}), "c.toml:4: node.tls_key: is missing")
}

func TestCAFile(t *testing.T) {
	cert, key := makeCertificate(t)
	good, bad := write(t, "ca.pem", string(cert)), write(t, "ca.pem", string(key))
	mustLoad(t, Run, minimal+"ca_file = '"+good+"'\n")
	wantProblem(t, report(Source{Role: Run, Path: write(t, "c.toml", minimal+"ca_file = '"+bad+"'\n")}), "holds no certificate")
	contradiction := minimal + "insecure_skip_verify = true\nca_file = '" + good + "'\n"
	wantProblem(t, report(Source{Role: Run, Path: write(t, "c.toml", contradiction)}), "insecure_skip_verify: contradicts")
	plain := strings.Replace(minimal, "https://", "http://", 1) + "pin_sha256 = '" + strings.Repeat("ab", 32) + "'\n"
	wantProblem(t, report(Source{Role: Run, Path: write(t, "c.toml", plain)}), "pin_sha256: is of no use")
}

// makeCertificate returns a certificate and its key in PEM form.
func makeCertificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func TestProblemText(t *testing.T) {
	for _, c := range []struct {
		p    Problem
		want string
	}{
		{Problem{"c.toml", 3, "a.b", "is bad"}, "c.toml:3: a.b: is bad"},
		{Problem{"c.toml", 0, "a.b", "is bad"}, "c.toml: a.b: is bad"},
		{Problem{"c.toml", 3, "", "is bad"}, "c.toml:3: is bad"},
		{Problem{"", 0, "--flag", "is bad"}, "--flag: is bad"},
	} {
		if got := c.p.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
