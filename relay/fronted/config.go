package fronted

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"

	"relaymux/mux/secret"
)

const (
	defaultExchangeLimit = 30 * time.Second

	// defaultMaxAnswer is the 50 MiB at which a script truncates what it
	// returns, with room for the 4/3 of base64 and the JSON around it.
	defaultMaxAnswer = 50<<20*4/3 + 1<<20
)

// Config says how to reach one deployment.
type Config struct {
	Name string // for error texts

	// Key is what a binary relay asks for, as "Authorization: Bearer"; empty:
	// nothing is sent. A script finds it in the request, and so does a node that
	// is asked by the JSON wire.
	Key secret.Text

	// URL is a script, if its path ends in /macros/s/<id>/exec, else the
	// prefix of a node or of a binary relay. http only towards loopback.
	URL *url.URL

	// ConnectTo is the host or host:port that is dialed instead of the URL's
	// host, ServerName what TLS asks for and verifies. Either may be empty.
	ConnectTo, ServerName string

	RootCAs            *x509.CertPool // nil: the system's
	PinSHA256          []byte         // of the leaf certificate's DER; replaces the chain's verification
	InsecureSkipVerify bool

	// HTTP is "1.1", "2", or "auto" (also ""): a pool of HTTP/1.1 connections
	// for scripts, where exchanges that are held open would share the fate of
	// one h2 connection; h2 where the server offers it for all others.
	HTTP string

	// ExchangeLimit bounds the time from the request sent to the answer's
	// first byte; 0 means 30 s. The other limits follow from it.
	ExchangeLimit time.Duration

	MaxAnswer int64  // decoded bytes of an answer; 0 means 50 MiB and base64's overhead
	MaxConns  int    // connections per host; 0 means no limit
	UserAgent string // empty: the header is not sent

	// Dial opens TCP connections; nil means a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// withDefaults is c with its zero fields filled in, or what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if c.ExchangeLimit == 0 {
		c.ExchangeLimit = defaultExchangeLimit
	}
	if c.MaxAnswer == 0 {
		c.MaxAnswer = defaultMaxAnswer
	}
	if c.HTTP == "" {
		c.HTTP = "auto"
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("deployment %q: %w", c.Name, err)
	}
	return c, nil
}

func (c Config) check() error {
	if err := checkURL(c.URL); err != nil {
		return err
	}
	switch {
	case c.URL.Scheme == "http" && !c.loopback():
		return errors.New("url: http is for loopback only, use https")
	case c.HTTP != "auto" && c.HTTP != "1.1" && c.HTTP != "2":
		return fmt.Errorf(`http: %q is none of "auto", "1.1", "2"`, c.HTTP)
	case len(c.PinSHA256) != 0 && len(c.PinSHA256) != sha256.Size:
		return fmt.Errorf("pin_sha256: has %d bytes, not %d", len(c.PinSHA256), sha256.Size)
	case strings.ContainsFunc(c.Key.Reveal(), unicode.IsControl):
		return errors.New("key: has a control character, which no header can carry")
	case c.ExchangeLimit < 0:
		return errors.New("exchange_limit: is negative")
	case c.MaxAnswer < 0:
		return errors.New("the answer's limit is negative")
	}
	return nil
}

func checkURL(u *url.URL) error {
	switch {
	case u == nil || u.Hostname() == "":
		return errors.New("url: has no host")
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("url: scheme %q is not https", u.Scheme)
	case u.User != nil:
		return errors.New("url: must not carry a user name")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("url: must not carry a query or a fragment")
	}
	return nil
}

// DialAddr is the host:port that the URL's own requests connect to.
func (c Config) DialAddr() string {
	if c.ConnectTo == "" {
		return hostPort(c.URL)
	}
	if _, _, err := net.SplitHostPort(c.ConnectTo); err == nil {
		return c.ConnectTo
	}
	return net.JoinHostPort(strings.Trim(c.ConnectTo, "[]"), port(c.URL))
}

// loopback reports whether the deployment is reached on this machine.
func (c Config) loopback() bool {
	host, _, err := net.SplitHostPort(c.DialAddr())
	return err == nil && isLoopback(host)
}

// StepLimit bounds a step that needs a few round trips and no waiting for data.
func (c Config) StepLimit() time.Duration { return stepLimit(c.ExchangeLimit) }

// Script reports whether the URL is a script's, which is POSTed to as it is.
func (c Config) Script() bool {
	s := strings.Split(c.URL.Path, "/")
	n := len(s)
	if n < 5 || s[n-1] != "exec" || s[n-2] == "" || s[n-3] != "s" {
		return false
	}
	workspace := n >= 7 && s[n-5] == "macros" && s[n-6] == "a" // /a/macros/<domain>/s/<id>/exec
	return s[n-4] == "macros" || workspace
}

// target is where batches are POSTed.
func (c Config) target() *url.URL {
	if c.Script() {
		return c.URL
	}
	return c.below("tunnel", "batch")
}

// below is the URL of a path below the prefix.
func (c Config) below(path ...string) *url.URL {
	u := *c.URL
	if u.Path == "" {
		u.Path = "/" // else JoinPath makes a relative path
	}
	return u.JoinPath(path...)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

func hostPort(u *url.URL) string { return net.JoinHostPort(u.Hostname(), port(u)) }

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}
