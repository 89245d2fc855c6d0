package fronted

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"relaymux/relay"
)

// classify says what an answer means that is not the wire's JSON: by its page,
// if that is one that is known, else by its status. body is as much of the
// text as there is, or the beginning of it.
func classify(status int, h http.Header, body []byte) *relay.Failure {
	body = body[:min(len(body), pageSize)]
	f := byStatus(status, body)
	if p := pageOf(bytes.ToLower(body)); p != nil {
		known := p.failure(words(body))
		// A page that stands for JSON is a decoy; one with an error status
		// keeps the kind of the status.
		if known.Kind == relay.Decoy {
			known.Kind = f.Kind
		}
		known.Untouched = known.Untouched || f.Untouched
		f = known
	}
	f.RetryAfter = retryAfter(h, time.Now())
	return f
}

// byStatus is the meaning of an answer whose page nobody knows.
func byStatus(status int, body []byte) *relay.Failure {
	f := &relay.Failure{Detail: detail(fmt.Sprintf("status %d", status), words(body))}
	switch {
	case status == http.StatusOK:
		return notJSON(body)
	case status == http.StatusTooManyRequests:
		f.Kind, f.Untouched = relay.RetryAfter, true
		f.Hint = "the relay limits the rate: fewer slots, or another account"
	case status == http.StatusServiceUnavailable:
		f.Kind = relay.RetryAfter
	case status == http.StatusRequestEntityTooLarge:
		// Refused by its length or while it came in: nobody has carried it out.
		f.Kind, f.Untouched = relay.TooLarge, true
		f.Hint = "set max_bytes in [batch] to what the relay accepts"
	case status == http.StatusNotFound:
		f.Kind, f.Hint = relay.Refused, "the node was started anew, and this passes; or wrong url; or the node does not know the key, or the secret under [link], any more"
	case status >= 400 && status < 500:
		f.Kind, f.Hint = relay.Refused, "check the url and who may use the deployment"
	case status == http.StatusNetworkAuthenticationRequired: // RFC 6585, section 6: of nobody but a portal
		f.Kind, f.Untouched, f.Hint = relay.Decoy, true, portalHint
	case status >= 500:
		f.Kind, f.Hint = relay.ServerError, "is the node running, and can the relay reach it?"
	case status >= 300:
		f.Kind = relay.Redirected
	default:
		f.Kind = relay.Malformed
	}
	return f
}

// notJSON is a 200 without JSON, or without bytes where those were due.
func notJSON(body []byte) *relay.Failure {
	f := &relay.Failure{Kind: relay.Decoy}
	switch {
	case len(body) == 0:
		f.Detail = "an empty answer"
		f.Hint = "is it the relay's url, and its script the current one?"
	case body[0] == '<':
		f.Detail = detail("an HTML page", words(body))
		f.Hint = "check the url; a script must be deployed anew after each change, for anyone"
	case body[0] == '{':
		f.Detail = detail("JSON where a message of the link was due", words(body))
		f.Hint = "is the node's version older than this one?"
	default:
		f.Detail = detail("text that is not JSON", words(body))
		f.Hint = "check the url: something else answers there"
	}
	return f
}

// retryAfter reads Retry-After (RFC 9110 section 10.2.3): seconds, or a date,
// which is compared with the server's own clock if it tells it. It is 0 if
// the header is absent, unreadable or past.
func retryAfter(h http.Header, now time.Time) time.Duration {
	const longest = 365 * 24 * time.Hour // far from overflow; the caller has a cap of its own
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(longest/time.Second))) * time.Second
	}
	until, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(0, until.Sub(now)), longest)
}

func detail(what, words string) string {
	if words == "" {
		return what
	}
	return what + ": " + words
}
