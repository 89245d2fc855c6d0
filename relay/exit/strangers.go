package exit

import (
	"container/list"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// A connection is a stranger's until a request of his has proved to come from a client.
// Strangers cost a descriptor each, and time: of one source more than strangersOfSource
// make the oldest go, but only when it had strangerGrace. A proxy on this machine, behind
// which everybody has one address, is not counted.
const (
	strangersOfSource = 256
	strangerGrace     = 2 * time.Second
)

// strangers count those of a listener, by source: an IPv4 address, or an IPv6 network of
// 64 bits, which one host has to itself.
type strangers struct {
	mu  sync.Mutex
	all map[netip.Prefix]*list.List // of *guest, the oldest first
}

// watch is ln with its strangers counted.
func (s *strangers) watch(ln net.Listener) net.Listener {
	s.all = make(map[netip.Prefix]*list.List)
	return &watched{ln, s}
}

type watched struct {
	net.Listener
	strangers *strangers
}

// Accept implements net.Listener.
func (w *watched) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	source := sourceOf(conn.RemoteAddr())
	if !source.IsValid() || source.Addr().IsLoopback() {
		return conn, nil
	}
	g := &guest{Conn: conn, strangers: w.strangers, source: source, since: time.Now()}
	w.strangers.enter(g)
	return g, nil
}

func sourceOf(a net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := at.Addr().Unmap().WithZone(""), 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits) // it has as many
	return p
}

// A guest is a connection of whom the listener has taken note.
type guest struct {
	net.Conn
	strangers *strangers
	source    netip.Prefix
	since     time.Time
	place     *list.Element // nil: no stranger's any more; strangers.mu guards it
}

func (s *strangers) enter(g *guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.all[g.source]
	if of == nil {
		of = list.New()
		s.all[g.source] = of
	}
	g.place = of.PushBack(g)
	if oldest := of.Front().Value.(*guest); of.Len() > strangersOfSource && time.Since(oldest.since) >= strangerGrace {
		s.leaveLocked(oldest)
		_ = oldest.Conn.Close() // who serves it sees the error
	}
}

func (s *strangers) leave(g *guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaveLocked(g)
}

func (s *strangers) leaveLocked(g *guest) {
	if g.place == nil {
		return
	}
	of := s.all[g.source]
	of.Remove(g.place)
	if g.place = nil; of.Len() == 0 {
		delete(s.all, g.source)
	}
}

// Close implements net.Conn.
func (g *guest) Close() error {
	g.strangers.leave(g)
	return g.Conn.Close()
}

// CloseWrite lets net/http finish a connection gently.
func (g *guest) CloseWrite() error {
	if half, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn is the connection below, for who sets its options.
func (g *guest) NetConn() net.Conn { return g.Conn }

// guestKey is where the context of a request has its *guest, if it has one.
type guestKey struct{}

// guestOf is the guest below a connection, which may speak TLS over it; nil if there is none.
func guestOf(conn net.Conn) *guest {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		if g, ok := t.NetConn().(*guest); ok {
			return g
		}
	}
	g, _ := conn.(*guest)
	return g
}

// known notes that r is a client's, and so is its connection.
func known(r *http.Request) {
	if g, ok := r.Context().Value(guestKey{}).(*guest); ok && g != nil {
		g.strangers.leave(g)
	}
}
