package relaytest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
)

// forward sends up, which was made of body, to the node, and is its answer as a
// reply, with whatever status. It owns body.
func (r *Relay) forward(ctx context.Context, d *deployment, k *Knobs, up *upward, body *[]byte) (reply, error) {
	d.note(func(s *Stats) { s.NodeRuns++ })
	got, err := r.fetch(ctx, up, k.maxAnswer())
	if up.spent() {
		r.recycle(body)
	} // else net/http may still read it: the garbage collector's
	return got, err
}

// fetch is a request to the node. Bytes beyond limit are not read.
func (r *Relay) fetch(ctx context.Context, up *upward, limit int) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.config.Node.JoinPath("/", up.path).String(), up)
	if err != nil {
		return reply{}, fmt.Errorf("fetching from the node: %w", err)
	}
	req.ContentLength = up.size
	if up.contentType != "" {
		req.Header.Set("Content-Type", up.contentType)
	}
	resp, err := r.config.Transport.RoundTrip(req)
	if err != nil {
		return reply{}, fmt.Errorf("fetching from the node: %w", err)
	}
	defer resp.Body.Close()
	text := r.buffer(int(min(max(resp.ContentLength, 0), int64(limit))) + 1)
	if err := newLine().read(ctx, io.LimitReader(resp.Body, int64(limit)), text); err != nil {
		r.recycle(text)
		return reply{}, fmt.Errorf("reading the node's answer: %w", err)
	}
	return reply{outcome: OK, text: text, contentType: resp.Header.Get("Content-Type"), status: resp.StatusCode}, nil
}

// upward is the body of a request to the node: parts that are sent one after
// another, without being joined.
type upward struct {
	path, contentType string
	parts             [][]byte
	size              int64
	left              atomic.Int64
}

func newUpward(path, contentType string, parts ...[]byte) *upward {
	u := &upward{path: path, contentType: contentType, parts: parts}
	for _, p := range parts {
		u.size += int64(len(p))
	}
	u.left.Store(u.size)
	return u
}

func (u *upward) Read(p []byte) (int, error) {
	for len(u.parts) > 0 && len(u.parts[0]) == 0 {
		u.parts = u.parts[1:]
	}
	if len(u.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(p, u.parts[0])
	u.parts[0] = u.parts[0][n:]
	u.left.Add(int64(-n))
	return n, nil
}

// spent reports whether nothing of the parts will be read any more. net/http
// may read on after RoundTrip has returned, when the node answers early.
func (u *upward) spent() bool { return u.left.Load() == 0 }
