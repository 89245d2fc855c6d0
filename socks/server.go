// Package socks is the inbound side: one port that speaks SOCKS5, SOCKS4(a)
// and HTTP. A SOCKS CONNECT and an HTTP CONNECT both end as a Request, which
// its handler answers with Proceed or Abort; a plain http:// request is
// forwarded over connections of Config.Dial.
//
// A SOCKS UDP ASSOCIATE is answered here, and its datagrams become the flows of
// Config.UDP.
//
// Words: an application connects to the proxy, and becomes a client; it is
// half-open until it has said where it wants to go; its destination is a name
// or an IP literal, and a port. Names are never resolved on this machine.
package socks

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// DefaultHandshakeTimeout is the time an application has from connecting to
// having sent its whole request.
const DefaultHandshakeTimeout = 10 * time.Second

// complaintEvery is the shortest time between two log lines of one kind about
// clients that make no sense: a port scan must not become a log flood.
const complaintEvery = 10 * time.Second

// Config is what a Server needs to know. Handle and Dial are required.
type Config struct {
	// Users may use the proxy with their passwords. None means that anybody
	// may who can connect, and SOCKS4, which has no passwords, works only
	// then. Empty names and passwords never match.
	Users []User

	// Handle answers one Request: it must end in Proceed or Abort. It runs on
	// a goroutine of its own, and the connection counts against MaxConns until
	// it returns. ctx ends when Shutdown runs out of time.
	Handle func(ctx context.Context, r *Request)

	// Dial connects to the destination of an absolute-form HTTP request. host
	// is as in Request. Its errors, and those of the connection's Read and
	// Write, may wrap a *wire.DialError, which decides about the status.
	Dial func(ctx context.Context, host string, port uint16) (net.Conn, error)

	// UDP is for UDP ASSOCIATE. nil refuses it.
	UDP *UDP

	// MaxConns is the greatest number of open connections; one more is closed
	// at once. 0 means no limit.
	MaxConns int

	// HandshakeTimeout is absolute: it does not start anew with every byte.
	// 0 means DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration

	// Self are further addresses of this program, as that of its admin page,
	// that must not be reached through the proxy. The listeners' own need not
	// be named.
	Self []netip.AddrPort

	// Log may be nil, for silence.
	Log *slog.Logger
}

// User is a name with the password that belongs to it. Whatever prints it prints the name.
type User struct{ Name, Password string }

// String is the name.
func (u User) String() string { return u.Name }

// Format has it that for all verbs, those that ask for no String included.
func (u User) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, u.Name) }

// LogValue is the name, for logs.
func (u User) LogValue() slog.Value { return slog.StringValue(u.Name) }

// MarshalText is the name, for what is encoded.
func (u User) MarshalText() ([]byte, error) { return []byte(u.Name), nil }

// Server serves any number of listeners. Make it with New.
type Server struct {
	cfg    Config
	log    *slog.Logger
	gate   *gate
	guard  *guard
	blocks blocks
	front  *front
	counts counts

	garbage, full, short, silent rate.Sometimes // sample the log

	runs sync.Pool // *run: of the associations that are reading

	ctx  context.Context // of every Handle and every HTTP request
	cut  context.CancelFunc
	done chan struct{} // closed, under mu, when Shutdown begins

	mu        sync.Mutex
	listeners map[net.Listener]*listener // by what Serve was given
	self      []netip.AddrPort
}

// New returns a Server that serves nothing yet.
func New(cfg Config) *Server {
	if cfg.HandshakeTimeout == 0 {
		cfg.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.UDP != nil {
		cfg.UDP = cfg.UDP.withDefaults()
	}
	s := &Server{
		cfg:       cfg,
		log:       cfg.Log,
		gate:      newGate(cfg.MaxConns),
		guard:     newGuard(cfg.Users),
		garbage:   rate.Sometimes{First: 1, Interval: complaintEvery},
		full:      rate.Sometimes{First: 1, Interval: complaintEvery},
		short:     rate.Sometimes{First: 1, Interval: complaintEvery},
		silent:    rate.Sometimes{First: 1, Interval: complaintEvery},
		runs:      sync.Pool{New: func() any { return newRun() }},
		done:      make(chan struct{}),
		listeners: make(map[net.Listener]*listener),
		self:      cfg.Self,
	}
	s.cfg.Users = nil // the guard has their digests
	s.ctx, s.cut = context.WithCancel(context.Background())
	if cfg.UDP != nil {
		s.SetBlocks(cfg.UDP.BlockQUIC, cfg.UDP.BlockSTUN)
	}
	s.front = newFront(s)
	return s
}

// Shutdown stops accepting, and lets handshakes, unanswered Requests and HTTP
// requests finish until ctx ends; then it closes them and returns ctx's error.
// Connections that were handed over by Proceed are their handlers' business:
// it neither waits for them nor closes them. A UDP association ends as soon as
// it is quiet.
func (s *Server) Shutdown(ctx context.Context) error {
	s.closeListeners()
	s.gate.closeSilent()
	err := s.front.shutdown(ctx)
	if waitErr := s.gate.wait(ctx); err == nil {
		err = waitErr
	}
	if err == nil {
		return nil
	}
	s.cut()
	s.front.close()
	s.gate.closeAll()
	return fmt.Errorf("shutting down the proxy: %w", err)
}

// closeListeners makes every Serve return nil, now and from now on.
func (s *Server) closeListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosing() {
		return
	}
	close(s.done)
	for _, ln := range s.listeners {
		ln.Close()
	}
}

// Stats are the numbers of a Server since its start.
type Stats struct {
	Open      int   // connections that count against MaxConns now
	Refused   int64 // connections closed since MaxConns was reached
	Short     int64 // connections closed since descriptors were few
	Garbage   int64 // connections that spoke nothing known or broke off
	BadLogins int64 // wrong passwords
	Panics    int64 // handlers that panicked
}

type counts struct{ refused, short, garbage, panics atomic.Int64 }

// Stats returns the numbers as they are now.
func (s *Server) Stats() Stats {
	return Stats{
		Open:      s.gate.count(),
		Refused:   s.counts.refused.Load(),
		Short:     s.counts.short.Load(),
		Garbage:   s.counts.garbage.Load(),
		BadLogins: s.guard.failures.Load(),
		Panics:    s.counts.panics.Load(),
	}
}
