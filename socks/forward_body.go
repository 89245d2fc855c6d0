package socks

import (
	"io"
	"maps"
	"net/http"
	"time"

	"golang.org/x/net/http/httpguts"
)

// steadyBody is a request's body that may take for ever, and fails when its
// client sends nothing for bodyTimeout. The deadline stays in force for what
// net/http reads of a body that was left.
type steadyBody struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (b steadyBody) Read(p []byte) (int, error) {
	b.rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF: // from now on net/http reads, to see the client leave
		b.rc.SetReadDeadline(time.Time{})
	case err != nil:
		err = &bodyError{err}
	}
	return n, err
}

// bodyError is the client's own doing, and not the origin's.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "the request's body: " + e.err.Error() }

func (e *bodyError) Unwrap() error { return e.err }

// trailed is a body behind which no trailer comes that belongs into a header: net/http
// checks those that are announced, and takes in the others too.
type trailed struct {
	io.ReadCloser
	trailer *http.Header
}

func (t trailed) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err == io.EOF {
		dropTrailers(*t.trailer)
	}
	return n, err
}

// dropTrailers deletes from h what would change how its message is framed, routed, allowed
// or understood (RFC 9110, section 6.5.1).
func dropTrailers(h http.Header) {
	maps.DeleteFunc(h, func(name string, _ []string) bool { return name == proxyInfo || !httpguts.ValidTrailerHeader(name) })
}
