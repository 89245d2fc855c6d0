package socks

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	// maxHeader bounds a request line with its header, in bytes. Browsers
	// with many cookies stay below 64 KiB; net/http answers 431 above.
	maxHeader = 128 << 10

	// idleTimeout ends a kept-alive connection between two requests.
	idleTimeout = 5 * time.Minute

	// bodyTimeout is how long a request's body may make no progress; see
	// steadyBody.
	bodyTimeout = 2 * time.Minute

	// pageTimeout is how long a client may take to read what the proxy itself
	// answers, also to what is no request. Forwarded answers have no limit.
	pageTimeout = 10 * time.Second
)

// methods is what the proxy does for its own part (RFC 9110, section 10.2.1).
const methods = "CONNECT, GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

const welcome = "This is a relaymux proxy. Set it as the SOCKS5 or HTTP proxy of an application, or of the system."

// front is the HTTP side: net/http parses, and front decides.
type front struct {
	s       *Server
	queue   *queue
	http    http.Server
	forward http.Handler
	origins *origins
	once    sync.Once
}

func newFront(s *Server) *front {
	to := newOrigins(s.dial)
	f := &front{s: s, queue: newQueue(), forward: newForwarder(to, s.log), origins: to}
	f.http = http.Server{
		Handler:           f,
		ReadHeaderTimeout: s.cfg.HandshakeTimeout,
		ReadTimeout:       bodyTimeout, // of bodies that nobody reads; forwarded ones set their own
		WriteTimeout:      pageTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          newErrorLog(s.log),
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, clientKey{}, c)
		},
		ConnState: func(c net.Conn, to http.ConnState) {
			if to == http.StateIdle { // the answer has gone
				s.gate.done(c.(*client))
			}
		},
		DisableGeneralOptionsHandler: true,
	}
	return f
}

// clientKey is the context key of a request's *client.
type clientKey struct{}

// start serves what take puts into the queue, until shutdown.
func (f *front) start() { f.once.Do(func() { go f.http.Serve(f.queue) }) }

// take gives c to net/http, which closes it.
func (f *front) take(c *client) error {
	c.SetDeadline(time.Time{}) // net/http sets its own
	return f.queue.put(c)
}

func (f *front) shutdown(ctx context.Context) error {
	defer f.origins.close()
	f.queue.Close()
	return f.http.Shutdown(ctx)
}

func (f *front) close() { f.http.Close() }

// dial is Config.Dial. net/http calls it on a goroutine of its own, on which nobody else
// keeps a panic from ending everybody's connections.
func (s *Server) dial(ctx context.Context, host string, port uint16) (conn net.Conn, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked(v, netip.AddrPort{})
			conn, err = nil, errPanic
		}
	}()
	return s.cfg.Dial(ctx, host, port)
}

var errPanic = errors.New("a fault of the proxy's")

// ServeHTTP answers what is meant for the proxy itself, and after the login
// has the rest tunnelled or forwarded. Until then c stays half-open: who has no
// password must not fill the house.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(clientKey{}).(*client)
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			panic(v)
		default:
			f.s.panicked(v, c.source)
			panic(http.ErrAbortHandler) // which closes the connection
		}
	}()
	if !isClear(r) {
		w = lastAnswer{w}
	}
	if p, own := f.own(r, c); own {
		p.write(w)
		return
	}
	user, p, ok := f.login(r, c)
	switch {
	case !ok:
		p.write(w)
	case !c.gate.grant(c):
		panic(http.ErrAbortHandler) // which closes the connection
	case r.Method == http.MethodConnect:
		f.connect(w, r, c, user)
	default:
		f.relay(w, r, c)
	}
}

// isClear tells whether all who read the request see its end where net/http does. With a
// Transfer-Encoding there may have been a Content-Length, or with HTTP/1.0 a
// Transfer-Encoding, that net/http has dropped: what follows may be a part of it
// (RFC 9112, section 6.1).
func isClear(r *http.Request) bool { return r.ProtoAtLeast(1, 1) && len(r.TransferEncoding) == 0 }

// lastAnswer ends the connection after the answer.
type lastAnswer struct{ http.ResponseWriter }

func (a lastAnswer) WriteHeader(status int) {
	if status >= http.StatusOK {
		a.Header().Set("Connection", "close")
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write says so also where nobody says a status; once it is said, it changes nothing.
func (a lastAnswer) Write(p []byte) (int, error) {
	a.Header().Set("Connection", "close")
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a lastAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// own answers requests that are not for an origin behind the proxy.
func (f *front) own(r *http.Request, c *client) (p page, own bool) {
	switch {
	case r.ProtoMajor != 1: // the preface of HTTP/2
		return page{status: http.StatusHTTPVersionNotSupported, text: "This proxy speaks HTTP/1.1.", last: true}, true
	case r.Method == http.MethodTrace:
		return page{status: http.StatusMethodNotAllowed, text: "TRACE is not forwarded.", header: http.Header{"Allow": {methods}}}, true
	case r.Method == http.MethodConnect || r.URL.IsAbs():
		return page{}, false
	case r.Method == http.MethodOptions && r.RequestURI == "*":
		return page{status: http.StatusOK, text: welcome, header: http.Header{"Allow": {methods}}}, true
	case f.isOwnHost(r.Host, c) && r.URL.Path == "/":
		return page{status: http.StatusOK, text: welcome}, true
	default:
		return page{status: http.StatusBadRequest, text: "This is a proxy, and not the web server that the request is for."}, true
	}
}

// isOwnHost tells whether a Host field names this listener. Any other name that
// leads here was made to (DNS rebinding).
func (f *front) isOwnHost(authority string, c *client) bool {
	host, port, err := splitAuthority(authority, 80)
	if err != nil {
		return false
	}
	name, err := canonicalHost(host)
	return err == nil && f.s.isSelf(name, port, c.local)
}

// login returns the user, or the page that asks for one. A wrong password is
// asked for again, so that a browser shows its prompt again.
func (f *front) login(r *http.Request, c *client) (user string, ask page, ok bool) {
	if !f.s.guard.neededOf(c) {
		return "", page{}, true
	}
	name, password, given := proxyAuth(r)
	err := errWrongLogin
	if given {
		err = f.s.guard.check(c.source.Addr(), name, password)
	}
	switch {
	case err == nil:
		return name, page{}, true
	case errors.Is(err, errTooManyBad):
		return "", page{status: http.StatusTooManyRequests, text: "Too many wrong passwords. Wait a minute.",
			header: http.Header{"Retry-After": {"60"}}}, false
	default:
		return "", page{status: http.StatusProxyAuthRequired, text: "This proxy wants a user name and a password.",
			header: http.Header{"Proxy-Authenticate": {`Basic realm="relaymux", charset="UTF-8"`}}}, false
	}
}

// proxyAuth has net/http parse Proxy-Authorization as the Authorization field,
// whose form it has (RFC 9110, section 11.7.2).
func proxyAuth(r *http.Request) (name, password string, ok bool) {
	as := http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	return as.BasicAuth()
}

// connect makes a Request of a CONNECT. From the hijacking on, nothing of
// net/http's stays: neither its buffers nor its goroutine.
func (f *front) connect(w http.ResponseWriter, r *http.Request, c *client, user string) {
	host, port, err := splitAuthority(r.RequestURI, 0)
	if err == nil {
		host, err = f.s.destination(host, port, c.local)
	}
	if err != nil {
		refusedPage(err, r.URL.Hostname()).write(w)
		return
	}
	_, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the client is gone
	}
	c.early = append(buffered(rw.Reader), c.early...)
	go f.s.handle(c, &Request{Host: host, Port: port, Source: c.source, User: user, Protocol: HTTPConnect, client: c})
}

// relay has an absolute-form request forwarded to its origin.
func (f *front) relay(w http.ResponseWriter, r *http.Request, c *client) {
	if !strings.EqualFold(r.URL.Scheme, "http") {
		page{status: http.StatusNotImplemented, text: "Only http:// is forwarded. For anything else use CONNECT."}.write(w)
		return
	}
	host, port, err := splitAuthority(r.URL.Host, 80)
	if err == nil {
		host, err = f.s.destination(host, port, c.local)
	}
	if err != nil {
		refusedPage(err, r.URL.Hostname()).write(w)
		return
	}
	// An answer that breaks off makes the handler panic. It must not look
	// like one that ended, also where only the end of the connection ends it.
	whole := false
	defer func() {
		if !whole {
			c.reset()
		}
	}()
	f.forward.ServeHTTP(transparent{w}, towards(w, r, host, port))
	whole = true
}

// queue is a net.Listener whose connections are put into it.
type queue struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newQueue() *queue {
	return &queue{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (q *queue) put(c net.Conn) error {
	select {
	case q.conns <- c:
		return nil
	case <-q.done:
		return net.ErrClosed
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

func (q *queue) Addr() net.Addr { return &net.TCPAddr{} }

// errorLog carries what net/http has to say into the log, as an attribute,
// since it quotes clients and origins.
type errorLog struct{ log *slog.Logger }

func newErrorLog(l *slog.Logger) *log.Logger { return log.New(errorLog{l}, "", 0) }

func (e errorLog) Write(p []byte) (int, error) {
	e.log.Debug("net/http", "says", strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

var _ net.Listener = (*queue)(nil)
