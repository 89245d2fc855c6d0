package fronted

import (
	"context"
	"io"
	"net/http"

	"relaymux/relay"
)

var _ relay.Piper = (*Transport)(nil)

// A Duplex is a Pool that has a better way than net/http's to send a body that goes
// on after the answer has begun.
type Duplex interface {
	// Begin sends req, which has no body, and first; and returns the head of the
	// answer and what takes the rest of the body.
	Begin(req *http.Request, first []byte) (*http.Response, io.WriteCloser, error)
}

// A pipe is a request whose body goes on, and its answer likewise.
type pipe struct {
	io.WriteCloser
	down   io.ReadCloser
	cancel context.CancelCauseFunc
}

// Pipe implements relay.Piper. A relay that passes a request on only when all of it
// is there never answers this one: an answer has a step's time to begin.
func (t *Transport) Pipe(ctx context.Context, first []byte) (io.ReadWriteCloser, error) {
	if t.script {
		return nil, errScript()
	}
	// The request lives as long as the pipe does, and its context with it.
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
	step := t.config.StepLimit()
	var progress relay.Progress
	progress.Begin()
	life, w := newWatch(life, limits{waiting: step, sending: step, answering: step}, &progress)
	x := &exchange{Transport: t, watch: w, binary: true, head: first[:min(len(first), headSize)]}
	req := x.post(life)
	req.ContentLength, req.GetBody, req.Body = -1, nil, nil
	turn := t.pipe.Load()
	resp, up, err := x.begin(t.pipes[int(turn)%len(t.pipes)], req, first)
	if err == nil {
		t.came(resp)
		if resp.StatusCode == http.StatusOK && isBinary(resp.Header) {
			w.leave()
			return &pipe{up, resp.Body, cancel}, nil
		}
		err = x.noPipe(resp)
		up.Close()
		resp.Body.Close()
	}
	if ctx.Err() != nil {
		cancel(context.Cause(ctx)) // its function may not have run yet
	}
	f := x.failure(life, err)
	if f.Kind != relay.Unreachable && f.Kind != relay.Cancelled {
		t.pipe.CompareAndSwap(turn, turn+1)
	}
	w.stop()
	cancel(context.Canceled)
	return nil, f
}

// noPipe is the outcome of an answer that is none of a pipe.
func (x *exchange) noPipe(resp *http.Response) error {
	if isRedirect(resp.StatusCode) {
		return &relay.Failure{Kind: relay.Redirected, Detail: "a redirect where a pipe was to begin"}
	}
	if _, err := x.receive(resp, nil); err != nil {
		return err
	}
	return &relay.Failure{Kind: relay.Malformed, Detail: "the answer is not a pipe's"}
}

// begin is Duplex's, for any Pool.
func (x *exchange) begin(pool Pool, req *http.Request, first []byte) (*http.Response, io.WriteCloser, error) {
	if d, ok := pool.(Duplex); ok {
		return d.Begin(req, first)
	}
	body, up := io.Pipe()
	req.Body = body
	// net/http (Go 1.26) gives a request up only when nobody reads its body any more.
	context.AfterFunc(req.Context(), func() { body.CloseWithError(context.Cause(req.Context())) })
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		if _, err := up.Write(first); err == nil {
			x.watch.enter(answering)
		}
	}()
	resp, err := pool.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		body.Close() // nobody reads it any more
	}
	<-fed // first goes back to its owner
	return resp, up, err
}

func (p *pipe) Read(b []byte) (int, error) { return p.down.Read(b) }

func (p *pipe) Close() error {
	p.cancel(context.Canceled) // also of what waits to be written
	p.WriteCloser.Close()
	return p.down.Close()
}
