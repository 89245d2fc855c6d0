package fronted

import (
	"io"
	"mime"
	"net/http"
	"net/url"

	"relaymux/relay"
)

// binaryType is what messages of the link go and come as (RFC 2046 section
// 4.5.1), so that nobody on the way takes them for text.
const binaryType = "application/octet-stream"

// link is where the link's messages are POSTed.
func (c Config) link() *url.URL { return c.below("tunnel", "link") }

// Binary reports whether the deployment may carry messages of the link as they
// are. A script cannot: it makes text of what it gets.
func (t *Transport) Binary() bool { return !t.script }

// errScript is the outcome of a binary exchange with a script, which is the
// caller's mistake.
func errScript() *relay.Failure {
	return &relay.Failure{Kind: relay.Refused, Untouched: true, Detail: "a script carries no binary messages"}
}

// setBinary makes a message of the link of req. Records are sealed, so that
// they cannot be compressed, and who caches or rewrites them breaks them.
func (x *exchange) setBinary(req *http.Request) {
	req.Header.Set("Content-Type", binaryType)
	req.Header.Set("Accept-Encoding", "identity") // else net/http offers gzip
	req.Header.Set("Cache-Control", "no-transform, no-store")
	x.setKey(req)
}

// setKey shows the deployment's key, if it has one, to a binary relay, which then need
// not look into what it passes on. A node looks at no header: it knows its clients by the
// link's handshake, or by the key in a JSON request.
func (x *exchange) setKey(req *http.Request) {
	if x.config.Key.IsSet() && !x.script {
		req.Header.Set("Authorization", "Bearer "+x.config.Key.Reveal())
	}
}

// IsMessage reports whether a request of a Transport's carries a message of the
// link. The node takes such a message once, however often it comes: it may be
// sent again, and before the server has proved that it is there.
func IsMessage(req *http.Request) bool { return req.Header.Get("Content-Type") == binaryType }

func isBinary(h http.Header) bool {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && t == binaryType
}

// notLink is the outcome of a 200 that holds no message of the link.
func (x *exchange) notLink(resp *http.Response) *relay.Failure {
	page, _ := x.read(io.LimitReader(resp.Body, pageSize), nil, pageSize) // its type counts, also without a page
	text, isJSON := jsonOf(page)
	if isJSON {
		if f := exception(text); f != nil {
			return f
		}
	}
	return classify(resp.StatusCode, resp.Header, text)
}
