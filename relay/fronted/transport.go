// Package fronted carries exchanges over HTTPS, by HTTP/1.1 or h2, to scripts,
// binary relays and nodes. The address that it connects to and the name that
// TLS shows may be others than the URL's: the front.
//
// An exchange is a POST, for scripts followed by the GET that the script
// redirects to, and ends as the answer or as a *relay.Failure. The files in
// the order of an exchange: transport, loan (the request's bytes), dial, watch
// (the limits), redirect, answer, then classify and pages for what is no
// answer, failure for what went wrong below HTTP. What is different for the
// messages of the link, which are not JSON, is in link, and exchanges that go on both
// ways in pipe.
package fronted

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"relaymux/relay"
)

// Transport is a relay.Transport of one deployment, with a pool of connections
// of its own.
type Transport struct {
	config Config
	target *url.URL // of batches
	link   *url.URL // of messages of the link; nil for a script
	script bool
	limits limits
	http   Pool

	// Pipes go by the first of these, and the next after one that has failed.
	pipes []Pool
	pipe  atomic.Uint32

	version atomic.Int32 // of HTTP, of the latest answer
}

// A Pool carries the HTTP requests of one deployment over connections that it
// keeps. It says by the request's httptrace when there is a connection, for
// nothing can have left before (GotConn), and when all of the body is handed down
// (WroteRequest). An error of its that is a *DialError, or a wrapped one, has
// found no connection.
type Pool interface {
	http.RoundTripper
	CloseIdleConnections()
}

var _ relay.Transport = (*Transport)(nil)

// New checks c, whose errors name the config's key, and connects nowhere yet.
func New(c Config) (*Transport, error) {
	t, err := NewOver(c, func(c Config) (Pool, error) { return pool(c), nil })
	if err == nil && t.config.HTTP == "auto" && !t.script && c.URL.Scheme == "https" {
		// A connection by HTTP/1.1 carries a pipe for a sixth less CPU than h2 does, whose
		// frames and windows it has no use for. Not everybody on a way lets it through.
		single := t.config
		single.HTTP = "1.1"
		t.pipes = []Pool{pool(single), t.http}
	}
	return t, err
}

// NewOver is New over connections of another kind, which pool makes of the config
// with its defaults.
func NewOver(c Config, pool func(Config) (Pool, error)) (*Transport, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	t := &Transport{
		config: c,
		target: c.target(),
		script: c.Script(),
		limits: limitsOf(c.ExchangeLimit),
	}
	if t.http, err = pool(c); err != nil {
		return nil, fmt.Errorf("deployment %q: %w", c.Name, err)
	}
	if !t.script {
		t.link = c.link()
	}
	t.pipes = []Pool{t.http}
	return t, nil
}

// maxFrame is the most that a frame of h2 to us may have. A server of net/http starts a
// goroutine for each, and TLS a record more than its content fills, for its head: with
// the 16 KiB that are usual, half of all records would have 9 bytes.
const maxFrame = 128 << 10

// maxWrite is the buffer of a connection by HTTP/1.1. net/http sends a body whose
// length it does not know, a pipe's, in chunks of 32 KiB: one of them fits, with its
// head, and leaves in one write.
const maxWrite = 40 << 10

// pool is the deployment's http.Transport. Its Proxy is nil on purpose: the
// environment's proxy may well be this program.
func pool(c Config) *http.Transport {
	protocols, names := versions(c)
	step := c.StepLimit()
	d := &dialer{dial: c.Dial, tls: c.TLS(names...), script: c.Script(), limit: step}
	if c.ConnectTo != "" {
		d.connectTo = c.DialAddr()
	}
	return &http.Transport{
		DialContext:    d.plain,
		DialTLSContext: d.secure,
		Protocols:      protocols,
		// All exchanges share an h2 connection: a dead one must not wait for
		// each of them to find out. Two of them, one after the other, are found
		// within the 30 s for which a new flow waits. That is by asking seldom and
		// waiting a little: who only waits, for an idle connection or a hold, would be
		// known by his pings, and his radio would never sleep.
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: step, PingTimeout: step / 3, MaxReadFrameSize: maxFrame},
		WriteBufferSize:        maxWrite,
		MaxConnsPerHost:        c.MaxConns,
		MaxIdleConnsPerHost:    max(c.MaxConns, 64), // two accounts' worth of slots (30 each)
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10, // the largest seen is 8 KiB of a script's
	}
}

// versions are the HTTP versions to speak, and their ALPN names (RFC 7301).
func versions(c Config) (*http.Protocols, []string) {
	p := new(http.Protocols)
	switch {
	case c.HTTP == "2":
		p.SetHTTP2(true)
		p.SetUnencryptedHTTP2(c.URL.Scheme == "http")
		return p, []string{"h2"}
	case c.HTTP == "1.1" || c.Script():
		p.SetHTTP1(true)
		return p, []string{"http/1.1"}
	}
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	return p, []string{"h2", "http/1.1"}
}

// Exchange implements relay.Transport.
func (t *Transport) Exchange(ctx context.Context, e *relay.Exchange) error {
	e.Begin()
	defer e.End()
	if e.Binary && t.script {
		return errScript()
	}
	ctx, w := newWatch(ctx, t.limits, &e.Progress)
	defer w.stop()
	x := &exchange{Transport: t, watch: w, binary: e.Binary, claim: e.Claim, head: e.Body[:min(len(e.Body), headSize)]}
	x.loan.data, x.loan.progress = e.Body, func() { w.moved(sending) }
	defer x.loan.end()

	resp, err := x.roundTrips(ctx)
	if err != nil {
		return x.failure(ctx, err)
	}
	defer resp.Body.Close()
	defer closeOnCancel(ctx, resp)()
	t.came(resp)
	w.enter(receiving)
	e.SetFirst()
	answer, err := x.receive(resp, e.Answer)
	if err != nil {
		return x.failure(ctx, err)
	}
	e.Answer = answer
	return nil
}

// closeOnCancel ends the reading of an answer when ctx does. HTTP/1.1 does so by
// itself. The h2 of net/http (Go 1.26) does not while the rest of the request
// waits for the server's flow control: it looks at the context again only
// when that has moved.
func closeOnCancel(ctx context.Context, resp *http.Response) (stop func() bool) {
	if resp.ProtoMajor < 2 {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, func() { resp.Body.Close() })
}

// Script reports whether the deployment's URL is a script's, which wants its
// requests in the script's form.
func (t *Transport) Script() bool { return t.script }

// Close implements relay.Transport.
func (t *Transport) Close() {
	for _, p := range t.pipes { // t.http is one
		p.CloseIdleConnections()
	}
}

// headSize is how much of the request is looked at so that no error text
// repeats it: the key stands in its first bytes.
const headSize = 512

// exchange is one call of Exchange.
type exchange struct {
	*Transport
	watch  *watch
	binary bool
	claim  func(n int) bool // relay.Exchange's
	loan   loan
	head   []byte      // borrowed, the first headSize bytes of the request
	sent   atomic.Bool // a connection was found, something may have left
}

// roundTrips is the POST and the GETs that it leads to.
func (x *exchange) roundTrips(ctx context.Context) (*http.Response, error) {
	req := x.post(ctx)
	resp, err := x.http.RoundTrip(req)
	for hop := 1; err == nil && isRedirect(resp.StatusCode); hop++ {
		next, refused := x.follow(resp, req, hop)
		discard(resp)
		if refused != nil {
			return nil, refused
		}
		req = x.get(ctx, next)
		resp, err = x.http.RoundTrip(req)
	}
	return resp, err
}

// post is the request that carries the body. GetBody lets net/http repeat it
// on another connection when a pooled one turns out dead before a byte of it
// was written; a POST it repeats in no other case.
func (x *exchange) post(ctx context.Context) *http.Request {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) {
			x.sent.Store(true)
			x.watch.enter(sending)
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) { x.watch.wrote(info.Err) },
	})
	var req *http.Request
	if x.binary {
		req = x.request(ctx, http.MethodPost, x.link)
		x.setBinary(req)
	} else {
		req = x.request(ctx, http.MethodPost, x.target)
		req.Header.Set("Content-Type", "application/json")
		x.setKey(req)
	}
	req.ContentLength = int64(len(x.loan.data))
	req.GetBody = x.loan.reader
	req.Body, _ = x.loan.reader()
	return req
}

// get is the request of a redirect. Where TLS shows a name of the front's, all
// hosts are behind that front: the pooled connections serve this one as well.
func (x *exchange) get(ctx context.Context, to *url.URL) *http.Request {
	req := x.request(ctx, http.MethodGet, to)
	if x.config.ServerName != "" {
		front := *to
		front.Host = x.target.Host
		req.URL, req.Host = &front, to.Host
	}
	return req
}

func (x *exchange) request(ctx context.Context, method string, to *url.URL) *http.Request {
	h := http.Header{"User-Agent": {x.config.UserAgent}} // "" keeps net/http from sending its own
	req := &http.Request{Method: method, URL: to, Host: to.Host, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	return req.WithContext(ctx)
}

// discard reads the rest of a short body, so that its connection can be used
// again, and closes it.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	resp.Body.Close()
}
