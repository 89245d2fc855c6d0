package socks

import (
	"context"
	"errors"
	"html"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"relaymux/mux/wire"
)

// Reply codes of RFC 1928, section 6.
const (
	socks5Granted   = 0
	socks5Failure   = 1
	socks5Denied    = 2
	socks5NoNetwork = 3
	socks5NoHost    = 4
	socks5Refused   = 5
	socks5TimedOut  = 6 // "TTL expired": what Tor and dante say for a timeout
	socks5NoCommand = 7
	socks5NoAddress = 8
)

// Reply codes of SOCKS4.
const (
	socks4Granted  = 90
	socks4Rejected = 91
)

// retryAfter is within how many seconds a relay that is down is tried again.
const retryAfter = "30"

// outcomes is how each protocol says a wire.Reason. SOCKS4 knows only no. The
// error names are those of RFC 9209, section 2.3.
var outcomes = [...]struct {
	socks5 byte
	status int
	error  string
}{
	wire.OK:              {socks5Failure, http.StatusBadGateway, "proxy_internal_error"}, // not a reason to abort
	wire.Failed:          {socks5Failure, http.StatusBadGateway, "destination_unavailable"},
	wire.Refused:         {socks5Refused, http.StatusBadGateway, "connection_refused"},
	wire.NetUnreachable:  {socks5NoNetwork, http.StatusBadGateway, "destination_ip_unroutable"},
	wire.HostUnreachable: {socks5NoHost, http.StatusBadGateway, "destination_ip_unroutable"},
	wire.TimedOut:        {socks5TimedOut, http.StatusGatewayTimeout, "connection_timeout"},
	wire.NameNotFound:    {socks5NoHost, http.StatusBadGateway, "dns_error"},
	wire.Denied:          {socks5Denied, http.StatusForbidden, "destination_ip_prohibited"},
	wire.RelayDown:       {socks5Failure, http.StatusServiceUnavailable, "destination_unavailable"},
}

// A BlockedError is about a destination that the user's own rules forbid.
type BlockedError struct{ Why string }

func (e *BlockedError) Error() string { return "blocked: " + e.Why }

// reasonOf returns the reason that err carries.
func reasonOf(err error) wire.Reason {
	if _, ok := errors.AsType[*BlockedError](err); ok {
		return wire.Denied
	}
	if d, ok := errors.AsType[*wire.DialError](err); ok {
		return d.Reason
	}
	switch {
	case errors.Is(err, errBadHost):
		return wire.NameNotFound
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return wire.TimedOut
	default:
		return wire.Failed
	}
}

// known returns reason, or Failed for a number that this table does not have.
func known(reason wire.Reason) wire.Reason {
	if int(reason) < len(outcomes) {
		return reason
	}
	return wire.Failed
}

// granted is what a protocol says before the first byte of the destination.
func granted(protocol string) []byte {
	switch protocol {
	case SOCKS5:
		return socks5Reply(socks5Granted)
	case SOCKS4:
		return socks4Reply(socks4Granted)
	default: // no Content-Length, no Transfer-Encoding: RFC 9110, section 9.3.6
		return []byte("HTTP/1.1 200 Connection established\r\n\r\n")
	}
}

// refused is what a protocol says instead.
func refused(protocol string, reason wire.Reason, host string) []byte {
	switch protocol {
	case SOCKS5:
		return socks5Reply(outcomes[known(reason)].socks5)
	case SOCKS4:
		return socks4Reply(socks4Rejected)
	default:
		return unreachable(reason, host).bytes()
	}
}

// failed is refused with what is known of the reason.
func failed(protocol string, err error, host string) []byte {
	if protocol == HTTPConnect {
		return failurePage(err, host, true).bytes()
	}
	return refused(protocol, reasonOf(err), host)
}

// socks5Reply has 0.0.0.0:0 as the bound address, which no client looks at.
func socks5Reply(code byte) []byte {
	return []byte{socks5Version, code, 0, atypIPv4, 0, 0, 0, 0, 0, 0}
}

func socks4Reply(code byte) []byte { return []byte{0, code, 0, 0, 0, 0, 0, 0} }

// page is an HTTP answer of the proxy's own.
type page struct {
	status int
	text   string
	header http.Header // further fields; may be nil
	last   bool        // close the connection after it
}

// unreachable is the page for a destination that was not reached.
func unreachable(reason wire.Reason, host string) page {
	reason = known(reason)
	o := outcomes[reason]
	h := http.Header{"Proxy-Status": {"relaymux; error=" + o.error}}
	if reason == wire.RelayDown {
		h.Set("Retry-After", retryAfter)
	}
	return page{status: o.status, text: host + " could not be reached: " + reason.String() + ".", header: h}
}

// failurePage is the page for a destination that was not reached because of err. What
// relays have said is in it; with their names and addresses if alone is set: nobody but
// the proxy's user gets to see the page. A script of the destination's may read what
// the proxy answers in its place, if that is no answer to CONNECT.
func failurePage(err error, host string, alone bool) page {
	if b, ok := errors.AsType[*BlockedError](err); ok {
		return page{status: http.StatusForbidden, text: host + " is blocked by this proxy: " + b.Why + ".",
			header: http.Header{"Proxy-Status": {"relaymux; error=http_request_denied"}}}
	}
	p := unreachable(reasonOf(err), host)
	if d, ok := errors.AsType[*wire.DialError](err); ok && d.Reason == wire.RelayDown {
		words := d.Why
		if alone {
			words = strings.TrimPrefix(d.Detail, d.Reason.String()+"; ")
		}
		p.explain(words)
	}
	return p
}

// explain adds words to the text, and to Proxy-Status (RFC 9209, section 2.1.5).
func (p *page) explain(words string) {
	if words == "" {
		return
	}
	p.text += " " + words
	quoted := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, words)
	quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(quoted)
	p.header.Set("Proxy-Status", p.header.Get("Proxy-Status")+`; details="`+quoted+`"`)
}

// refusedPage is the page for a destination that destination refused.
func refusedPage(err error, host string) page {
	switch {
	case errors.Is(err, errLoop):
		return page{status: http.StatusForbidden, text: "This address is the proxy itself.",
			header: http.Header{"Proxy-Status": {"relaymux; error=proxy_loop_detected"}}}
	case errors.Is(err, errForbidden):
		return unreachable(wire.Denied, host)
	default:
		return page{status: http.StatusBadRequest, text: "The request names no valid host and port.",
			header: http.Header{"Proxy-Status": {"relaymux; error=http_request_error"}}}
	}
}

// write answers by w.
func (p page) write(w http.ResponseWriter) {
	body := p.body()
	h := w.Header()
	clear(h)
	for name, values := range p.fields(body) {
		h[name] = values
	}
	w.WriteHeader(p.status)
	io.WriteString(w, body)
}

// bytes is the answer on a connection that is no longer net/http's, and its last.
func (p page) bytes() []byte {
	p.last = true
	body := p.body()
	var b strings.Builder
	b.WriteString("HTTP/1.1 " + strconv.Itoa(p.status) + " " + http.StatusText(p.status) + "\r\n")
	p.fields(body).Write(&b) // a Builder does not fail
	b.WriteString("\r\n" + body)
	return []byte(b.String())
}

func (p page) fields(body string) http.Header {
	h := p.header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Content-Security-Policy", "default-src 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if p.last {
		h.Set("Connection", "close")
	}
	return h
}

func (p page) body() string {
	title := strconv.Itoa(p.status) + " " + http.StatusText(p.status)
	return "<!doctype html>\n<title>" + title + "</title>\n<h1>" + title + "</h1>\n<p>" +
		html.EscapeString(p.text) + "</p>\n<hr>\n<p>relaymux</p>\n"
}
