package command

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asMain has the test's own binary be the program.
const asMain = "TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		os.Exit(Main("dev", os.Args[1:]))
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

// A running is a program that goes on, with what it prints.
type running struct {
	*exec.Cmd
	t     *testing.T
	lines chan string
	ended chan struct{} // closed: it has
}

// run starts the program, which the end of the test kills.
func run(t *testing.T, environ []string, args ...string) *running {
	t.Helper()
	p := &running{Cmd: program(t, args...), t: t, lines: make(chan string, 1000), ended: make(chan struct{})}
	p.Env = append(p.Env, environ...)
	r, w := io.Pipe()
	p.Stdout, p.Stderr = w, w
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait()
		w.Close()
		close(p.ended)
	}()
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *running) kill() {
	_ = p.Process.Kill()
	go func() {
		for range p.lines {
		}
	}()
	<-p.ended
}

// await returns the next line that has all marks in it.
func (p *running) await(marks ...string) string {
	p.t.Helper()
	var seen []string
	late := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-p.lines:
			seen = append(seen, line)
			found := ok
			for _, m := range marks {
				found = found && strings.Contains(line, m)
			}
			if found {
				return line
			}
			if !ok {
				p.t.Fatalf("it ended without %q:\n%s", marks, strings.Join(seen, "\n"))
			}
		case <-late:
			p.t.Fatalf("no %q in\n%s", marks, strings.Join(seen, "\n"))
		}
	}
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

func appendTo(t *testing.T, file, more string) {
	t.Helper()
	change(t, file, func(text string) string { return text + more })
}

// hangUp has it read its config again.
func (p *running) hangUp() {
	p.t.Helper()
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		p.t.Skip(err) // there is no such signal
	}
}

// address is the last word of a line.
func address(line string) string {
	fields := strings.Fields(line)
	return fields[len(fields)-1]
}

// setUp writes the files of both sides and starts a node, which may connect to this
// machine. It returns the client's file and the node's.
func setUp(t *testing.T) (client, node string, n *running) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "setup")
	if text, code := output(t, "init", "--dir", dir, "--node", "127.0.0.1:"+freePort(t), "--relay", "direct"); code != 0 {
		t.Fatalf("init: %d, %s", code, text)
	}
	client, node = filepath.Join(dir, "relaymux.toml"), filepath.Join(dir, "node.toml")
	appendTo(t, node, "\n[node.egress]\nallow_private = true\n")
	n = run(t, nil, "node", "--config", node)
	n.await("node listens")
	return client, node, n
}

// change rewrites a file.
func change(t *testing.T, file string, how func(string) string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte(how(string(text))), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// by is a client of the proxy at an address, which may have a user before it.
func by(t *testing.T, proxy string) *http.Client {
	u, err := url.Parse("http://" + proxy)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(u), DisableKeepAlives: true}, Timeout: 30 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func get(c *http.Client, url string) (text string, status int, err error) {
	resp, err := c.Get(url)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), resp.StatusCode, err
}
