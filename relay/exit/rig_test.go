package exit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relaymux/mux/secret"
	"relaymux/mux/wire"
	"relaymux/relay/relaytest/testca"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction(testca.Goroutine))
}

const testKey = "correct horse battery staple 32+"

// dialFunc is a Dialer that is one function.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

// targets is a world in memory. A host's name says what it does.
type targets struct {
	window int // of each direction; 64 KiB if zero

	mu    sync.Mutex
	work  sync.WaitGroup
	conns map[string]*memConn // the target's end of the last connection, by host
	udp   map[string]*memUDP  // the node's end, likewise
	dials int
}

func (w *targets) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	if network == "udp" {
		return w.dialUDP(ctx, host)
	}
	w.mu.Lock()
	w.dials++
	w.mu.Unlock()
	if err := dialOutcome(ctx, host); err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	window := w.window
	if window == 0 {
		window = 64 << 10
	}
	near, far := memPair(window)
	w.mu.Lock()
	if w.conns == nil {
		w.conns = make(map[string]*memConn)
	}
	w.conns[host] = far
	w.mu.Unlock()
	greet(host, far)
	w.work.Go(func() { behave(host, far) })
	return near, nil
}

func dialOutcome(ctx context.Context, host string) error {
	switch host {
	case "refused.test":
		return syscall.ECONNREFUSED
	case "denied.test":
		return errDenied()
	case "nowhere.test":
		return &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	case "full.test":
		return syscall.EMFILE
	case "late.test":
		return sleep(ctx, time.Second)
	case "hang.test":
		return sleep(ctx, time.Hour)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// greet is what a target says before it is asked, and before the dial returns.
func greet(host string, c *memConn) {
	switch host {
	case "hello.test":
		_, _ = io.WriteString(c, "hello")
	case "bye.test", "sink.test":
		c.say("bye", nil)
	case "reset.test":
		c.say("cut", syscall.ECONNRESET)
	}
}

func behave(host string, c *memConn) {
	switch host {
	case "echo.test", "late.test":
		_, _ = io.Copy(c, c)
		_ = c.CloseWrite()
	case "sink.test": // has said all, and listens
		_, _ = io.Copy(io.Discard, c)
	case "parrot.test": // says it all again, when all has come
		all, _ := io.ReadAll(c)
		c.say(string(all), nil)
	}
}

// far is the target's end of the last connection to host.
func (w *targets) far(host string) *memConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.conns[host]
}

// A rig is a node in a world in memory.
type rig struct {
	t     testing.TB
	node  *Node
	world *targets
}

func newRig(t testing.TB, c Config) *rig {
	r := &rig{t: t, world: &targets{}}
	c.Key = secret.New(testKey)
	if c.Dialer == nil {
		c.Dialer = r.world
	}
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r.node = n
	t.Cleanup(func() {
		n.Close()
		for _, c := range r.world.conns {
			_ = c.Close()
		}
		r.world.work.Wait()
		if m := n.Stats().Memory; m != 0 {
			t.Errorf("%d bytes still charged after Close", m)
		}
	})
	return r
}

// post sends a body and returns what came back.
func (r *rig) post(ctx context.Context, path string, body []byte) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(body))
	w := httptest.NewRecorder()
	r.node.ServeHTTP(w, req)
	return w
}

// batch carries ops to the node and returns its results, a private copy.
func (r *rig) batch(ops ...wire.Op) []wire.Result {
	r.t.Helper()
	results, err := r.try(r.t.Context(), ops...)
	if err != nil {
		r.t.Fatal(err)
	}
	return results
}

func (r *rig) try(ctx context.Context, ops ...wire.Op) ([]wire.Result, error) {
	w := r.post(ctx, pathBatch, wire.AppendBatch(nil, testKey, false, ops))
	var a wire.Answer
	if w.Code != http.StatusOK || w.Body.Len() == 0 {
		return nil, errors.New("no answer")
	}
	if err := wire.ParseAnswer(w.Body.Bytes(), &a, maxOps); err != nil {
		return nil, err
	}
	return a.Results, nil
}

// open connects to host and returns the session's op template.
func (r *rig) open(host string) []byte {
	r.t.Helper()
	res := r.batch(connectOp(host))
	if len(res[0].SID) == 0 || len(res[0].Err) > 0 {
		r.t.Fatalf("connecting to %s: %q", host, res[0].Err)
	}
	return bytes.Clone(res[0].SID)
}

func connectOp(host string) wire.Op {
	return wire.Op{Kind: wire.Connect, Host: []byte(host), Port: 80}
}

func connectData(host, data string) wire.Op {
	return wire.Op{Kind: wire.ConnectData, Host: []byte(host), Port: 80, Data: [][]byte{[]byte(data)}}
}

func poll(sid []byte) wire.Op { return wire.Op{Kind: wire.Data, SID: sid} }

func write(sid []byte, data string) wire.Op {
	return wire.Op{Kind: wire.Data, SID: sid, Data: [][]byte{[]byte(data)}}
}

func writeSeq(sid []byte, wseq uint64, data string) wire.Op {
	o := write(sid, data)
	o.HasWSeq, o.WSeq = true, wseq
	return o
}

func fin(sid []byte) wire.Op { return wire.Op{Kind: wire.Data, SID: sid, Fin: true} }

func closeOp(sid []byte) wire.Op { return wire.Op{Kind: wire.Close, SID: sid} }

// text is the payload of a result.
func text(r wire.Result) string { return string(bytes.Join(r.Data, nil)) }
