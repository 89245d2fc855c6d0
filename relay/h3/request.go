package h3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"relaymux/mux/buf"
)

// methodQuery is a POST that is safe to repeat (draft-ietf-httpbis-safe-method-w-body),
// as messages of the link are. It is the one request with a body that quic-go sends
// in a resumed connection's first flight, before the server has answered, and what
// RFC 8470 section 4 allows there.
const methodQuery = "QUERY"

// An unusedError is of a request that has certainly not been carried out, or may
// be once more.
type unusedError struct {
	dead bool // the connection takes no more requests
	err  error
}

func (e *unusedError) Error() string { return e.err.Error() }
func (e *unusedError) Unwrap() error { return e.err }

// body is that of an answer.
type body struct {
	io.ReadCloser
	release func()
}

func (b *body) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}

// roundTrip sends req and returns the head of its answer; early before the
// handshake is complete, if it is not.
func (c *conn) roundTrip(req *http.Request, early bool) (*http.Response, error) {
	ctx := req.Context()
	select {
	case <-c.quic.HandshakeComplete():
		return c.post(req)
	default:
	}
	if early {
		return c.query(req)
	}
	select {
	case <-c.quic.HandshakeComplete():
		return c.post(req)
	case <-c.quic.Context().Done():
		return nil, c.explain(context.Cause(c.quic.Context()))
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// explain is what err of a request means, of which nothing has been sent.
func (c *conn) explain(err error) error {
	select {
	case <-c.quic.HandshakeComplete():
		return &unusedError{true, err}
	default:
		return dialError(c.to, c.limit, err)
	}
}

// post sends req as it is.
func (c *conn) post(req *http.Request) (*http.Response, error) {
	switch {
	case c.quic.Context().Err() != nil:
		return nil, c.explain(context.Cause(c.quic.Context()))
	case c.forgotten():
		return nil, &unusedError{true, quic.Err0RTTRejected}
	}
	gotConn(req.Context())
	if req.Body != nil {
		req = req.WithContext(req.Context())
		req.Body = sending{req.Body, c.pulse}
	}
	left := false // only this goroutine writes the head
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{WroteHeaders: func() { left = true }})
	resp, err := c.http.RoundTrip(req.WithContext(ctx))
	switch {
	case err == nil:
		return resp, nil
	case req.Context().Err() != nil:
		return nil, context.Cause(req.Context())
	case !left, rejected(err):
		return nil, &unusedError{true, err}
	}
	return nil, err
}

// rejected reports whether the server says that it has not looked at the request,
// for it is about to stop (RFC 9114 section 4.1.1).
func rejected(err error) bool {
	e, ok := errors.AsType[*http3.Error](err)
	return ok && e.Remote && e.ErrorCode == http3.ErrCodeRequestRejected
}

// yielded reports whether the server says that TCP would do better (RFC 9114 section
// 8.1).
func yielded(err error) bool {
	e, ok := errors.AsType[*quic.ApplicationError](err)
	return ok && e.Remote && e.ErrorCode == quic.ApplicationErrorCode(http3.ErrCodeVersionFallback)
}

// query sends req in the first flight. What comes to nothing by that may be tried
// again as a POST: somebody on the way may know no other.
func (c *conn) query(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	resp, err := c.sendQuery(req)
	switch {
	case err == nil && resp.StatusCode == http.StatusOK:
		return resp, nil
	case err == nil:
		resp.Body.Close()
		return nil, &unusedError{false, errors.New("not answered: " + resp.Status)}
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	if c.quic.Context().Err() != nil {
		return nil, c.explain(context.Cause(c.quic.Context()))
	}
	return nil, &unusedError{true, err}
}

func (c *conn) sendQuery(req *http.Request) (*http.Response, error) {
	defer req.Body.Close()
	resp, _, err := c.stream(req, func(s *http3.RequestStream) error {
		b := buf.Get(buf.Max)
		defer b.Release()
		_, err := io.CopyBuffer(onlyWriter{s}, onlyReader{sending{req.Body, c.pulse}}, b.B[:cap(b.B)])
		if err == nil {
			err = s.Close()
		}
		wrote(req.Context(), err)
		return err
	})
	return resp, err
}

// begin sends req and first, and returns what takes the rest of the body. It is a
// QUERY too: of a POST that has no body yet quic-go would tell the length, 0.
func (c *conn) begin(req *http.Request, first []byte) (*http.Response, io.WriteCloser, error) {
	ctx := req.Context()
	select {
	case <-c.quic.HandshakeComplete():
	case <-c.quic.Context().Done():
		return nil, nil, c.explain(context.Cause(c.quic.Context()))
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	if c.forgotten() {
		return nil, nil, &unusedError{true, quic.Err0RTTRejected}
	}
	resp, s, err := c.stream(req, func(s *http3.RequestStream) error {
		c.pulse.sent()
		_, err := s.Write(first)
		wrote(ctx, err)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return resp, upward{s, c.pulse}, nil
}

// upward is the way up of a request. Closing it ends it, also while a Write waits,
// which the stream's own Close may not.
type upward struct {
	s     *http3.RequestStream
	pulse *pulse
}

func (u upward) Write(p []byte) (int, error) {
	u.pulse.sent()
	return u.s.Write(p)
}

func (u upward) Close() error {
	u.s.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	return nil
}

// stream sends req as a QUERY without its body, which send does, on a stream of its own, and
// reads the head of the answer. The stream ends with req's context.
func (c *conn) stream(req *http.Request, send func(*http3.RequestStream) error) (*http.Response, *http3.RequestStream, error) {
	ctx := req.Context()
	s, err := c.http.OpenRequestStream(ctx)
	if err != nil {
		return nil, nil, err
	}
	gotConn(ctx)
	const code = quic.StreamErrorCode(http3.ErrCodeRequestCanceled)
	cancel := func() {
		s.CancelWrite(code)
		s.CancelRead(code)
	}
	stop := context.AfterFunc(ctx, cancel)
	var resp *http.Response
	head := &http.Request{Method: methodQuery, URL: req.URL, Host: req.Host, Header: req.Header}
	if err = s.SendRequestHeader(head); err == nil {
		if err = send(s); err == nil {
			resp, err = s.ReadResponse()
		}
	}
	if err != nil {
		stop()
		cancel()
		return nil, nil, err
	}
	resp.Body = &body{resp.Body, func() { stop() }}
	resp.Request = req
	return resp, s, nil
}

// sending is a body that is sent as it is read.
type sending struct {
	io.ReadCloser
	pulse *pulse
}

func (s sending) Read(p []byte) (int, error) {
	s.pulse.sent()
	return s.ReadCloser.Read(p)
}

// Only these have io.CopyBuffer use its buffer.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

func gotConn(ctx context.Context) {
	if t := httptrace.ContextClientTrace(ctx); t != nil && t.GotConn != nil {
		t.GotConn(httptrace.GotConnInfo{})
	}
}

func wrote(ctx context.Context, err error) {
	if t := httptrace.ContextClientTrace(ctx); t != nil && t.WroteRequest != nil {
		t.WroteRequest(httptrace.WroteRequestInfo{Err: err})
	}
}
