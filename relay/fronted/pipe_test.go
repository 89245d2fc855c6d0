package fronted_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"relaymux/relay"
	"relaymux/relay/fronted"
)

// talk answers each ten bytes of a request at once, on the same request.
func talk(w http.ResponseWriter, req *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex()
	w.Header().Set("Content-Type", "application/octet-stream")
	p := make([]byte, 10)
	for {
		if _, err := io.ReadFull(req.Body, p); err != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "<%s>", p); err != nil {
			return
		}
		if rc.Flush() != nil {
			return
		}
	}
}

// TestPipe: what is said and what is answered takes turns on one request, by either
// version of HTTP; its limit is over once it has begun.
func TestPipe(t *testing.T) {
	for _, version := range []string{"1.1", "2"} {
		t.Run(version, func(t *testing.T) {
			inTime(t, time.Hour, func(r *rig) {
				r.serve(server, nil, http.HandlerFunc(talk))
				tr := r.transport(node, func(c *fronted.Config) { c.HTTP = version })
				ctx, cancel := context.WithCancel(r.Context())
				p, err := tr.Pipe(ctx, []byte("0123456789"))
				r.check(err)
				cancel() // it was for the beginning
				got := make([]byte, 12)
				for i := range 4 {
					if _, err := io.ReadFull(p, got); err != nil || string(got[1:11]) != fmt.Sprintf("%d123456789", i) {
						r.Errorf("%q, %v", got, err)
					}
					if i < 3 {
						time.Sleep(20 * time.Minute)
						_, err := fmt.Fprintf(p, "%d123456789", i+1)
						r.check(err)
					}
				}
				r.check(p.Close())
				if n, err := p.Read(got); err == nil {
					r.Errorf("%d bytes after Close", n)
				}
				if _, err := p.Write(got); err == nil {
					r.Error("written after Close")
				}
			})
		})
	}
}

// TestPipeTurns: left to itself a pipe goes by HTTP/1.1, and where that does not let it
// through the next one by h2.
func TestPipeTurns(t *testing.T) {
	for refused, want := range map[int]int{0: 1, 1: 2} {
		inTime(t, 0, func(r *rig) {
			versions := make(chan int, 2)
			config, leaf := certificate(t, "node.test", forever())
			r.serve("node.test:443", config, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if req.ProtoMajor == refused {
					w.Header().Set("Connection", "close")
					w.WriteHeader(http.StatusLengthRequired)
					return
				}
				versions <- req.ProtoMajor
				talk(w, req)
			}))
			tr := r.transport("https://node.test", func(c *fronted.Config) { c.RootCAs = poolOf(leaf) })
			p, err := tr.Pipe(r.Context(), []byte("0123456789"))
			if refused > 0 {
				if f := r.failure(err); f == nil || f.Kind != relay.Refused {
					r.Error(err)
				}
				p, err = tr.Pipe(r.Context(), []byte("0123456789"))
			}
			r.check(err)
			if got := <-versions; got != want {
				r.Errorf("by HTTP/%d, want %d", got, want)
			}
			r.check(p.Close())
		})
	}
}

// TestPipeRefused are ways that let none through.
func TestPipeRefused(t *testing.T) {
	const step = 10 * time.Second
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		kind    relay.Kind
		took    time.Duration
	}{
		"404":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, relay.Refused, 0},
		"a page":     {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>hello") }, relay.Decoy, 0},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) }, relay.Redirected, 0},
		// net/http (Go 1.26) tells only when nobody reads the request's body any more.
		"breaks":            {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, relay.Timeout, step},
		"waits for the end": {func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, relay.Timeout, step},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, c.took, func(r *rig) {
				r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					w.Header().Set("Connection", "close") // else net/http waits for the end first
					c.handler(w, req)
				}))
				p, err := r.transport(node, nil).Pipe(r.Context(), []byte("hello"))
				if f := r.failure(err); f == nil || f.Kind != c.kind || p != nil {
					r.Errorf("%v", err)
				}
			})
		})
	}
	r := newRig(t)
	if _, err := r.transport(script, nil).Pipe(r.Context(), nil); err == nil {
		t.Error("a script has one")
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	cancel(errors.New("enough"))
	_, err := r.transport(node, nil).Pipe(ctx, []byte("hello"))
	if f := r.failure(err); f == nil || f.Kind != relay.Cancelled {
		t.Error(err)
	}
}
