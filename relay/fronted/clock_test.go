package fronted_test

import (
	"crypto/sha256"
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"time"

	"relaymux/relay/fronted"
	"relaymux/relay/relaytest"
)

// A clock that is off. crypto/tls reads it for certificates and for tickets.
type clock struct{ off time.Duration }

func (c *clock) now() time.Time { return time.Now().Add(c.off) }

const day = 24 * time.Hour

// shake is one handshake, a few bytes, and what comes after it, such as tickets.
func shake(t *testing.T, client, server *tls.Config) error {
	t.Helper()
	var network relaytest.Network
	ln, err := network.Listen("127.0.0.1:443")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	here, err := network.Dial(t.Context(), "tcp", "127.0.0.1:443")
	if err != nil {
		t.Fatal(err)
	}
	there, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer there.Close()
		c := tls.Server(there, server)
		_, _ = io.Copy(c, io.LimitReader(c, 2))
	}()
	c := tls.Client(here, client)
	err = c.HandshakeContext(t.Context())
	if err == nil {
		_, err = io.WriteString(c, "{}")
	}
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 2))
	}
	here.Close()
	<-served
	return err
}

// TestHostile63_Certificates: a client whose clock is off by a day, or whose server's is,
// reaches one that it pins, whatever the clocks do between connections that know each
// other by a ticket. One that goes by a CA hears that it is the clock, where that matters.
func TestHostile63_Certificates(t *testing.T) {
	server, leaf := certificate(t, "relay.test", time.Now().Add(12*time.Hour))
	pin := sha256.Sum256(leaf.Raw)
	for name, c := range map[string]struct {
		config fronted.Config
		clear  bool // beyond the certificate's time it says so
	}{
		"pinned":  {fronted.Config{ServerName: "relay.test", PinSHA256: pin[:]}, false},
		"by a CA": {fronted.Config{ServerName: "relay.test", RootCAs: poolOf(leaf)}, true},
	} {
		var ours, theirs clock
		client := c.config.TLS("http/1.1")
		client.Time = ours.now
		serving := server.Clone()
		serving.Time, serving.NextProtos = theirs.now, []string{"http/1.1"}
		for _, at := range []struct{ ours, theirs time.Duration }{
			{0, 0}, {-day, 0}, {0, 0}, {0, -day}, {0, day}, {day, 0}, {day, -day}, {-day, day}, {30 * day, 0}, {-30 * day, 0}, {0, 0},
		} {
			ours.off, theirs.off = at.ours, at.theirs
			err := shake(t, client, serving)
			if !c.clear || at.ours <= 0 {
				if err != nil {
					t.Errorf("%s, with clocks at %v: %v", name, at, err)
				}
				continue
			}
			if err == nil {
				t.Errorf("%s, with clocks at %v: it is connected", name, at)
				continue
			}
			what, hint := (&fronted.DialError{Doing: "TLS", Err: err}).Explain()
			if !strings.Contains(what, "expired or not yet valid") || !strings.Contains(hint, "this machine's clock") {
				t.Errorf("%s, with clocks at %v: %q, %q", name, at, what, hint)
			}
		}
	}
}
