package exit

import (
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"time"
)

// BenchmarkLinkDownload reads from a socket on loopback, and carries it to a client
// that does nothing but open the records; MB/s are those of the payload.
func BenchmarkLinkDownload(b *testing.B) {
	const size = 16 << 20
	chunk := make([]byte, 256<<10)
	r := newRig(b, Config{Clients: clients("ann"), Dialer: loopback(b, func(c *net.TCPConn) {
		for {
			if _, err := c.Write(chunk); err != nil {
				return
			}
		}
	})})
	c := r.link("ann")
	c.openStream("x", 80, false, math.MaxInt)
	a := c.flows[0]
	c.must()
	b.SetBytes(size)
	b.ReportAllocs()
	long := ask(time.Minute)
	long.Path, long.Room = 0, 4<<20
	for b.Loop() {
		for want := len(a.got) + size; len(a.got) < want; {
			if err := c.do(long); err != nil {
				b.Fatal(err)
			}
		}
		a.got = a.got[:0]
	}
}

// BenchmarkLinkUpload is the other way.
func BenchmarkLinkUpload(b *testing.B) {
	const size = 16 << 20
	r := newRig(b, Config{Clients: clients("ann"), Dialer: loopback(b, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })})
	c := r.link("ann")
	a := c.connect("x")
	c.must()
	data := strings.Repeat("x", size)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		c.write(a, data)
		for a.s.Unacked() > 0 {
			c.must()
		}
	}
}

// BenchmarkLinkEcho is a request of 1 KiB and its answer on an open stream.
func BenchmarkLinkEcho(b *testing.B) {
	r := newRig(b, Config{Clients: clients("ann"), Dialer: loopback(b, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })})
	c := r.link("ann")
	a := c.connect("x")
	c.must()
	data := strings.Repeat("x", 1<<10)
	b.ReportAllocs()
	long := ask(time.Minute)
	long.Path = 0
	for b.Loop() {
		c.write(a, data)
		for want := len(a.got) + len(data); len(a.got) < want; {
			if err := c.do(long); err != nil {
				b.Fatal(err)
			}
		}
		a.got = a.got[:0]
	}
}
