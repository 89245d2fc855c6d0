package exit

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/wire"
)

const (
	pathBatch  = "/tunnel/batch"
	pathSingle = "/tunnel"
	pathHealth = "/health"

	maxOps = 1000 // of a batch; clients send 50
)

var (
	errKey      = errors.New("unauthorized")
	errNotFound = errors.New("not found")
	errBody     = errors.New("malformed request")
)

// ServeHTTP answers an exchange. Whoever does not know the key gets one and the
// same 404 whatever was asked, after the whole body was read and looked at whatever the
// path was: the time of the answer tells a probe nothing either.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// For the whole body, whatever the path: no part of the answer may tell.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyLimit)) // a test's writer has no deadlines
	ours := r.Method == http.MethodPost && n.hasPath(r.URL.Path)
	if ours && r.URL.Path == pathLink && r.ContentLength < 0 {
		if l, exchange, ok := n.pipeHead(r); ok {
			n.servePipe(w, r, l, exchange)
			return
		}
	}
	req, err := n.receive(w, r)
	if err == nil && !ours {
		n.alike(r.URL.Path, req.b.B)
		req.release()
		err = errNotFound
	}
	switch {
	case err != nil && n.isHealth(r):
		_, _ = io.WriteString(w, "ok")
	case err != nil:
		n.refuse(w, err)
	case r.URL.Path == pathLink:
		n.serveLink(w, r, req, req.b.B, false)
	case r.URL.Path == pathSingle:
		n.serve(w, r, req, (*exchange).readSingle)
	default:
		n.serve(w, r, req, (*exchange).readBatch)
	}
}

// alike does with a body that is refused at path what other paths would have done.
func (n *Node) alike(path string, body []byte) {
	if path != pathLink && n.links.on.Load() {
		_, _ = n.links.responder.Accept(body) // which looks no further than at its length, unless it may be a hello
	}
	if path != pathBatch && path != pathSingle && n.keyed {
		_, _ = n.open(body)
	}
}

// hasPath reports whether there is anything at path for who knows a secret.
func (n *Node) hasPath(path string) bool {
	switch path {
	case pathBatch, pathSingle:
		return n.keyed
	case pathLink:
		return n.links.on.Load()
	}
	return false
}

// serve carries out a request, waits for what comes of it, and writes the answer.
// It owns req.
func (n *Node) serve(w http.ResponseWriter, r *http.Request, req *request, read func(*exchange, *request) error) {
	x := n.newExchange()
	defer x.release()
	err := read(x, req)
	if err == nil {
		if o := x.linkOp(); o != nil && !o.BadData {
			n.serveLink(w, r, req, first(o), true)
			return
		}
		x.execute()
	}
	if err != nil {
		n.alike(r.URL.Path, req.b.B)
	}
	req.release() // the ops alias it, and are done with
	if err != nil {
		n.refuse(w, err)
		return
	}
	n.count.exchanges.Add(1)
	known(r)
	if !x.wait(r.Context()) {
		x.abandon() // nobody is there to be answered; what came stays in its queue
		return
	}
	n.reply(w, x)
}

// reply drains the sessions into an answer. A session whose bytes were in an
// answer that could not be written has a hole now, and is reset.
func (n *Node) reply(w http.ResponseWriter, x *exchange) {
	x.drain()
	body := buf.Body()
	defer body.Release()
	size := x.answerLen()
	n.bodies.Force(size)
	defer n.bodies.Return(size)
	body.B = x.appendAnswer(slices.Grow(body.B, size))
	x.releaseTaken()

	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body.B)))
	h.Set("Cache-Control", "no-store")
	if err := send(w, body.B); err != nil {
		n.count.lost.Add(1)
		n.log.Debug("answer lost", "err", err)
		x.abandon()
	}
}

// send writes an answer out. It may take half a minute and what it needs at
// 64 KiB/s: a reader slower than any relay must not pin its memory.
func send(w http.ResponseWriter, body []byte) error {
	rc := http.NewResponseController(w) // a writer without deadlines or Flush is a test's
	limit := 30*time.Second + time.Duration(len(body))*time.Second/(64<<10)
	_ = rc.SetWriteDeadline(time.Now().Add(limit))
	defer rc.SetWriteDeadline(time.Time{}) // the connection may go on without us
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// authorized compares digests, which are of one length, so that the time tells
// nothing about the key, not even how long it is.
func (n *Node) authorized(key []byte) bool {
	sum := sha256.Sum256(key)
	return subtle.ConstantTimeCompare(sum[:], n.keySum[:]) == 1
}

// open reads the outer object of a request and checks its key.
func (n *Node) open(body []byte) (wire.Envelope, error) {
	e, err := wire.ParseEnvelope(body)
	if err != nil {
		return e, errBody
	}
	if !n.authorized(e.Key) {
		return e, errKey
	}
	return e, nil
}

// isHealth reports whether r asks for the health page and may see it: from this
// machine and not on behalf of somebody else, or with diagnostics on.
func (n *Node) isHealth(r *http.Request) bool {
	if r.Method != http.MethodGet || r.URL.Path != pathHealth {
		return false
	}
	if n.diagnostics {
		return true
	}
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && a.Addr().Unmap().IsLoopback() &&
		r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Forwarded") == ""
}

// refuse answers what is no exchange.
func (n *Node) refuse(w http.ResponseWriter, err error) {
	if errors.Is(err, errMemory) || errors.Is(err, errClientHellos) {
		n.count.overloads.Add(1)
		w.Header().Set("Retry-After", "1")
		page(w, http.StatusServiceUnavailable, "503 service unavailable\n")
		return
	}
	n.count.probes.Add(1)
	if !n.diagnostics {
		page(w, http.StatusNotFound, "404 page not found\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(statusOf(err))
	_, _ = w.Write(wire.AppendError(nil, err.Error()))
}

// page writes a plain page. The connection ends with it in any case, for
// net/http ends it after some of these requests, and they must all look alike.
func page(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Connection", "close")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, errKey), errors.Is(err, errStranger):
		return http.StatusUnauthorized
	case errors.Is(err, errNotFound), errors.Is(err, errNoLink): // of a link, clients wait for that status
		return http.StatusNotFound
	case errors.Is(err, errTooLarge):
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}
