package exit

import (
	"container/list"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/fd"
	"relaymux/mux/link"
	"relaymux/mux/wire"
)

// A farConn comes from that address.
type farConn struct {
	net.Conn
	from string
}

func (c farConn) RemoteAddr() net.Addr { return tcpAddr(c.from) }

type tcpAddr string

func (tcpAddr) Network() string  { return "tcp" }
func (a tcpAddr) String() string { return string(a) }

// farListener gives connections one address after another.
type farListener struct {
	net.Listener
	from func() string
}

func (l farListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return farConn{c, l.from()}, nil
}

// A shortConn has one of the last descriptors, or not.
type shortConn struct {
	net.Conn
	used *bool
}

func (c shortConn) SyscallConn() (syscall.RawConn, error) { return rawConn{c.used}, nil }

type rawConn struct{ used *bool }

func (c rawConn) Control(f func(uintptr)) error {
	if *c.used {
		f(1 << 30)
	} else {
		f(3)
	}
	return nil
}

func (rawConn) Read(func(uintptr) bool) error  { return nil }
func (rawConn) Write(func(uintptr) bool) error { return nil }

// TestHostile81_StrangersMakeRoom: when descriptors are short each newcomer shows the
// stranger out who has been silent for the longest time, whatever his source is.
func TestHostile81_StrangersMakeRoom(t *testing.T) {
	if _, ok := fd.Limit(); !ok {
		t.Skip("descriptors are not counted here")
	}
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		short, from := false, ""
		var s strangers
		w := s.watch(farListener{ln, func() string { return from }})
		w.(*watched).Listener = shortListener{w.(*watched).Listener, &short}
		var near []net.Conn
		open := func(source string) (far net.Conn) {
			t.Helper()
			from = source
			a, far := net.Pipe()
			go func() { ln.conns <- a }()
			c, err := w.Accept()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			near = append(near, c)
			return far
		}
		var far []net.Conn
		for i := range 8 {
			far = append(far, open(fmt.Sprintf("198.51.100.%d:1", i%4)))
		}
		for _, i := range []int{0, 3} { // whose requests are under way
			go far[i].Write([]byte("x"))
			if _, err := near[i].Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		short = true
		closed := func() (list []int) {
			for i, c := range far {
				_ = c.SetReadDeadline(time.Now())
				if _, err := c.Read(make([]byte, 1)); err == io.EOF {
					list = append(list, i)
				}
			}
			return list
		}
		for i := range 6 {
			far = append(far, open(fmt.Sprintf("192.0.2.%d:1", i)))
		}
		if got := closed(); !slices.Equal(got, []int{1, 2, 4, 5, 6, 7}) {
			t.Errorf("%v were shown out", got)
		}
		far = append(far, open("127.0.0.1:1")) // a local proxy's needs room too
		if got := closed(); !slices.Contains(got, 0) || slices.Contains(got, 3) {
			t.Errorf("%v were shown out in the end", got)
		}
		if n := s.count(); n != 7 {
			t.Errorf("%d strangers", n)
		}
	})
}

// shortListener gives connections descriptors, of the last ones if short.
type shortListener struct {
	net.Listener
	short *bool
}

func (l shortListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return shortConn{c, l.short}, nil
}

func (s *strangers) count() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range s.of {
		n += of.Len()
	}
	if all := s.all.Len(); n != all {
		panic(fmt.Sprintf("%d strangers in all, and %d by source", all, n))
	}
	return n
}

// TestHostile64_StrangersOfOneSource: who opens connections without end closes his own, the
// oldest first, and nobody else's.
func TestHostile64_StrangersOfOneSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		from := "198.51.100.9:1"
		var s strangers
		w := s.watch(farListener{ln, func() string { return from }})
		open := func() (far net.Conn, closed func() bool) {
			t.Helper()
			near, far := net.Pipe()
			go func() { ln.conns <- near }()
			c, err := w.Accept()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return far, func() bool {
				_ = far.SetReadDeadline(time.Now())
				_, err := far.Read(make([]byte, 1))
				return err == io.EOF
			}
		}
		_, otherClosed := open()
		from = "192.0.2.1:5"
		_, firstClosed := open()
		for range strangersOfSource {
			open()
		}
		if firstClosed() {
			t.Error("one of a burst is closed")
		}
		time.Sleep(strangerGrace)
		_, second := open()
		if !firstClosed() || second() || otherClosed() {
			t.Error("another than the oldest is closed")
		}
		from = "[2001:db8::1]:9"
		_, firstClosed = open()
		for i := range strangersOfSource - 1 {
			from = fmt.Sprintf("[2001:db8::2:%x]:9", i) // of one host
			open()
		}
		time.Sleep(strangerGrace)
		if firstClosed() {
			t.Error("one of as many as there may be is closed")
		}
		if open(); !firstClosed() {
			t.Error("an IPv6 network counts as several sources")
		}
		from = "127.0.0.1:9"
		_, firstClosed = open()
		for range 2 * strangersOfSource {
			open()
		}
		time.Sleep(strangerGrace)
		if open(); firstClosed() {
			t.Error("a proxy on this machine is counted")
		}
	})
}

// pipeListener accepts what is put into it.
type pipeListener struct{ conns chan net.Conn }

func newPipeListener() pipeListener { return pipeListener{make(chan net.Conn)} }

func (l pipeListener) Accept() (net.Conn, error) { return <-l.conns, nil }
func (pipeListener) Close() error                { return nil }
func (pipeListener) Addr() net.Addr              { return tcpAddr("192.0.2.9:443") }

// TestKnownByItsRecords: nor is one by which records of a link have come.
func TestKnownByItsRecords(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		c.must()
		s := strangers{of: make(map[netip.Prefix]*list.List)}
		g := &guest{strangers: &s, source: netip.MustParsePrefix("192.0.2.1/32"), since: time.Now()}
		s.enter(g)
		req := httptest.NewRequestWithContext(context.WithValue(t.Context(), guestKey{}, g), http.MethodPost, pathLink, nil)
		r.node.arrived(r.node.links.find(c.keys.ID()), req, "binary")
		if n := s.count(); n != 0 {
			t.Errorf("%d strangers", n)
		}
	})
}

// TestKnownIsNoStranger: a connection counts until a request of a client's has come by it,
// with TLS and without, and not when it has ended.
func TestKnownIsNoStranger(t *testing.T) {
	for name, c := range map[string]TLS{"plain": {Plain: true}, "TLS": {SelfSigned: true}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{Clients: clients("ann")})
			address, s := serveBy(t, r, c, func(ln net.Listener) net.Listener { return farListener{ln, func() string { return "192.0.2.1:5" }} })
			scheme := "https"
			if c.Plain {
				scheme = "http"
			}
			post := func(path, body string) (count int) {
				t.Helper()
				tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
				defer tr.CloseIdleConnections()
				resp, err := (&http.Client{Transport: tr}).Post(scheme+"://"+address+path, "", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				return s.strangers.count()
			}
			if n := post(pathBatch, string(wire.AppendBatch(nil, testKey, false, nil))); n != 0 {
				t.Errorf("%d strangers, who have shown the key", n)
			}
			_, hello, err := link.Hello(secretOf("ann"), (&link.HelloParams{Credit: 1 << 20}).Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			if n := post(pathLink, string(hello)); n != 1 { // which anybody can repeat
				t.Errorf("%d strangers after a hello", n)
			}
			for deadline := time.Now().Add(5 * time.Second); s.strangers.count() > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("a connection that has ended counts")
				}
			}
		})
	}
}
