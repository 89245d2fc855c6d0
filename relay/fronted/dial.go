package fronted

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"relaymux/mux/buf"
)

// dialer opens the connections of one deployment: to the address, and with the
// TLS name, that the config puts in the place of the URL's.
type dialer struct {
	dial      func(ctx context.Context, network, addr string) (net.Conn, error)
	connectTo string // host:port, or empty: the address that is asked for
	tls       *tls.Config
	script    bool
	limit     time.Duration // for name, connect and TLS together
}

// A DialError is a failure before there is a connection: the exchange is
// Unreachable.
type DialError struct {
	Doing  string        // what, with whom
	Limit  time.Duration // that it had
	Silent string        // the hint if nobody answered within that; empty: one about addresses
	Script bool          // the server is Google's, for a script
	Err    error
}

func (e *DialError) Error() string { return e.Doing + ": " + e.Err.Error() }
func (e *DialError) Unwrap() error { return e.Err }

// plain connects; its signature is that of http.Transport.DialContext.
func (d *dialer) plain(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	return d.connect(ctx, network, addr)
}

// secure connects and shakes hands; for http.Transport.DialTLSContext, which
// wants a *tls.Conn to see the outcome of ALPN.
func (d *dialer) secure(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	raw, err := d.connect(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	config := d.tls
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, &DialError{Doing: fmt.Sprintf("TLS with %q", config.ServerName), Limit: d.limit, Script: d.script, Err: err}
	}
	return conn, nil
}

func (d *dialer) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	if d.connectTo != "" {
		addr = d.connectTo
	}
	conn, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, &DialError{Doing: "connecting to " + addr, Limit: d.limit, Script: d.script, Err: err}
	}
	buf.LimitUnsent(conn)
	return conn, nil
}

var errPin = errors.New("the certificate is not the one of pin_sha256")

// TLS is how the deployment's server is asked for and verified. A name that is not
// configured is left to who dials.
func (c Config) TLS(protocols ...string) *tls.Config {
	t := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         c.ServerName,
		RootCAs:            c.RootCAs,
		NextProtos:         protocols,
		InsecureSkipVerify: c.InsecureSkipVerify,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if len(c.PinSHA256) != 0 {
		t.InsecureSkipVerify = true // the pin is the verification
		t.VerifyConnection = verifyPin(c.PinSHA256)
	}
	return t
}

// verifyPin runs in every handshake, also in resumed ones.
func verifyPin(pin []byte) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errPin
		}
		sum := sha256.Sum256(s.PeerCertificates[0].Raw)
		if subtle.ConstantTimeCompare(sum[:], pin) != 1 {
			return errPin
		}
		return nil
	}
}
