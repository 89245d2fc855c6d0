package command

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tap is an origin whose downloads go on until it is closed, and then end as a whole.
func tap(t *testing.T) (url string, closing func()) {
	t.Helper()
	over := make(chan struct{})
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			_, _ = w.Write(bytes.Repeat([]byte("x"), 16<<10))
			w.(http.Flusher).Flush()
			select {
			case <-over:
				return
			case <-r.Context().Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}))
	closed := false
	closing = func() {
		if !closed {
			closed = true
			close(over)
		}
	}
	t.Cleanup(target.Close)
	t.Cleanup(closing)
	return target.URL, closing
}

// download begins one, and tells how it ends.
func download(t *testing.T, c *http.Client, url string) (ended <-chan error) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		defer resp.Body.Close()
		_, err := io.Copy(io.Discard, resp.Body)
		done <- err
	}()
	return done
}

func (p *running) signal(s os.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Skip(err) // there is no such signal
	}
}

// wantExit waits for the end of the program.
func (p *running) wantExit(within time.Duration, code int) {
	p.t.Helper()
	go func() {
		for range p.lines {
		}
	}()
	select {
	case <-p.ended:
	case <-time.After(within):
		p.t.Fatalf("it goes on after %v", within)
	}
	if got := p.ProcessState.ExitCode(); got != code {
		p.t.Errorf("exit code %d, want %d", got, code)
	}
}

// TestHostile87_Signals under load: SIGHUPs in a row change nothing, the first SIGTERM
// lets what is open end, the second ends it; and of a program that was killed nothing is
// left that is in the way of the next.
func TestHostile87_Signals(t *testing.T) {
	client, _, _ := setUp(t)
	dir := t.TempDir()
	state, socket := filepath.Join(dir, "state"), filepath.Join(dir, "s.sock")
	appendTo(t, client, fmt.Sprintf("\n[admin]\nlisten = \"\"\nsocket = %q\n[state]\ndir = %q\n", socket, state))
	start := func() (*running, *http.Client) {
		p := run(t, nil, "run", "--config", client, "--proxy", "127.0.0.1:0", "--log-level", "info")
		return p, by(t, address(p.await("proxy on")))
	}
	status := func(when string) {
		t.Helper()
		if text, code := output(t, "status", "--config", client); code != 0 || !strings.Contains(text, "DEPLOYMENT") {
			t.Errorf("status %s: %d, %s", when, code, text)
		}
	}

	p, c := start()
	url, closing := tap(t)
	ended := download(t, c, url)
	for range 20 {
		p.signal(syscall.SIGHUP)
	}
	p.await("config read again")
	status("after SIGHUPs")
	p.signal(syscall.SIGTERM)
	p.await("stopping")
	closing()
	if err := <-ended; err != nil {
		t.Errorf("a download that ended after SIGTERM: %v", err)
	}
	p.wantExit(10*time.Second, 0)
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}

	p, c = start()
	url, _ = tap(t)
	ended = download(t, c, url)
	p.signal(syscall.SIGTERM)
	p.await("stopping")
	p.signal(syscall.SIGTERM)
	p.wantExit(3*time.Second, 1)
	if err := <-ended; err == nil {
		t.Error("a download that was cut off looks whole")
	}

	p, c = start()
	ended = download(t, c, url)
	p.signal(syscall.SIGKILL)
	<-p.ended
	if err := <-ended; err == nil {
		t.Error("a download that was cut off looks whole")
	}
	if _, err := os.Lstat(socket); err != nil {
		t.Errorf("there is no socket that could be in the way: %v", err)
	}
	p, c = start()
	status("after SIGKILL")
	ended = download(t, c, url)
	p.signal(syscall.SIGTERM)
	p.await("stopping")
	p.wantExit(15*time.Second, 0) // the download does not end: it has had its time
	<-ended
	text, err := os.ReadFile(filepath.Join(state, "quota"))
	if err != nil || !strings.HasPrefix(string(text), "relaymux quota 1\n") || !strings.HasSuffix(string(text), "\n") {
		t.Errorf("the counts: %q, %v", text, err)
	}
	left, err := os.ReadDir(state)
	if err != nil || len(left) != 2 { // the counts, and their lock
		t.Errorf("in the state directory: %v, %v", left, err)
	}
}

// TestHostile53_Refused: before anything is opened, with what to do about it.
func TestHostile53_Refused(t *testing.T) {
	client, _, _ := setUp(t)
	for _, listen := range []string{"0.0.0.0:0", "[::]:0", ":0"} {
		text, code := output(t, "run", "--config", client, "--proxy", listen)
		if code != 2 || !strings.Contains(text, "add users = ") || strings.Contains(text, "proxy on") {
			t.Errorf("%s: exit code %d, %s", listen, code, text)
		}
	}
	change(t, client, func(text string) string { return strings.Replace(text, ":1080", ":"+freePort(t), 1) })
	p := run(t, nil, "run", "--config", client, "--admin", "")
	at := address(p.await("proxy on"))
	change(t, client, func(text string) string { return strings.Replace(text, at, "0.0.0.0:1080", 1) })
	p.hangUp()
	p.await("the config has a mistake", "add users = ")
	if c, err := http.Get("http://" + at + "/"); err == nil {
		c.Body.Close()
	} else {
		t.Errorf("the old port is closed: %v", err)
	}
}

// TestHostile84_PortTaken: a port that somebody has, on either family, is told with what
// to do about it, by proxy and node alike.
func TestHostile84_PortTaken(t *testing.T) {
	client, node, _ := setUp(t)
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	port := taken.URL[strings.LastIndex(taken.URL, ":"):]
	for _, at := range []string{"127.0.0.1" + port, "localhost" + port} {
		text, code := output(t, "run", "--config", client, "--admin", "", "--proxy", at)
		if code != 1 || !strings.Contains(text, "address already in use") || !strings.Contains(text, "--proxy 127.0.0.1:PORT") {
			t.Errorf("%s: exit code %d, %s", at, code, text)
		}
	}
	p := run(t, nil, "run", "--config", client, "--proxy", "127.0.0.1:0", "--admin", "127.0.0.1"+port)
	p.await("no admin page", port, "in use") // the proxy is worth more than its page
	change(t, node, func(text string) string {
		return regexp.MustCompile(`(?m)^listen\s*=.*$`).ReplaceAllString(text, `listen = "0.0.0.0`+port+`"`)
	})
	if text, code := output(t, "node", "--config", node); code != 1 || !strings.Contains(text, "address already in use") || !strings.Contains(text, "listen under [node]") {
		t.Errorf("the node: exit code %d, %s", code, text)
	}
	// No interface has it: that, too, is the user's to mend.
	for _, at := range []string{"[fe80::1%nowhere0]:0", "192.0.2.1:0"} {
		text, code := output(t, "run", "--config", client, "--admin", "", "--proxy", at)
		if code == 0 || code != 2 && !strings.Contains(text, "another address") {
			t.Errorf("%s: exit code %d, %s", at, code, text)
		}
	}
}
