package dash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"relaymux/mux/secret"
)

// A Client reads a running relaymux: by its Unix socket, or by its admin address.
type Client struct {
	Socket string      // path, none if there is none
	Proxy  string      // host:port of its proxy, which tells it from another that has the socket; none if that is not known
	Listen string      // host:port, none if there is none
	Token  secret.Text // what the server at Listen must know, and is not shown (proof.go); none if there is none
}

// At is c for the admin address of another program, which need not be one that c's token
// is for.
func (c *Client) At(address string) *Client {
	if Nearby(address) == Nearby(c.Listen) {
		return &Client{Listen: address, Token: c.Token}
	}
	return &Client{Listen: address}
}

// ErrNotRunning says that nobody answers.
var ErrNotRunning = errors.New("no relaymux is running, or its admin page is off")

// errLost says that the server has ended a connection that was to be used again.
var errLost = errors.New("the connection was lost")

// askTime is how long an answer may take: it is on this machine.
const askTime = 5 * time.Second

// answerMost bounds an answer: who listens at the port may be somebody else.
const answerMost = 16 << 20

// Status asks for the state, as JSON.
func (c *Client) Status(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var tried []error
	if c.Socket != "" {
		if info, err := os.Lstat(c.Socket); err == nil && strange(info, os.Geteuid()) {
			return nil, fmt.Errorf("the socket %s is another user's: it is not read", c.Socket)
		}
		body, err := c.ask(ctx, "unix", c.Socket, "localhost")
		if err == nil && c.Listen != "" && !c.isMeant(body) {
			at := Nearby(c.Listen)
			if other, err := c.ask(ctx, "tcp", at, at); err == nil && c.isMeant(other) {
				return other, nil
			}
		}
		if err == nil || !isAway(err) {
			return body, err
		}
		tried = append(tried, err)
	}
	if c.Listen != "" {
		at := Nearby(c.Listen)
		body, err := c.ask(ctx, "tcp", at, at)
		if err == nil || !isAway(err) {
			return body, err
		}
		tried = append(tried, err)
	}
	if len(tried) == 0 {
		return nil, fmt.Errorf("%w: the config has neither listen nor socket under [admin]", ErrNotRunning)
	}
	return nil, fmt.Errorf("%w: %w", ErrNotRunning, errors.Join(tried...))
}

// isMeant reports whether a state may be of the proxy that c is about: one that listens
// somewhere else than c.Proxy is another, or was started with a flag.
func (c *Client) isMeant(body []byte) bool {
	at, err := netip.ParseAddrPort(c.Proxy)
	if err != nil || at.Port() == 0 {
		return true
	}
	st, err := Parse(body)
	return err == nil && slices.Contains(st.Proxy.Listen, at)
}

// strange reports whether a socket may be somebody's who wants to deceive that user.
// The system's looks at those of services, which are users of their own.
func strange(info fs.FileInfo, user int) bool { return user != 0 && ofOthers(info, user) }

// isAway reports whether an error is that nobody listens there, so that another place
// may be tried.
func isAway(err error) bool {
	_, dial := errors.AsType[*net.OpError](err)
	return dial || errors.Is(err, os.ErrNotExist)
}

// Nearby is the address to connect to of one that is listened on.
func Nearby(listen string) string {
	at, err := netip.ParseAddrPort(listen)
	switch {
	case err != nil:
		host, port, err := net.SplitHostPort(listen)
		if err == nil && host == "" {
			return net.JoinHostPort("127.0.0.1", port)
		}
		return listen
	case !at.Addr().IsUnspecified():
		return listen
	case at.Addr().Is4():
		return netip.AddrPortFrom(loopback4(), at.Port()).String()
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), at.Port()).String()
}

// ask asks whoever listens at address, under the name host. It goes there directly,
// whatever proxy the environment names.
func (c *Client) ask(ctx context.Context, network, address, host string) ([]byte, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var taken atomic.Bool
	t := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		if taken.Swap(true) { // a proof is for who has given one
			return nil, errLost
		}
		return conn, nil
	}}
	defer t.CloseIdleConnections()
	authorization := ""
	if c.Token.IsSet() && network != "unix" {
		if authorization, err = c.prove(ctx, t, host); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/api/status", nil)
	if err != nil {
		return nil, err
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerMost))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the state from %s: %w", address, err)
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, fmt.Errorf("%s asks for the token of [admin] in its config: name that by --config", address)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answers %q: that is no relaymux of this version", address, resp.Status)
	}
	return body, nil
}

// Parse reads a state. Every relaymux tells its version.
func Parse(body []byte) (st Status, err error) {
	err = json.Unmarshal(body, &st)
	if err == nil && st.Version == "" {
		err = errors.New("it tells none")
	}
	if err != nil {
		return st, fmt.Errorf("what answers is no relaymux of this version: %w", err)
	}
	return st, nil
}
