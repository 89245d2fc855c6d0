package socks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Connections to origins are worth keeping: making one costs a round trip
// through a relay, about a second. Browsers open at most 6 to one host.
const (
	maxIdlePerHost = 6
	maxIdleOrigins = 256
	originIdle     = 90 * time.Second

	maxAnswerHeader  = 256 << 10       // bytes
	maxInformational = 100             // 1xx answers to one request; more than 2 are unheard of
	continueTimeout  = 5 * time.Second // then a body goes out without 100 (Continue)
	copyBuffer       = 32 << 10
)

var errInformational = errors.New("too many 1xx answers")

// dialer is Config.Dial.
type dialer = func(ctx context.Context, host string, port uint16) (net.Conn, error)

// origins are the connections to the origins. Those of before a forget are not used for
// a request of after it.
type origins struct {
	dial dialer
	now  atomic.Pointer[http.Transport]
}

func newOrigins(dial dialer) *origins {
	o := &origins{dial: dial}
	o.now.Store(newTransport(dial))
	return o
}

// RoundTrip implements http.RoundTripper.
func (o *origins) RoundTrip(r *http.Request) (*http.Response, error) {
	return o.now.Load().RoundTrip(r)
}

// forget closes the connections that are idle, and has the others close when they are.
func (o *origins) forget() { o.now.Swap(newTransport(o.dial)).CloseIdleConnections() }

func (o *origins) close() { o.now.Load().CloseIdleConnections() }

// newTransport returns the transport to the origins. It knows no proxy, no
// TLS, no names, and asks for no compression of its own.
func newTransport(dial dialer) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			host, port, err := splitAuthority(address, 0)
			if err != nil {
				return nil, fmt.Errorf("dialing an origin: %w", err)
			}
			ctx, cancel := forAsLongAs(ctx)
			defer cancel()
			return dial(ctx, host, port)
		},
		DisableCompression:     true,
		MaxIdleConns:           maxIdleOrigins,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        originIdle,
		ExpectContinueTimeout:  continueTimeout,
		MaxResponseHeaderBytes: maxAnswerHeader,
	}
}

// askerKey is where the context of a request has itself, for http.Transport lets a dial go
// on without its request, which another might use.
type askerKey struct{}

// forAsLongAs returns ctx, of a dial, that ends also with the request that it is for: a
// client that comes and goes counts against Config.MaxConns, and so must what it asks for.
func forAsLongAs(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if asker, ok := ctx.Value(askerKey{}).(context.Context); ok {
		stop := context.AfterFunc(asker, cancel)
		return ctx, func() { stop(); cancel() }
	}
	return ctx, cancel
}

// newForwarder returns the handler of absolute-form requests whose URL has a
// canonical host and a port. Hop-by-hop fields, trailers and upgrades are
// httputil's work. It adds no Via and no X-Forwarded-For, which would tell
// origins about the proxy, and drops those that came.
func newForwarder(transport http.RoundTripper, log *slog.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: rewrite,
		ModifyResponse: func(r *http.Response) error {
			r.Header.Del(proxyInfo)
			if r.StatusCode != http.StatusSwitchingProtocols { // which has no body, but a connection
				dropTrailers(r.Trailer)
				r.Body = trailed{r.Body, &r.Trailer}
			}
			return nil
		},
		Transport:     transport,
		FlushInterval: -1, // at once: an event stream must not wait
		BufferPool:    new(bufferPool),
		ErrorLog:      newErrorLog(log),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.Debug("request failed", "host", r.Host, "err", err)
			p := failurePage(err, r.Host, false)
			if _, ok := errors.AsType[*bodyError](err); ok {
				p = page{status: http.StatusBadRequest, text: "The body of the request is malformed, or broke off.",
					header: http.Header{"Proxy-Status": {"relaymux; error=http_request_error"}}}
			}
			p.last = r.Body != nil // of which a part may be unread
			p.write(w)
		},
	}
}

// proxyInfo is between a client and its proxy, and the one field of that kind in RFC 9110
// (section 11.7) that httputil does not drop. Another whose name begins with Proxy- means
// nothing here, and goes on as what is not known has to (section 5.1).
const proxyInfo = "Proxy-Authentication-Info"

// rewrite makes the request to the origin out of the one to the proxy.
func rewrite(p *httputil.ProxyRequest) {
	out := p.Out
	out.URL.RawQuery = p.In.URL.RawQuery // also what httputil cannot parse: the origin may
	dropTrailers(p.In.Trailer)
	// Shared: net/http fills it in when the body ends, and trailed has the last word.
	out.Trailer = p.In.Trailer
	for _, name := range []string{"Via", proxyInfo, "Http2-Settings"} { // httputil drops the others
		out.Header.Del(name)
	}
	if u := out.URL.User; u != nil {
		out.URL.User = nil
		if out.Header.Get("Authorization") == "" {
			password, _ := u.Password()
			out.SetBasicAuth(u.Username(), password)
		}
	}
	if out.Method == http.MethodOptions && out.URL.Path == "" && out.URL.RawQuery == "" {
		out.URL.Opaque = "*" // RFC 9112, section 3.2.4
	}
	if strings.EqualFold(out.Header.Get("Upgrade"), "h2c") {
		// An HTTP/2 connection would be between us and the origin, and we do
		// not speak it.
		out.Header.Del("Upgrade")
		out.Header.Del("Connection")
	}
}

// towards returns r with its destination in canonical form, ready to forward.
func towards(w http.ResponseWriter, r *http.Request, host string, port uint16) *http.Request {
	rc := http.NewResponseController(w)
	rc.EnableFullDuplex()            // an origin may answer while it still reads
	rc.SetWriteDeadline(time.Time{}) // ends Server.WriteTimeout: the application may read for hours

	ctx := context.WithValue(r.Context(), askerKey{}, r.Context())
	r = r.WithContext(withInformationalLimit(ctx)) // a copy
	u := *r.URL
	u.Host = joinAuthority(host, port)
	r.URL = &u
	if r.Body == http.NoBody {
		rc.SetReadDeadline(time.Time{}) // ends Server.ReadTimeout: the answer may take hours
	} else {
		r.Body = trailed{steadyBody{r.Body, rc}, &r.Trailer}
	}
	return r
}

// withInformationalLimit ends a request whose origin does nothing but send 1xx
// answers. MaxResponseHeaderBytes does not count those that are passed on.
func withInformationalLimit(ctx context.Context) context.Context {
	var n atomic.Int32
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			if n.Add(1) >= maxInformational {
				return errInformational
			}
			return nil
		},
	})
}

func joinAuthority(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// transparent keeps net/http from adding to an origin's answer what the origin
// did not say: a guess at the type, and a date. Of an origin's 100 (Continue) it
// says nothing, since net/http sends one itself as soon as the body is read.
type transparent struct{ http.ResponseWriter }

func (t transparent) WriteHeader(status int) {
	if status == http.StatusContinue {
		return
	}
	h := t.Header()
	for _, name := range []string{"Content-Type", "Date"} {
		if _, said := h[name]; !said {
			h[name] = nil
		}
	}
	t.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (t transparent) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// bufferPool is an httputil.BufferPool.
type bufferPool struct{ pool sync.Pool }

func (b *bufferPool) Get() []byte {
	if p, ok := b.pool.Get().(*[copyBuffer]byte); ok {
		return p[:]
	}
	return make([]byte, copyBuffer)
}

func (b *bufferPool) Put(p []byte) { b.pool.Put((*[copyBuffer]byte)(p)) }
