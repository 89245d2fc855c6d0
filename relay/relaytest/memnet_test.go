package relaytest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

// TestConnConforms runs the suite that golang.org/x/net has for any net.Conn.
func TestConnConforms(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b := pair(t)
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}

func TestConnHalfClose(t *testing.T) {
	a, b := pair(t)
	defer b.Close()
	defer a.Close()
	writeAll(t, a, "question")
	check(t, a.CloseWrite())
	if got := readAll(t, b); got != "question" {
		t.Errorf("read %q", got)
	}
	writeAll(t, b, "answer")
	check(t, b.CloseWrite())
	if got := readAll(t, a); got != "answer" {
		t.Errorf("read %q", got)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("writing after CloseWrite: %v", err)
	}
}

func TestConnAbort(t *testing.T) {
	for name, abort := range map[string]func(*Conn){
		"Abort":  (*Conn).Abort,
		"linger": func(c *Conn) { _ = c.SetLinger(0); _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			defer b.Close()
			writeAll(t, a, "lost")
			abort(a)
			if _, err := b.Read(make([]byte, 8)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("peer reads %v", err)
			}
			if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("peer writes %v", err)
			}
			if _, err := a.Read(make([]byte, 8)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("own end reads %v", err)
			}
		})
	}
}

func TestConnCloseDeliversThenEnds(t *testing.T) {
	a, b := pair(t)
	defer b.Close()
	writeAll(t, a, "last words")
	check(t, a.Close())
	if got := readAll(t, b); got != "last words" {
		t.Errorf("read %q", got)
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("writing to a closed peer: %v", err)
	}
}

// TestConnBackPressure fills the buffer to its last byte, and one more.
func TestConnBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		defer b.Close()
		defer a.Close()
		check(t, a.SetWriteDeadline(time.Now().Add(time.Minute)))
		if n, err := a.Write(make([]byte, ringSize)); n != ringSize || err != nil {
			t.Fatalf("filling: %d, %v", n, err)
		}
		began := time.Now()
		if n, err := a.Write([]byte{1}); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("one byte more: %d, %v", n, err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("gave up after %v", took)
		}
		check(t, a.SetWriteDeadline(time.Time{}))
		go func() { _, _ = b.Read(make([]byte, 1)) }()
		if n, err := a.Write([]byte{1}); n != 1 || err != nil {
			t.Errorf("after one byte was read: %d, %v", n, err)
		}
	})
}

// TestRingWraps moves more than the ring holds through it in odd pieces.
func TestRingWraps(t *testing.T) {
	a, b := pair(t)
	defer b.Close()
	want := make([]byte, 3*ringSize+17)
	for i := range want {
		want[i] = byte(i * 7 >> 3)
	}
	go func() {
		defer a.Close()
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 12345)
			if _, err := a.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	if got := readAll(t, b); got != string(want) {
		t.Error("the bytes differ")
	}
}

func TestNetworkAddresses(t *testing.T) {
	var n Network
	if _, err := n.Dial(t.Context(), "tcp", "nobody.test:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
	l, err := n.Listen("127.0.0.1:0")
	check(t, err)
	if _, err := n.Listen(l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listening twice: %v", err)
	}
	c, err := n.Dial(t.Context(), "tcp", l.Addr().String())
	check(t, err)
	defer c.Close()
	if _, ok := c.RemoteAddr().(*net.TCPAddr); !ok {
		t.Errorf("remote address is a %T", c.RemoteAddr())
	}
	check(t, l.Close())
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("never accepted: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepting on a closed listener: %v", err)
	}
}

func TestDialGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Network
		l, err := n.Listen("full.test:1")
		check(t, err)
		defer l.Close()
		for range 128 {
			_, err := n.Dial(t.Context(), "tcp", "full.test:1")
			check(t, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Dial(ctx, "tcp", "full.test:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the 129th: %v", err)
		}
	})
}

func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	return newPair(memAddr("127.0.0.1:1"), memAddr("peer.test:2"))
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	var all bytes.Buffer
	_, err := all.ReadFrom(r)
	check(t, err)
	return all.String()
}

func writeAll(t *testing.T, w io.Writer, s string) {
	t.Helper()
	_, err := io.WriteString(w, s)
	check(t, err)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
