package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

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
