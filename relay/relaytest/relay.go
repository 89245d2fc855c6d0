package relaytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// RelayConfig is what a Relay is made of.
type RelayConfig struct {
	Deployments []string // ids of script deployments
	Workers     []string // ids of binary relays, others than those

	// AuthKey is what clients must send: the "k" of a batch to a script, the
	// bearer of a message of the link to a Worker. Empty, a Worker lets all pass.
	AuthKey   string
	TunnelKey string // the "k" that the script sends to the node

	Node      *url.URL          // prefix of the node's /tunnel, /tunnel/batch and /tunnel/link
	Transport http.RoundTripper // to the node; nil is an http.Transport without a proxy

	// Echo has the scheme and host that the script's redirect leads to; nil is
	// plain http to the host that the request was for.
	Echo *url.URL

	Seed uint64 // of all that happens by chance

	// What a relay does on its own account, in each run of a script or a
	// Worker, also from many goroutines at once. All bytes are borrowed; each
	// may be nil. Capture is shown what the relay gets to see: the client's
	// request, and the answer to it, nil if there was none. OnRequest and
	// OnAnswer return what is passed on in the place of body, which they may
	// change; nil stands for body. What they return is copied.
	Capture             func(id string, request, answer []byte)
	OnRequest, OnAnswer func(id string, body []byte) []byte
}

// Relay emulates what stands between client and node: deployments of the stock
// relay script at Google, which rebuild the request, with the redirect by which
// they answer, under /macros/s/<id>/exec; and binary relays, which pass requests
// on as they are, under the prefixes /w/<id>. Both have the same Knobs. It is an
// http.Handler; Close it after its server.
type Relay struct {
	config      RelayConfig
	deployments map[string]*deployment
	mux         *http.ServeMux
	up, down    *line
	answers     answers
	buffers     sync.Pool // of *[]byte

	ctx     context.Context // of executions, which outlive their requests
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// NewRelay is a Relay whose deployments are all perfect. Set makes them worse.
func NewRelay(c RelayConfig) *Relay {
	if c.Transport == nil {
		c.Transport = &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 256}
	}
	r := &Relay{
		config: c, deployments: make(map[string]*deployment), mux: http.NewServeMux(),
		up: newLine(), down: newLine(),
		buffers: sync.Pool{New: func() any { return new([]byte) }},
	}
	for i, id := range r.ids() {
		d := newDeployment(c.Seed, uint64(i))
		if d.id = id; i >= len(c.Deployments) {
			d.faces = &ofWorker
		}
		r.deployments[id] = d
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.mux.HandleFunc("POST /macros/s/{id}/exec", r.exec)
	r.mux.HandleFunc("GET /macros/s/{id}/exec", r.visit)
	r.mux.HandleFunc("GET /macros/echo", r.echo)
	for _, path := range []string{batchPath, linkPath} {
		r.mux.HandleFunc("POST /w/{id}/"+path, r.worker(path))
	}
	r.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { writePage(w, http.StatusNotFound, missingPage) })
	return r
}

// ServeHTTP implements http.Handler.
func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.mux.ServeHTTP(w, req) }

// Set changes the knobs of the deployments with these ids, of both kinds, of all
// if there is none. Exchanges under way keep the knobs that they began with.
func (r *Relay) Set(change func(*Knobs), ids ...string) {
	for _, d := range r.chosen(ids) {
		d.set(change)
	}
}

// SetLine bounds what the client's own line carries in bytes per second,
// through all deployments together; 0 is no bound.
func (r *Relay) SetLine(up, down int) {
	r.up.set(up)
	r.down.set(down)
}

// Stats are the counters of the deployments with these ids, of all together if
// there is none.
func (r *Relay) Stats(ids ...string) Stats {
	var sum Stats
	for _, d := range r.chosen(ids) {
		d.total(&sum)
	}
	return sum
}

// ids are those of all deployments, scripts first.
func (r *Relay) ids() []string { return slices.Concat(r.config.Deployments, r.config.Workers) }

func (r *Relay) chosen(ids []string) []*deployment {
	if len(ids) == 0 {
		ids = r.ids()
	}
	var ds []*deployment
	for _, id := range ids {
		if d := r.deployments[id]; d != nil {
			ds = append(ds, d)
		}
	}
	return ds
}

// Close ends the executions under way and waits for them.
func (r *Relay) Close() {
	r.cancel()
	r.running.Wait()
	if t, ok := r.config.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// ServeRelay serves r on ln until ctx ends, then closes both. A ctx that ends is
// no error.
func ServeRelay(ctx context.Context, ln net.Listener, r *Relay) error {
	s := &http.Server{Handler: r, ErrorLog: log.New(io.Discard, "", 0)}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	defer r.Close()
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the relay: %w", err)
	}
	return nil
}

// wait is a delay of the emulated path. It ends early only with the Relay: a
// client that gives up does not hurry what it has sent.
func (r *Relay) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.ctx.Done():
	}
}

// buffer is an empty buffer with room for size bytes; recycle takes it back.
func (r *Relay) buffer(size int) *[]byte {
	b := r.buffers.Get().(*[]byte)
	*b = slices.Grow((*b)[:0], size)
	return b
}

func (r *Relay) recycle(b *[]byte) { r.buffers.Put(b) }
