package exit

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/time/rate"

	"relaymux/mux/gso"
)

// QUIC says how a server speaks HTTP/3.
type QUIC struct {
	// UDP is how the socket is to be used; a Buffer of 0 means gso.BigBuffer,
	// and ListenQUIC says that it serves.
	UDP gso.Options

	// Socket is used in the place of one that ListenQUIC opens, if not nil. The
	// server owns it from then on, if there is no error.
	Socket net.PacketConn

	// Yield ends connections whose packets get lost, with H3_VERSION_FALLBACK: it says
	// that TCP sends by a congestion control that does better there.
	Yield bool

	// AltSvc tells everybody who asks by TCP that there is HTTP/3 (RFC 7838),
	// which makes the node easier to recognise. Its own clients need no telling.
	AltSvc bool
}

// A quicServer is a server's HTTP/3 side. It has its own connections and shares the
// handler.
type quicServer struct {
	node      *Node
	socket    net.PacketConn
	transport *quic.Transport
	listener  *quic.EarlyListener
	http      *http3.Server
	grants    grants
	yield     bool
	conns     atomic.Int64
	ended     chan struct{} // when it serves no more
}

var errQUICPlain = errors.New("HTTP/3 needs TLS")

// ListenQUIC opens the UDP port of the same number as addr, the address of the
// listener that Serve will get, for HTTP/3; Serve closes it. Without it, also after
// an error, the server speaks HTTP over TCP alone.
func (s *Server) ListenQUIC(addr net.Addr, q QUIC) error {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("exit: HTTP/3 beside %s: not a TCP address", addr)
	}
	if s.http.TLSConfig == nil {
		return fmt.Errorf("exit: HTTP/3 on %s: %w", addr, errQUICPlain)
	}
	socket := q.Socket
	if socket == nil {
		u, err := net.ListenUDP("udp", &net.UDPAddr{IP: tcp.IP, Port: tcp.Port, Zone: tcp.Zone})
		if err != nil {
			return fmt.Errorf("exit: opening the UDP port for HTTP/3: %w", err)
		}
		if q.UDP.Buffer == 0 {
			q.UDP.Buffer = gso.BigBuffer
		}
		q.UDP.Serves = true
		socket = gso.NewQUIC(u, q.UDP)
	}
	if err := s.useQUIC(socket, q.Yield); err != nil {
		if q.Socket == nil {
			socket.Close()
		}
		return fmt.Errorf("exit: preparing HTTP/3: %w", err)
	}
	if q.AltSvc {
		s.http.Handler = altSvc(s.node, `h3=":`+strconv.Itoa(tcp.Port)+`"; ma=86400`)
	}
	return nil
}

// useQUIC sets the server up to speak HTTP/3 on socket, which it owns if there is
// no error.
func (s *Server) useQUIC(socket net.PacketConn, yield bool) error {
	n := s.node
	q := &quicServer{node: n, socket: socket, yield: yield, grants: newGrants(n.bodies.Limit())}
	handshakes := rate.NewLimiter(freeHandshakes, freeHandshakes)
	q.transport = &quic.Transport{
		Conn:                socket,
		StatelessResetKey:   (*quic.StatelessResetKey)(n.quicKey("stateless reset")),
		TokenGeneratorKey:   (*quic.TokenGeneratorKey)(n.quicKey("address token")),
		VerifySourceAddress: func(net.Addr) bool { return !handshakes.Allow() },
		ConnContext:         q.enter,
	}
	var err error
	if q.listener, err = q.transport.ListenEarly(http3.ConfigureTLSConfig(s.http.TLSConfig), q.config()); err != nil {
		return err
	}
	q.http = &http3.Server{
		Handler:        http.HandlerFunc(n.serveQUIC),
		MaxHeaderBytes: maxHeader,
		IdleTimeout:    idleLimit,
		ConnContext:    q.watch,
		Logger:         n.log,
	}
	s.quic = q
	return nil
}

// quicKey is a key for a purpose of QUIC. It is the same after a restart, if the
// node is: then clients are told at once that their connections are gone.
func (n *Node) quicKey(purpose string) *[sha256.Size]byte {
	key := new([sha256.Size]byte)
	if !n.identity.IsSet() {
		_, _ = rand.Read(key[:]) // never fails
		return key
	}
	h := hmac.New(sha256.New, []byte(n.identity.Reveal()))
	_, _ = h.Write([]byte("relaymux quic " + purpose)) // a hash takes everything
	h.Sum(key[:0])
	return key
}

// start serves in a goroutine, until stop.
func (q *quicServer) start() {
	q.ended = make(chan struct{})
	go func() {
		defer close(q.ended)
		if err := q.http.ServeListener(q.listener); !errors.Is(err, http.ErrServerClosed) {
			q.node.log.Warn("HTTP/3 has ended, TCP goes on", "err", err)
		}
	}()
}

// stop lets requests under way be answered until ctx ends.
func (q *quicServer) stop(ctx context.Context) {
	_ = q.http.Shutdown(ctx) // whoever is still reading has had its time
	q.listener.Close()
	q.transport.Close()
	q.socket.Close()
	<-q.ended
}

// The context of a request has its connection at quicConn, and if that is to yield
// to TCP, quicYields.
type quicConn struct{}
type quicYields struct{}

// serveQUIC is ServeHTTP for HTTP/3.
func (n *Node) serveQUIC(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != pathLink {
		// Whoever has seen a first flight can send it again, until the handshake
		// is complete. Messages of links may come twice, batches may not.
		if c, ok := r.Context().Value(quicConn{}).(*quic.Conn); ok {
			select {
			case <-c.HandshakeComplete():
			case <-r.Context().Done():
				return
			}
		}
	} else if r.Method == "QUERY" {
		r.Method = http.MethodPost // in a first flight it is called that, see relay/h3
	}
	n.ServeHTTP(quicWriter{w}, r)
}

// A quicWriter leaves out what HTTP/3 does not have (RFC 9114 section 4.2): there
// the answer would be malformed.
type quicWriter struct{ http.ResponseWriter }

func (w quicWriter) WriteHeader(status int) {
	w.Header().Del("Connection")
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w quicWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// altSvc is h with a header that names another service.
func altSvc(h http.Handler, service string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Alt-Svc", service)
		h.ServeHTTP(w, r)
	})
}
