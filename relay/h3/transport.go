// Package h3 carries exchanges over HTTP/3, straight to a node or to a binary
// relay that speaks it. It is relay/fronted over another kind of connection: what
// a request is, how long its parts may take and what its failures mean is written
// there, and what UDP and QUIC need is here.
//
// A deployment has one connection, on a socket of its own, which all exchanges
// share. pool.go keeps it, dial.go makes it, request.go carries a request over it.
package h3

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"relaymux/mux/gso"
	"relaymux/relay"
	"relaymux/relay/fronted"
)

// Config says how to reach one deployment.
type Config struct {
	// Config is as for fronted. Its URL is https and no script's; HTTP, MaxConns
	// and Dial are not used.
	fronted.Config

	// UDP is how the socket is to be used; a Buffer of 0 means gso.BigBuffer.
	UDP gso.Options

	// Early sends messages of the link, which may come twice, in the first flight
	// of a connection that resumes another (0-RTT): what comes after a pause then
	// costs no round trip more. quic-go v0.65 has a data race there, of a stream
	// that is opened while the answer comes in (its issue 4303): what is read is
	// the server's old or new limits, which is one number where a machine's words have
	// 64 bits.
	Early bool

	// Yield has an Auto go over TCP for a while when packets get lost: it says that
	// TCP sends by a congestion control that does better there.
	Yield bool

	// Log is told which way an Auto takes; nil is silence.
	Log *slog.Logger

	// Listen opens the socket of a connection; nil means one of the system that
	// is bound to no address, so that it goes on when this machine gets another.
	Listen func(ctx context.Context) (net.PacketConn, error)
}

// Transport is a relay.Transport of one deployment.
type Transport struct {
	*fronted.Transport
	pool *pool
	name string
}

var _ relay.Transport = (*Transport)(nil)

// HTTP is the version of HTTP that exchanges go by.
func (t *Transport) HTTP() string { return "3" }

var (
	errPlain  = errors.New("url: http:// is not for HTTP/3, use https")
	errScript = errors.New(`http: a script is reached by "1.1" or "2"`)
)

// New checks c, whose errors name the config's key, and connects nowhere yet.
func New(c Config) (*Transport, error) {
	if c.UDP.Buffer == 0 {
		c.UDP.Buffer = gso.BigBuffer
	}
	c.Config.HTTP = ""
	t := &Transport{name: c.Name}
	var err error
	t.Transport, err = fronted.NewOver(c.Config, func(checked fronted.Config) (fronted.Pool, error) {
		switch {
		case checked.URL.Scheme != "https":
			return nil, errPlain
		case checked.Script():
			return nil, errScript
		}
		c.Config = checked
		t.pool = newPool(c)
		return t.pool, nil
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}
