package exit

import (
	"container/list"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"relaymux/mux/fd"
)

// A connection is a stranger's until a request of his has proved to come from a client.
// Strangers cost a descriptor each, and time: of one source more than strangersOfSource
// make the one go that has been silent for the longest time, but only when it had
// strangerGrace; and when descriptors are short any newcomer does so, of all sources.
// Whose request is under way is among the last to go: everybody behind a proxy has one
// address. A proxy on this machine is not counted.
const (
	strangersOfSource = 256
	strangerGrace     = 2 * time.Second
)

// strangers count those of a listener, by source: an IPv4 address, or an IPv6 network of
// 64 bits, which one host has to itself. The lists are of *guest, the longest silent first.
type strangers struct {
	mu  sync.Mutex
	all list.List
	of  map[netip.Prefix]*list.List
}

// watch is ln with its strangers counted.
func (s *strangers) watch(ln net.Listener) net.Listener {
	s.of = make(map[netip.Prefix]*list.List)
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
	if fd.UsedUp(conn) {
		w.strangers.makeRoom()
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

// A guest is a connection of whom a listener has taken note. One of HTTP/3, whose
// listener bounds them by itself, has only known.
type guest struct {
	net.Conn
	strangers *strangers
	source    netip.Prefix
	since     time.Time
	known     atomic.Bool // no stranger's any more

	place, ofSource *list.Element // in the lists; nil: in none. strangers.mu guards them
}

func (s *strangers) enter(g *guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.of[g.source]
	if of == nil {
		of = list.New()
		s.of[g.source] = of
	}
	g.place, g.ofSource = s.all.PushBack(g), of.PushBack(g)
	if first := of.Front().Value.(*guest); of.Len() > strangersOfSource && time.Since(first.since) >= strangerGrace {
		s.showOut(first)
	}
}

// makeRoom shows the one out who has been silent for the longest time, if there is any.
func (s *strangers) makeRoom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first := s.all.Front(); first != nil {
		s.showOut(first.Value.(*guest))
	}
}

func (s *strangers) showOut(g *guest) {
	s.leaveLocked(g)
	_ = g.Conn.Close() // who serves it sees the error
}

// moved notes that g has sent something.
func (s *strangers) moved(g *guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.place != nil {
		s.all.MoveToBack(g.place)
		s.of[g.source].MoveToBack(g.ofSource)
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
	of := s.of[g.source]
	of.Remove(g.ofSource)
	s.all.Remove(g.place)
	if g.place, g.ofSource = nil, nil; of.Len() == 0 {
		delete(s.of, g.source)
	}
}

// Read implements net.Conn.
func (g *guest) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if n > 0 && !g.known.Load() {
		g.strangers.moved(g)
	}
	return n, err
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
	if g := guestBy(r); g != nil && !g.known.Swap(true) && g.strangers != nil {
		g.strangers.leave(g)
	}
}

// isStrangers reports whether r has come by a stranger's connection.
func isStrangers(r *http.Request) bool {
	g := guestBy(r)
	return g != nil && !g.known.Load()
}

// guestBy is the guest by whose connection r has come; nil if there is none.
func guestBy(r *http.Request) *guest {
	g, _ := r.Context().Value(guestKey{}).(*guest)
	return g
}
