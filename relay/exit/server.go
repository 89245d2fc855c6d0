package exit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/fd"
)

// Limits of the listener. A request's body and answer have theirs in body.go
// and handler.go, for they depend on its size.
const (
	headerLimit   = 10 * time.Second
	idleLimit     = 2 * time.Minute // relays reuse connections for a minute or so
	maxHeader     = 16 << 10        // a script's is below 1 KiB; its platform's limit is 8
	shutdownLimit = 5 * time.Second

	// requestsOfConn are those of one connection at a time, by h2 or HTTP/3: a client has
	// some 30 slots, and opens another connection for more. Web servers allow 100 or 128.
	requestsOfConn = 128
)

// TLS says what the node's listener speaks: a certificate from files, one that a CA is
// asked for, one made at start, or none.
type TLS struct {
	CertFile, KeyFile string // PEM; read again when they change
	ACME              *ACME
	SelfSigned        bool
	Plain             bool
}

// A Server gives a node its listener: HTTP/1.1, and h2 where there is TLS, and
// HTTP/3 after ListenQUIC.
type Server struct {
	node        *Node
	http        *http.Server
	quic        *quicServer // nil: no HTTP/3
	acme        *acmeCerts  // nil: the certificate is not a CA's to give
	strangers   strangers
	fingerprint string
}

// NewServer returns a server for n. With files, they must be good now; later
// ones that are not leave the last good ones in use.
func NewServer(n *Node, t TLS) (*Server, error) {
	s := &Server{node: n, http: &http.Server{
		Handler:           n,
		ReadHeaderTimeout: headerLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    maxHeader,
		// The most that net/http takes; its own 1 MiB are little for a long way.
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: 4<<20 - 1, MaxReceiveBufferPerConnection: 4<<20 - 1,
			MaxConcurrentStreams: requestsOfConn,
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			buf.LimitUnsent(c)
			return context.WithValue(ctx, guestKey{}, guestOf(c))
		},
		ErrorLog:                     slog.NewLogLogger(n.log.Handler(), slog.LevelDebug), // what scanners do
		DisableGeneralOptionsHandler: true,                                                // OPTIONS * is a 404 too
	}}
	if t.Plain {
		return s, nil
	}
	if err := s.useTLS(t); err != nil {
		return nil, fmt.Errorf("exit: preparing TLS: %w", err)
	}
	return s, nil
}

// Fingerprint is the SHA-256 in hex of the certificate that the server began
// with, by which a client can pin it; empty without TLS, and for one of a CA, which is
// soon another.
func (s *Server) Fingerprint() string { return s.fingerprint }

// Serve answers requests on ln, which it closes, and on the port of ListenQUIC,
// until ctx ends. Then it closes the node, which answers what is held, and gives the
// answers a few seconds to get out. The error is the listener's; being told to stop is none.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if s.quic != nil {
		s.quic.start()
	}
	if s.acme != nil {
		defer s.acme.start()()
	}
	stopped := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.stop()
	})
	err := s.serve(fd.Patient(ln, s.node.log))
	if !release() {
		<-stopped
	} else if s.quic != nil {
		s.quic.stop(over())
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("exit: serving %s: %w", ln.Addr(), err)
}

func (s *Server) serve(ln net.Listener) error {
	ln = s.strangers.watch(ln)
	if s.http.TLSConfig == nil {
		return s.http.Serve(ln)
	}
	return s.http.ServeTLS(ln, "", "")
}

func (s *Server) stop() {
	s.node.Close()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownLimit)
	defer cancel()
	var both sync.WaitGroup
	defer both.Wait()
	if s.quic != nil {
		both.Go(func() { s.quic.stop(ctx) })
	}
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // whoever is still reading has had its time
	}
}

// over is a context that has ended: for what is not to be waited for.
func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
