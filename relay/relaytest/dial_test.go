package relaytest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/wire"
	"relaymux/relay/exit"
)

// unreachable names hosts after what becomes of dialing them, and what the
// application hears.
var unreachable = []struct {
	host   string
	err    error // nil: none comes until the dial is given up
	socks  SOCKSError
	status StatusError
}{
	{"refused.test", syscall.ECONNREFUSED, 5, http.StatusBadGateway},
	{"network.test", syscall.ENETUNREACH, 3, http.StatusBadGateway},
	{"host.test", syscall.EHOSTUNREACH, 4, http.StatusBadGateway},
	{"silent.test", nil, 6, http.StatusGatewayTimeout},
	{"nowhere.test", &net.DNSError{Err: "no such host", IsNotFound: true}, 4, http.StatusBadGateway},
	{"forbidden.test", &wire.DialError{Reason: wire.Denied}, 2, http.StatusForbidden},
	{"odd.test", errors.New("the cable is on fire"), 1, http.StatusBadGateway},
}

// dialNowhere is the node's dialer of these tests.
func dialNowhere(ctx context.Context, network, addr string) (net.Conn, error) {
	name, _, _ := net.SplitHostPort(addr)
	for _, u := range unreachable {
		if u.host == name && u.err != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Err: u.err}
		}
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// nowhere is a Stack whose node reaches nobody.
func nowhere(t *testing.T, c StackConfig, test func(t *testing.T, s *Stack)) {
	t.Helper()
	c.Node = func(c *exit.Config) { c.Dialer = dialFunc(dialNowhere) }
	virtual(t, c, test)
}

// TestConfirmed: what the node finds out about a target is what the application
// hears, in the words of its protocol.
func TestConfirmed(t *testing.T) {
	for _, scripts := range []int{0, 2} {
		nowhere(t, StackConfig{Scripts: scripts, Confirmed: true}, func(t *testing.T, s *Stack) {
			for _, u := range unreachable {
				_, err := s.Connect(t.Context(), u.host+":443")
				if !errors.Is(err, u.socks) {
					t.Errorf("%d scripts, %s by SOCKS: %v, want %v", scripts, u.host, err, u.socks)
				}
				_, err = s.ConnectHTTP(t.Context(), u.host+":443")
				if !errors.Is(err, u.status) {
					t.Errorf("%d scripts, %s by CONNECT: %v, want %v", scripts, u.host, err, u.status)
				}
			}
			s.wantQuiet(t)
		})
	}
}

// TestConfirmedIsSoonOnceConnected: the application of a server that waits for
// it must not wait longer than the way takes.
func TestConfirmedIsSoonOnceConnected(t *testing.T) {
	virtual(t, StackConfig{Scripts: 1, Confirmed: true}, func(t *testing.T, s *Stack) {
		addr := s.serve(t, Echo)
		took := elapsed(func() { open(t, s.Connect, addr) })
		t.Logf("connected after %v", took)
		if took > rtt+400*time.Millisecond {
			t.Errorf("connected after %v", took)
		}
	})
}

// TestOptimistic: success comes at once, and what turns out later is a reset.
func TestOptimistic(t *testing.T) {
	nowhere(t, StackConfig{Scripts: 2}, func(t *testing.T, s *Stack) {
		for _, u := range unreachable {
			for name, dial := range map[string]Dialer{"SOCKS": s.Connect, "CONNECT": s.ConnectHTTP} {
				var c net.Conn
				if took := elapsed(func() { c = open(t, dial, u.host+":443") }); took > 0 {
					t.Errorf("%s by %s: success after %v", u.host, name, took)
				}
				within(t, c, time.Minute)
				writeAll(t, c, "hello")
				if _, err := c.Read(make([]byte, 1)); !isReset(err) {
					t.Errorf("%s by %s: reading: %v, want a reset", u.host, name, err)
				}
			}
		}
		s.wantQuiet(t)
	})
}

// TestPlainHTTPUnreachable: an absolute-form request has a page instead.
func TestPlainHTTPUnreachable(t *testing.T) {
	nowhere(t, StackConfig{Scripts: 1}, func(t *testing.T, s *Stack) {
		c := s.Client(false)
		defer c.CloseIdleConnections()
		for _, u := range unreachable {
			r, err := c.Get("http://" + u.host + "/")
			if err != nil {
				t.Errorf("%s: %v", u.host, err)
				continue
			}
			_, _ = io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if r.StatusCode != int(u.status) || r.Header.Get("Proxy-Status") == "" {
				t.Errorf("%s: %s with Proxy-Status %q, want %d", u.host, r.Status, r.Header.Get("Proxy-Status"), u.status)
			}
		}
	})
}

// TestHostile15_ClientClosesWhileConnecting: the node ends its dial as soon as
// it can have heard: when the client knows the session's name, and a close has
// found company or waited for it.
func TestHostile15_ClientClosesWhileConnecting(t *testing.T) {
	for _, confirmed := range []bool{true, false} {
		var cancelled chan time.Time
		c := StackConfig{Scripts: 1, Confirmed: confirmed}
		c.Node = func(c *exit.Config) {
			cancelled = make(chan time.Time, 1) // here, for here is virtual time
			c.Dialer = dialFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				cancelled <- time.Now()
				return nil, ctx.Err()
			})
		}
		virtual(t, c, func(t *testing.T, s *Stack) {
			conn, err := s.Dial(t.Context(), "tcp", s.Proxy)
			check(t, err)
			go func() { _ = socks5(conn, "silent.test:443") }()
			time.Sleep(rtt / 2)
			reset(conn)
			gone := time.Now()
			took := (<-cancelled).Sub(gone)
			t.Logf("confirmed %v: the dial ended after %v", confirmed, took)
			const (
				firstBytes = 50 * time.Millisecond // what an optimistic flow waits for
				lazily     = 2 * time.Second       // how long a close waits for company
			)
			if took > rtt+firstBytes+writeHold+lazily {
				t.Errorf("confirmed %v: the dial ended after %v", confirmed, took)
			}
			synctest.Wait()
			if n := s.Node.Stats().Sessions; n != 0 {
				t.Errorf("%d sessions left", n)
			}
		})
	}
}

// writeHold is how long a node may hold a batch that writes or connects.
const writeHold = 350 * time.Millisecond
