// Package dash shows what the proxy does: a page for people, the same as JSON
// (status.go says what its fields mean), Prometheus metrics, and the PAC file by
// which browsers find the proxy. Its client's side reads a running daemon for
// `relaymux status`.
//
// Whoever can reach the port may be a page of the web in the user's own browser. What
// keeps it out is in guard.go, and a page may change nothing without a token.
package dash

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"relaymux/mux"
	"relaymux/mux/fd"
	"relaymux/mux/secret"
	"relaymux/mux/stats"
)

// Config is what a Server shows, and to whom.
type Config struct {
	// Look returns what the mux does and so many of its flows, and EndFlow ends one.
	Look    func(flows int) mux.Snapshot
	EndFlow func(id uint64) bool

	// Clients counts who comes to the proxy.
	Clients func() Clients

	Stats *stats.Mux
	UDP   *stats.UDP // of the sockets towards applications
	QUIC  *stats.UDP // of HTTP/3

	// Route says what becomes of a connection to a host:port, and which rule decides.
	// Routed counts what the rules keep out of the tunnel.
	Route  func(target string) (verdict, rule string, err error)
	Routed *stats.Route

	// Refused says why the config that was read again last is not in effect, Unkept why
	// the counts of exchanges are not written: "" if that is well. Each may be nil.
	Refused, Unkept func() string

	Version string

	// Token is what must be shown to see anything, none if nothing need be. Who comes
	// by the Unix socket owns it and is not asked.
	Token secret.Text

	// Hosts are names by which the page may be called, beside those of loopback and
	// the address that a connection has reached.
	Hosts []string

	Log   *slog.Logger
	Lines *Log // that have gone to the log; nil: there is none to show
}

// A Server serves the page and what belongs to it.
type Server struct {
	Config
	began time.Time
	proxy atomic.Pointer[Proxy]
	page  page
	write [sha256.Size]byte // the digest of the token that changes something
	http  *http.Server

	mu     sync.Mutex // guards what follows
	latest Status
	at     time.Time // of latest; zero: there is none
}

// What a connection may take. The page asks once a second, so that an idle
// connection is one that nobody misses.
const (
	headTime  = 5 * time.Second
	readTime  = 10 * time.Second
	writeTime = 20 * time.Second
	idleTime  = 15 * time.Second
	headMost  = 16 << 10
	connsMost = 32 // of one listener, open at once
)

// New returns a Server of c, and of a proxy that is there until SetProxy.
func New(c Config, proxy Proxy) (*Server, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Lines == nil {
		c.Lines = new(Log)
	}
	if c.Clients == nil {
		c.Clients = func() Clients { return Clients{} }
	}
	none := func() string { return "" }
	if c.Refused == nil {
		c.Refused = none
	}
	if c.Unkept == nil {
		c.Unkept = none
	}
	if c.Routed == nil {
		c.Routed = new(stats.Route)
	}
	s := &Server{Config: c, began: time.Now()}
	s.proxy.Store(&proxy)
	token := c.Token.Reveal()
	if token == "" {
		token = rand.Text() // 130 bits, in the page: the programs of this machine can read it there, pages of the web cannot
	}
	s.write = sha256.Sum256([]byte(token))
	var err error
	if s.page, err = newPage(token, c.Token.IsSet()); err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler:           s.guard(s.routes()),
		ReadHeaderTimeout: headTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes:               headMost,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			ctx = context.WithValue(ctx, nonceKey{}, new(string))
			return context.WithValue(ctx, ownKey{}, conn.LocalAddr().Network() == "unix")
		},
	}
	return s, nil
}

// Serve serves ln, which it closes, until Close. Another end is told to the log: the
// proxy goes on without.
func (s *Server) Serve(ln net.Listener) {
	if err := s.http.Serve(limit(fd.Patient(ln, s.Log), connsMost)); !errors.Is(err, http.ErrServerClosed) {
		s.Log.Error("the admin page has ended", "listener", ln.Addr().String(), "err", err)
	}
}

// SetProxy says where the proxy listens from now on, and whether it asks for a password.
func (s *Server) SetProxy(at []netip.AddrPort, password bool) { s.proxy.Store(&Proxy{at, password}) }

// Close ends all listeners and connections.
func (s *Server) Close() { s.http.Close() }

// routes are all that there is. A path that is none of them is not found, and so is
// one with dots in it: nothing comes from the file system.
func (s *Server) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /{$}", s.servePage)
	m.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, "text/plain", "ok\n") })
	m.HandleFunc("GET /proxy.pac", s.servePAC)
	m.HandleFunc("GET /api/proof", s.serveProof)
	m.Handle("GET /api/status", s.private(s.serveStatus))
	m.Handle("GET /api/log", s.private(s.serveLog))
	m.Handle("GET /api/setup", s.private(s.serveSetup))
	m.Handle("GET /api/route", s.private(s.serveRoute))
	m.Handle("GET /metrics", s.private(s.serveMetrics))
	m.Handle("POST /api/flows/{id}/close", s.writing(s.closeFlow))
	return m
}

// closeFlow ends a flow as if its target had reset it.
func (s *Server) closeFlow(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil || !s.EndFlow(id) {
		http.Error(w, "there is no such flow", http.StatusNotFound)
		return
	}
	s.Log.Info("flow ended by hand", "id", id)
	w.WriteHeader(http.StatusNoContent)
}

// text answers with a text of that type.
func text(w http.ResponseWriter, kind, body string) {
	w.Header().Set("Content-Type", kind+"; charset=utf-8")
	_, _ = w.Write([]byte(body))
}
