package exit

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestHostile84_BlackHole: where IPv6 leads nowhere, the first connections to two names
// wait for it, and those that follow hardly at all, for a while.
func TestHostile84_BlackHole(t *testing.T) {
	four, _ := net.ResolveTCPAddr("tcp", "127.0.0.1:80")
	six, _ := net.ResolveTCPAddr("tcp", "[::1]:80")
	synctest.Test(t, func(t *testing.T) {
		var f families
		expect := func(when string, want time.Duration) {
			t.Helper()
			if got := f.lead(); got != want {
				t.Errorf("%s: a lead of %v, want %v", when, got, want)
			}
		}
		expect("at first", lead6)
		f.note(tcpTo{six}, "a.test", lead6, 0)
		for _, name := range []string{"a.test", "b.test", "c.test"} {
			f.note(tcpTo{four}, name, lead6, lead6/2) // refused by IPv6 meanwhile
			f.note(tcpTo{four}, name, lead6, -lead6)  // IPv4 was first, and slow
			f.note(tcpTo{four}, name, lead6, 0)       // there is no other
		}
		expect("where IPv6 was not in vain", lead6)
		f.note(tcpTo{four}, "a.test", lead6, lead6)
		f.note(tcpTo{four}, "a.test", lead6, lead6)
		expect("where one host's was", lead6)
		f.note(tcpTo{six}, "c.test", lead6, 0)
		f.note(tcpTo{four}, "b.test", lead6, lead6)
		expect("where another's was, and IPv6 led to a third meanwhile", lead6)
		f.note(tcpTo{four}, "a.test", lead6, lead6)
		expect("where two hosts' was", shortLead6)
		time.Sleep(shortFor - time.Nanosecond)
		f.note(tcpTo{four}, "a.test", shortLead6, shortLead6)
		expect("just before it is tried again", shortLead6)
		time.Sleep(time.Nanosecond)
		expect("when it is", lead6)
		f.note(tcpTo{four}, "a.test", lead6, lead6)
		f.note(tcpTo{six}, "b.test", shortLead6, 0)
		expect("after it has won", lead6)
	})
}

// TestAttempts: what counts is the first address of each family.
func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			networks []string
			want     time.Duration
		}{
			{[]string{"tcp6", "tcp4"}, time.Second}, {[]string{"tcp4", "tcp6"}, -time.Second}, {[]string{"tcp4", "tcp4", "udp6"}, 0},
			{[]string{"tcp6", "tcp6", "tcp4"}, 2 * time.Second}, {nil, 0},
		} {
			var a attempts
			for _, network := range c.networks {
				a.note(network)
				time.Sleep(time.Second)
			}
			if got := a.gap(); got != c.want {
				t.Errorf("%v: %v, want %v", c.networks, got, c.want)
			}
		}
	})
}

// tcpTo is a connection to an address.
type tcpTo struct{ to *net.TCPAddr }

func (c tcpTo) Read([]byte) (int, error)         { return 0, io.EOF }
func (c tcpTo) Write(p []byte) (int, error)      { return len(p), nil }
func (c tcpTo) Close() error                     { return nil }
func (c tcpTo) LocalAddr() net.Addr              { return c.to }
func (c tcpTo) RemoteAddr() net.Addr             { return c.to }
func (c tcpTo) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (c tcpTo) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (c tcpTo) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
