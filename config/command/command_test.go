package command

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"relaymux/config"
	"relaymux/mux/secret"
	"relaymux/relay/doctor"
	"relaymux/relay/relaytest/testca"
	"relaymux/socks/dash"
)

// TestInitCarriesARequest: what init writes passes check, starts a node and a proxy as
// two processes, and carries a request.
func TestInitCarriesARequest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "setup")
	if text, code := output(t, "init", "--dir", dir, "--node", "127.0.0.1:"+freePort(t), "--relay", "direct"); code != 0 {
		t.Fatalf("init: %d, %s", code, text)
	}
	client, node := filepath.Join(dir, "relaymux.toml"), filepath.Join(dir, "node.toml")
	for _, file := range []string{client, node} {
		if text, code := output(t, "check", "--config", file); code != 0 {
			t.Fatalf("check: %d, %s", code, text)
		}
	}
	appendTo(t, node, "[node.egress]\nallow_private = true\n")
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "carried") }))
	defer target.Close()

	if text, code := output(t, "doctor", "--config", node); code != 0 || !strings.Contains(text, "is free: the node does not run") {
		t.Errorf("doctor of a node: %d, %s", code, text)
	}
	run(t, nil, "node", "--config", node).await("node listens")
	var report doctor.Report
	text, code := output(t, "doctor", "--config", client, "--json", "--target", strings.TrimPrefix(target.URL, "http://"))
	if err := json.Unmarshal([]byte(text), &report); err != nil || code != 0 || len(report.Findings) != 1 {
		t.Fatalf("doctor with a node: %d, %v, %s", code, err, text)
	}
	for _, l := range report.Findings[0].Legs {
		if l.Status != doctor.OK {
			t.Errorf("doctor with a node: %+v", l)
		}
	}
	if text, code = output(t, "doctor", "--config", client, "--target", "127.0.0.1:1"); code != exitFailed || !strings.Contains(text, "dial is broken") {
		t.Errorf("doctor of a target that is not there: %d, %s", code, text)
	}
	if text, code = output(t, "doctor", "--config", client, "--limit", "1ns"); code != exitFailed || !strings.Contains(text, "--limit is 1ns") {
		t.Errorf("doctor without time: %d, %s", code, text)
	}
	if text, code = output(t, "doctor", "--config", client, "--target", "foo"); code != exitUsage || text != "relaymux: --target \"foo\" is not host:port: write it as example.com:443\n" {
		t.Errorf("doctor of a target without a port: %d, %s", code, text)
	}
	if text, code = output(t, "doctor", "--config", node); code != 0 || !strings.Contains(text, "is in use by this node") {
		t.Errorf("doctor of a running node: %d, %s", code, text)
	}
	state := "[state]\ndir = \"state\"\n"
	appendTo(t, client, state)
	if text, code = output(t, "tune", "--config", client, "--budget", "40"); code != 0 || !strings.Contains(text, "neither slots nor [batch] matter") {
		t.Errorf("tune straight to the node: %d, %s", code, text)
	}
	for _, c := range []struct{ budget, want string }{{"19", "at least 20"}, {"x", "invalid argument"}} {
		if text, code = output(t, "tune", "--config", client, "--budget", c.budget); code != exitUsage || !strings.Contains(text, c.want) {
			t.Errorf("tune --budget %s: %d, %s", c.budget, code, text)
		}
	}
	line := run(t, nil, "run", "--config", client, "--proxy", "127.0.0.1:0").await("proxy on")
	if text, code = output(t, "tune", "--config", client); code != exitFailed || !strings.HasPrefix(text, "relaymux: the proxy is running: stop it first") {
		t.Errorf("tune beside the proxy: %d, %s", code, text)
	}
	if text, _, err := get(by(t, address(line)), target.URL); err != nil || text != "carried" {
		t.Errorf("got %q, %v", text, err)
	}
}

// TestInitWithoutATerminal: it neither asks nor hangs, and names the flag.
func TestInitWithoutATerminal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "setup")
	for _, c := range []struct {
		flag string
		args []string
	}{
		{"--node", nil},
		{"--relay", []string{"--node", "node.example"}},
		{"--relay", []string{"--node", "node.example", "--relay", "pigeon"}},
		{"--node-tls", []string{"--node", "node.example", "--relay", "worker", "--node-tls", "self-signed"}},
		{"--from", []string{"--node", "node.example", "--from", filepath.Join(dir, "missing")}},
	} {
		text, code := output(t, append([]string{"init", "--dir", dir}, c.args...)...)
		if code != exitUsage || !strings.HasPrefix(text, "relaymux: "+c.flag+" ") {
			t.Errorf("%v: exit code %d, %q", c.args, code, text)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a mistake leaves files")
	}
}

// TestNodeByACME: a node's config leads to a certificate of a CA, which the doctor finds.
func TestNodeByACME(t *testing.T) {
	testca.Hurry(t)
	dir := t.TempDir()
	port, port80 := freePort(t), freePort(t)
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	ca := testca.New(t, number(port80), number(port))
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("ca.pem", string(ca.HTTPSPEM))
	for _, challenge := range []string{"http-01", "tls-alpn-01"} {
		state := filepath.Join(dir, challenge)
		file := write(challenge+".toml", fmt.Sprintf(`[node]
listen = "127.0.0.1:%s"
tls = "acme"
key = "a key that nobody else has"
[node.acme]
domains = ["node.test.example"]
challenge = %q
http_listen = "127.0.0.1:%s"
directory = %q
ca_file = "ca.pem"
[state]
dir = %q
`, port, challenge, port80, ca.Directory, state))
		if text, code := output(t, "doctor", "--config", file); code != 0 || !strings.Contains(text, "none from the CA yet") {
			t.Errorf("doctor before: %d, %s", code, text)
		}
		n := run(t, nil, "node", "--config", file)
		n.await("certificate from the CA")
		text, code := output(t, "doctor", "--config", file)
		if code != 0 || !strings.Contains(text, "issued by CN=Pebble") || !strings.Contains(text, "is in use by this node") {
			t.Errorf("doctor after: %d, %s", code, text)
		}
		conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{ServerName: "node.test.example", RootCAs: ca.Roots})
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		n.kill()
	}
	file := filepath.Join(dir, "http-01.toml")
	ln, err := net.Listen("tcp", "127.0.0.1:"+port80)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if text, code := output(t, "node", "--config", file); code != exitFailed || !strings.Contains(text, "the port at which the CA asks") {
		t.Errorf("a port 80 that is taken: %d, %s", code, text)
	}
}

// TestTopWithoutATerminal: it says what does without one.
func TestTopWithoutATerminal(t *testing.T) {
	if text, code := output(t, "top"); code != exitUsage || !strings.Contains(text, "status --watch") {
		t.Errorf("exit code %d, %q", code, text)
	}
}

// TestQuiet: the exit code is all that there is, also where there would be an error or a
// warning.
func TestQuiet(t *testing.T) {
	dir := t.TempDir()
	file, bad := filepath.Join(dir, "c.toml"), filepath.Join(dir, "bad.toml")
	const text = "[admin]\nlisten = \"127.0.0.1:1\"\nsocket = \"\"\n[[deployment]]\nurl = \"https://relay.example\"\nkey = \"b25seSBmb3IgdGVzdHMh\"\n"
	for name, text := range map[string]string{file: text, bad: text + "no_such = 1\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if text, code := output(t, "status", "--config", file); code != exitFailed || !strings.Contains(text, "warning: ") || !strings.Contains(text, "no relaymux is running") {
		t.Errorf("not quiet, and none runs: %d, %s", code, text)
	}
	p := run(t, nil, "run", "--proxy", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	at := strings.Trim(strings.TrimPrefix(address(p.await("Admin page on")), "http://"), "/")
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"--admin", at}, 0}, {[]string{"--config", file}, exitFailed}, {[]string{"--config", bad}, exitUsage},
	} {
		if text, code := output(t, append([]string{"status", "--quiet"}, c.args...)...); code != c.code || text != "" {
			t.Errorf("%v: %d, %q", c.args, code, text)
		}
	}
}

// TestNoConfig: a node without any is told where one is looked for.
func TestNoConfig(t *testing.T) {
	text, code := output(t, "node")
	if code != exitUsage || !strings.Contains(text, noFile) || !strings.Contains(text, "node.tls_cert: is missing") {
		t.Errorf("%d, %s", code, text)
	}
}

// TestAdminToken: it is for the config's own address, whatever that is called by.
func TestAdminToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	text := "[admin]\nlisten = \"127.0.0.1:1081\"\ntoken = \"Zm9yIHRlc3RzIG9ubHkh\"\nsocket = \"/nowhere/s\"\n" +
		"[[deployment]]\nurl = \"https://relay.example\"\nkey = \"b25seSBmb3IgdGVzdHMh\"\nwire = \"json\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]dash.Client{
		"":               {Proxy: "127.0.0.1:1080", Socket: "/nowhere/s", Listen: "127.0.0.1:1081", Token: secret.New("Zm9yIHRlc3RzIG9ubHkh")},
		"127.0.0.1:1081": {Listen: "127.0.0.1:1081", Token: secret.New("Zm9yIHRlc3RzIG9ubHkh")},
		"127.0.0.1:1082": {Listen: "127.0.0.1:1082"},
	} {
		a := app{err: io.Discard}
		got, err := a.adminClient(options{path: file, admin: flag, flags: config.Flags{}})
		if err != nil || *got != want {
			t.Errorf("--admin %q: %+v, %v", flag, got, err)
		}
	}
	if text, code := output(t, "status", "--config", file, "--admin", "1081"); code != exitUsage || !strings.Contains(text, "host:port") {
		t.Errorf("exit code %d, %q", code, text)
	}
}

// TestRoute: which way a destination goes, and where that is written.
func TestRoute(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	text := "[route]\ndirect = [\"lan.example\",\n  \"10.0.0.0/8\"]\nblock = \"ads.example\"\n" +
		"[[deployment]]\nurl = \"https://relay.example\"\nkey = \"Zm9yIHRlc3RzIG9ubHkh\"\nwire = \"json\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"nas.lan.example:22"}, "direct\t" + file + ":2: route.direct: \"lan.example\"\n", 0},
		{[]string{"ads.example:443"}, "block\t" + file + ":4: route.block: \"ads.example\"\n", 0},
		{[]string{"example.org:443"}, "tunnel\tno rule of [route]\n", 0},
		{[]string{"localhost:1080"}, "block\tthe proxy itself\n", 0},
		{[]string{"10.1.2.3:80", "--json"}, `{"to":"10.1.2.3:80","verdict":"direct","rule":"` + file + `:2: route.direct: \"10.0.0.0/8\""}` + "\n", 0},
		{[]string{"example.org"}, "host:port", 2},
		{nil, "HOST:PORT", 2},
	} {
		got, code := output(t, append([]string{"route", "--config", file}, c.args...)...)
		if code != c.code || !strings.Contains(got, c.want) {
			t.Errorf("route %v: %d, %q; want %d, %q", c.args, code, got, c.code, c.want)
		}
	}
}

// TestExec: a program gets the variables of the proxy, and its exit code is the
// command's; without a proxy it does not run.
func TestExec(t *testing.T) {
	if text, code := output(t, "exec", "--proxy", "127.0.0.1:1", "no-such-program"); code != exitFailed || !strings.Contains(text, "the proxy does not answer") {
		t.Errorf("without a proxy: %d, %s", code, text)
	}
	p := run(t, nil, "run", "--proxy", "127.0.0.1:0", "--admin", "")
	at := address(p.await("proxy on"))
	if text, code := output(t, "exec", "--proxy", at, "no-such-program"); code != 127 {
		t.Errorf("no program: %d, %s", code, text)
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	text, code := output(t, "exec", "--proxy", at, "--", sh, "-c", `echo "$1 $http_proxy $ALL_PROXY"; exit 7`, "sh", "--user")
	if want := "--user http://" + at + " socks5h://" + at + "\n"; text != want || code != 7 {
		t.Errorf("%d, %q, want %q", code, text, want)
	}
}

// TestEnv: the password is printed only if that is asked for.
func TestEnv(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	const word = "a word of the test"
	text := "[proxy]\nusers = [{name = \"ann\", password = \"" + word + "\"}]\n[[deployment]]\nurl = \"https://node.example\"\n" +
		"[link]\nsecret = \"a secret of the test: 9f8e7d6c5b4a3\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, code := output(t, "env", "--config", file); code != exitUsage || strings.Contains(text, "test") {
		t.Errorf("%d, %s", code, text)
	}
	text, code := output(t, "env", "--config", file, "--with-password", "--shell", "sh")
	if code != 0 || !strings.Contains(text, "export https_proxy='http://ann:"+url.PathEscape(word)+"@127.0.0.1:1080'\n") {
		t.Errorf("%d, %s", code, text)
	}
}

// manager is what systemd is to a daemon: a socket.
func manager(t *testing.T) (environ []string, await func(marks ...string) string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // a short name: it has to fit into 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	at := &net.UnixAddr{Name: filepath.Join(dir, "socket"), Net: "unixgram"}
	c, err := net.ListenUnixgram("unixgram", at)
	if err != nil {
		t.Skip(err) // there is no such thing here
	}
	t.Cleanup(func() { c.Close() })
	await = func(marks ...string) string {
		t.Helper()
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		for p := make([]byte, 4096); ; {
			n, err := c.Read(p)
			if err != nil {
				t.Fatalf("no %q: %v", marks, err)
			}
			found := true
			for _, m := range marks {
				found = found && strings.Contains("\n"+string(p[:n])+"\n", "\n"+m)
			}
			if found {
				return string(p[:n])
			}
		}
	}
	return []string{"NOTIFY_SOCKET=" + at.Name, "WATCHDOG_USEC=200000"}, await
}

// TestSystemd: both daemons tell that they are ready, alive, reloading and stopping.
func TestSystemd(t *testing.T) {
	client, node, n := setUp(t)
	_ = n.Process.Kill()
	<-n.ended
	for _, args := range [][]string{
		{"node", "--config", node},
		{"run", "--config", client, "--proxy", "127.0.0.1:0", "--admin", ""},
	} {
		t.Run(args[0], func(t *testing.T) {
			environ, await := manager(t)
			p := run(t, environ, args...)
			await("READY=1\n", "STATUS=")
			await("WATCHDOG=1\n", "STATUS=")
			p.hangUp()
			await("RELOADING=1\n", "MONOTONIC_USEC=")
			await("READY=1\n")
			await("WATCHDOG=1\n")
			if err := p.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			await("STOPPING=1\n")
		})
	}
}
