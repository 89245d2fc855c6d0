package relaytest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/mux/link"
	"relaymux/mux/wire"
	"relaymux/relay/exit"
)

// TestLinkRefused: a node that does not know the secret is no reason to wait, and who
// asks is told which. When it has been put right, things go.
func TestLinkRefused(t *testing.T) {
	everyCarriage(t, linkRefused)
	t.Run("direct", func(t *testing.T) { linkRefused(t, StackConfig{Link: true}) })
}

func linkRefused(t *testing.T, c StackConfig) {
	c.Confirmed = true
	c.Node = func(c *exit.Config) {
		c.Clients = []link.Client{{Name: "other", Secret: link.NewSecret("another secret, of another client")}}
	}
	book := new(logbook)
	c.Log = book.log()
	virtual(t, c, func(t *testing.T, s *Stack) {
		addr := s.serve(t, Echo)
		try := func() time.Duration {
			return elapsed(func() {
				conn, err := s.ConnectHTTP(t.Context(), addr)
				if conn != nil {
					conn.Close()
				}
				if !errors.Is(err, StatusError(http.StatusServiceUnavailable)) {
					t.Errorf("%v, want status 503", err)
				}
			})
		}
		if took := try(); took > 5*rtt {
			t.Errorf("the first was told after %v", took)
		}
		if took := try(); took > 10*time.Millisecond {
			t.Errorf("the second was told after %v", took)
		}
		client := s.Client(false)
		defer client.CloseIdleConnections()
		resp, err := client.Get("http://" + addr)
		check(t, err)
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		for _, text := range []string{string(page), resp.Header.Get("Proxy-Status")} {
			if err != nil || !strings.Contains(text, "the secret under [link] must be that of") {
				t.Errorf("it does not tell why: %s (%v)", text, err)
			}
		}
		begun := s.exchanges()
		time.Sleep(10 * time.Minute)
		if n := begun(); n < 20 || n > 60 {
			t.Errorf("%d handshakes in ten minutes", n)
		}
		if took := try(); took > 10*time.Millisecond {
			t.Errorf("after a while it was told after %v", took)
		}
		book.wantFewWarnings(t, 4)

		s.Node.SetClients([]link.Client{{Name: "stack", Secret: link.NewSecret(LinkSecret)}})
		time.Sleep(30*time.Second + 2*rtt)
		conn := open(t, s.ConnectHTTP, addr)
		ask(t, conn, "hello")
		if d := s.Mux.Snapshot(0).Deployments[0]; d.Good.IsZero() || d.Good.Before(d.Last) {
			t.Errorf("the deployment is %+v", d)
		}
		time.Sleep(10 * time.Second)
		if s.Relay == nil && s.Mux.Snapshot(0).Link.Pipe.IsZero() {
			t.Error("it goes on as text")
		}
	})
}

// wantFewWarnings checks that the log has at most so many.
func (b *logbook) wantFewWarnings(t *testing.T, most int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := strings.Count(b.text.String(), "level=WARN"); n > most {
		t.Errorf("%d warnings: %s", n, &b.text)
	}
}

// TestLinkRefusedByOne: another deployment works, and nobody is refused.
func TestLinkRefusedByOne(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		c.Confirmed = true
		c.Scripts, c.Workers = 2*c.Scripts, 2*c.Workers
		c.Relay = func(c *RelayConfig) {
			c.OnAnswer = func(id string, body []byte) []byte {
				if strings.HasSuffix(id, "0") {
					return []byte(`{"r":[{"e":"link refused: the node knows no such secret"}]}`)
				}
				return nil
			}
		}
		virtual(t, c, func(t *testing.T, s *Stack) {
			took := elapsed(func() { ask(t, open(t, s.ConnectHTTP, s.serve(t, Echo)), "hello") })
			if took > 8*rtt {
				t.Errorf("it took %v", took)
			}
		})
	})
}

// TestLinkDenied: what the node's policy refuses is remembered for a moment only, for
// the policy may be another when somebody tries again.
func TestLinkDenied(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		var allowed atomic.Bool
		var network *Network
		c.Confirmed = true
		c.Node = func(c *exit.Config) {
			c.Dialer = dialFunc(func(ctx context.Context, way, addr string) (net.Conn, error) {
				if !allowed.Load() {
					return nil, &wire.DialError{Reason: wire.Denied}
				}
				return network.Dial(ctx, way, addr)
			})
		}
		virtual(t, c, func(t *testing.T, s *Stack) {
			network = s.config.Memory
			addr := s.serve(t, Echo)
			denied := func() {
				t.Helper()
				if _, err := s.Connect(t.Context(), addr); !errors.Is(err, SOCKSError(2)) {
					t.Errorf("%v, want SOCKS reply 2", err)
				}
			}
			denied()
			time.Sleep(800 * time.Millisecond)
			allowed.Store(true)
			if took := elapsed(denied); took > 10*time.Millisecond {
				t.Errorf("of a burst each takes %v", took)
			}
			time.Sleep(300 * time.Millisecond)
			ask(t, open(t, s.Connect, addr), "hello")
		})
	})
}
