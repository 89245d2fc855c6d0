package command

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// halfWay opens a connection through a proxy to a target, and has a part of what is to be
// said go each way.
func halfWay(t *testing.T, proxy string) (app, target net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if app, err = net.Dial("tcp", proxy); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { app.Close() })
	fmt.Fprintf(app, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\nup", ln.Addr())
	if target, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	fmt.Fprint(target, "down")
	for c, mark := range map[net.Conn]string{app: "down", target: "up"} {
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		for last := ""; last != mark; {
			p := make([]byte, 1)
			if _, err := io.ReadFull(c, p); err != nil {
				t.Fatal(err)
			}
			last += string(p)
			last = last[max(0, len(last)-len(mark)):]
		}
	}
	return app, target
}

// wantReset checks that a connection has ended by RST, which a system says by itself
// only of what was not read.
func wantReset(t *testing.T, who string, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 10)); n > 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%s: %d bytes, %v", who, n, err)
	}
}

// TestHostile87_Killed: whoever was connected to a process that is killed is told that
// this was not all: the targets of a node, the programs of a proxy, and the targets that
// it has connected to directly.
func TestHostile87_Killed(t *testing.T) {
	client, _, node := setUp(t)
	p := run(t, nil, "run", "--config", client, "--proxy", "127.0.0.1:0", "--admin", "")
	proxy := address(p.await("proxy on"))
	_, target := halfWay(t, proxy)
	app, _ := halfWay(t, proxy)
	node.kill()
	wantReset(t, "a target of the node", target)
	p.kill()
	wantReset(t, "a program", app)

	appendTo(t, client, "\n[route]\ndirect = [\"127.0.0.0/8\"]\n")
	p = run(t, nil, "run", "--config", client, "--proxy", "127.0.0.1:0", "--admin", "")
	app, target = halfWay(t, address(p.await("proxy on")))
	p.kill()
	wantReset(t, "a program that goes directly", app)
	wantReset(t, "its target", target)
}
