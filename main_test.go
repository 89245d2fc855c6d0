package main

import (
	"bufio"
	"context"
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
	"testing"
	"time"

	"relaymux/relay/doctor"
	"relaymux/relay/relaytest/testca"
)

// asMain has the test's own binary be the program.
const asMain = "TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program is the program with args, which the end of the test kills. It has no
// terminal, and no config but that of its flags.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, os.Args[0], args...)
	home := t.TempDir()
	c.Env = []string{asMain + "=1", "HOME=" + home, "XDG_STATE_HOME=" + filepath.Join(home, "state"), "PATH=" + os.Getenv("PATH")}
	return c
}

// output runs the program to its end. What it says to stderr comes last.
func output(t *testing.T, args ...string) (text string, code int) {
	t.Helper()
	c := program(t, args...)
	var out, err strings.Builder
	c.Stdout, c.Stderr = &out, &err
	if failed := c.Run(); c.ProcessState == nil {
		t.Fatal(failed)
	}
	return out.String() + err.String(), c.ProcessState.ExitCode()
}

// started starts the program and returns the first line that it prints with mark in it.
func started(t *testing.T, mark string, args ...string) string {
	t.Helper()
	line, _ := startedAs(t, mark, args...)
	return line
}

// startedFor is started, for something that ends before the test.
func startedFor(t *testing.T, mark string, args ...string) (end func()) {
	t.Helper()
	_, end = startedAs(t, mark, args...)
	return end
}

func startedAs(t *testing.T, mark string, args ...string) (line string, end func()) {
	t.Helper()
	c := program(t, args...)
	r, w := io.Pipe()
	c.Stdout, c.Stderr = w, w
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Wait()
		w.Close()
	}()
	end = func() {
		_ = c.Process.Kill()
		r.Close()
		<-ended
	}
	t.Cleanup(end)
	lines := bufio.NewScanner(r)
	var all []string
	for lines.Scan() {
		all = append(all, lines.Text())
		if strings.Contains(lines.Text(), mark) {
			go func() { _, _ = io.Copy(io.Discard, r) }()
			return lines.Text(), end
		}
	}
	t.Fatalf("%v ended without %q:\n%s", args, mark, strings.Join(all, "\n"))
	return "", end
}

// freePort is one that nobody had a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

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
	started(t, "node listens", "node", "--config", node)
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
	line := started(t, "proxy on", "run", "--config", client, "--proxy", "127.0.0.1:0")
	if text, code = output(t, "tune", "--config", client); code != exitFailed || !strings.Contains(text, "stop it first") {
		t.Errorf("tune beside the proxy: %d, %s", code, text)
	}
	fields := strings.Fields(line)
	proxy := &url.URL{Scheme: "http", Host: fields[len(fields)-1]}
	c := http.Client{Transport: &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return proxy, nil }}, Timeout: 30 * time.Second}
	defer c.CloseIdleConnections()
	resp, err := c.Get(target.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "carried" {
		t.Errorf("got %q, %v", text, err)
	}
}

func appendTo(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
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
		end := startedFor(t, "certificate from the CA", "node", "--config", file)
		text, code := output(t, "doctor", "--config", file)
		if code != 0 || !strings.Contains(text, "issued by CN=Pebble") || !strings.Contains(text, "is in use by this node") {
			t.Errorf("doctor after: %d, %s", code, text)
		}
		conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{ServerName: "node.test.example", RootCAs: ca.Roots})
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		end()
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
