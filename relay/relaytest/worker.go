package relaytest

import (
	"context"
	"net/http"
)

// worker serves one exchange of a binary relay: a Worker, or a reverse proxy in
// front of the node. It passes on the request's bytes and its type, and of the
// answer both and the status, all once it is whole. A message of the link has
// to know the key, which goes no further.
func (r *Relay) worker(path string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		d := r.deployments[req.PathValue("id")]
		if d == nil || d.faces != &ofWorker {
			writePage(w, http.StatusNotFound, nothingPage)
			return
		}
		if req.ContentLength < 0 { // it would wait for the end of what has none
			d.note(func(s *Stats) { s.count(Status) })
			w.Header().Set("Connection", "close") // else net/http waits for it too
			writePage(w, http.StatusLengthRequired, statusPage)
			return
		}
		p := passage{r, path, req.Header.Get("Content-Type"), path != linkPath || r.authorized(req)}
		r.exchange(w, req, d, p.run)
	}
}

const (
	batchPath = "tunnel/batch"
	linkPath  = "tunnel/link"
)

// authorized reports whether a request shows the key, if there is one.
func (r *Relay) authorized(req *http.Request) bool {
	return r.config.AuthKey == "" || req.Header.Get("Authorization") == "Bearer "+r.config.AuthKey
}

// passage is what a binary relay has to know of a request beside its body.
type passage struct {
	*Relay
	path, contentType string
	authorized        bool
}

// run is a job.
func (p passage) run(ctx context.Context, d *deployment, k *Knobs, body *[]byte) reply {
	refused := d.faces.refusal(k)
	if !p.authorized {
		refused = &d.faces.wrongKey
	}
	if refused != nil {
		p.recycle(body)
		return *refused
	}
	got, err := p.forward(ctx, d, k, newUpward(p.path, p.contentType, *body), body)
	switch {
	case timedOut(ctx):
		p.drop(got)
		return d.faces.timedOut
	case err != nil:
		return reply{outcome: Failed, page: noNodePage, status: http.StatusBadGateway}
	}
	return got
}
