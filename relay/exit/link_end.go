package exit

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
)

// A linkEnd is the node's end of one link: its streams, its exchanges that are
// kept open, and what there is to tell. Requests only put frames into it and take
// frames out; the targets are dialled, read and written by goroutines of the
// streams (link_tcp.go, link_udp.go).
type linkEnd struct {
	node   *Node
	id     link.LinkID
	keys   link.Keys
	client string
	use    *clientUse

	// These are for the table, which does not lock.
	sign   atomic.Int64 // when a record came last, or an exchange ended, since the node began
	proven atomic.Bool  // it was, after its hello
	here   atomic.Bool  // its client has been told of as here
	live   atomic.Int64 // streams with a socket, or with bytes that wait

	mu      sync.Mutex // of all that follows, and of the streams
	conn    *link.Conn
	replay  link.Replay
	over    bool // it is out of the table, and has no streams
	closing bool // the node stops: nothing is kept open
	told    reports

	parked    []*linkExchange // kept open, the oldest first
	answering int             // exchanges whose answer is due, and not yet made
	keep      int             // how many are to be kept open, by
	next      uint64          // the client's latest word, by its Ask.Next
	pipe      *linkExchange   // the latest; nil: there was none
	room      int             // of the answer that is being made
	alarm     *time.Timer     // when the next answer is due

	news    linkNews
	stalled map[*linkTCP]struct{} // that wait for room
	dying   []*linkUDP            // whose socket has ended, with datagrams that wait

	yielded       time.Time // when its connection was ended for TCP's sake,
	yieldedInVain int       // so many times in a row, with its client soon back
}

func newLinkEnd(n *Node, keys link.Keys, client string, c link.Config) *linkEnd {
	l := &linkEnd{
		node: n, id: keys.ID(), keys: keys, client: client,
		stalled: make(map[*linkTCP]struct{}), told: make(reports),
	}
	l.news.waits = make(map[*linkTCP]struct{})
	l.conn = link.NewConn(c, (*linkHandler)(l))
	l.touch()
	l.alarm = time.AfterFunc(time.Hour, l.ring)
	l.alarm.Stop()
	return l
}

// touch notes a sign of the client. An exchange that is kept open is one too, for
// so long it need not send another.
func (l *linkEnd) touch() { l.sign.Store(int64(time.Since(l.node.began))) }

// seen is when there was one.
func (l *linkEnd) seen() time.Time { return l.node.began.Add(time.Duration(l.sign.Load())) }

// end ends links that are out of the table.
func end(list []*linkEnd) {
	for _, l := range list {
		l.mu.Lock()
		l.end()
		l.mu.Unlock()
	}
}

// end resets the streams' connections and answers what is kept open as of a link
// that is not known. l.mu is held.
func (l *linkEnd) end() {
	if l.over {
		return
	}
	l.over = true
	l.departed("its link was ended")
	for _, s := range l.conn.All() {
		if f := flowOf(s); f != nil {
			f.cut(link.Gone, "")
		}
	}
	l.conn.Close()
	l.alarm.Stop()
	for len(l.parked) > 0 {
		l.answer(0)
	}
}

// close answers what is kept open, and whatever comes from now on.
func (l *linkEnd) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing = true
	l.endPipe()
	l.schedule()
}

// reap resets the streams of a client that was silent for too long; it will hear
// of that should it come back. Of others it ends the flows that are idle.
func (l *linkEnd) reap(silence time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := slices.ContainsFunc(l.parked, func(x *linkExchange) bool { return !x.pipe })
	silent := time.Since(l.seen())
	gone := !held && silent > silence
	if !held && silent > awayAfter {
		l.departed("silent for " + awayAfter.String())
	}
	for _, s := range l.conn.All() {
		f := flowOf(s)
		if f == nil || f.base().freed {
			continue
		}
		if gone {
			l.node.count.reaped.Add(1)
			f.cut(link.Gone, "the client was silent for too long")
			continue
		}
		f.reap()
	}
	l.schedule()
}

// A linkFlow is the node's side of one stream. Its methods are called with the
// link's lock held, but for owner's.
type linkFlow interface {
	owner
	base() *linkStream

	// cut ends it at once, and has the client told.
	cut(code link.Code, detail string)
	// given is called when the client has given it up, left when it is out of
	// the Conn, reap now and then.
	given(code link.Code)
	left()
	reap()

	// pending is how many bytes wait to be sent to the client, and ripe when
	// there are likely to be no more, if that is worth waiting for.
	pending() int
	ripe(way time.Duration) time.Time
}

var (
	_ linkFlow = (*linkTCP)(nil)
	_ linkFlow = (*linkUDP)(nil)
)

// A linkStream is what both kinds have.
type linkStream struct {
	l     *linkEnd
	s     *link.Stream
	over  bool // the socket is closed and what waited for it is dropped
	out   bool // the client has all, or wants nothing
	freed bool // it has no place in the table any more

	came   time.Time // when the target sent last
	noted  bool      // stands in the news,
	urgent bool      // and nobody should have to wait for it
}

func (b *linkStream) base() *linkStream { return b }

// free gives f's place in the table back, once it has neither socket nor bytes.
func (b *linkStream) free(f linkFlow) {
	if b.freed || !b.over || !b.out {
		return
	}
	b.freed = true
	b.l.live.Add(-1)
	b.l.use.streams.Add(-1)
	b.l.node.table.freed(f)
}

// admit gives f a place in the table, or resets its stream.
func (b *linkStream) admit(f linkFlow, start func()) bool {
	l := b.l
	err := l.node.table.addStream(f, l.use, start)
	if err != nil {
		b.refuse(err)
		return false
	}
	l.live.Add(1)
	l.use.streams.Add(1)
	l.use.opened.Add(1)
	b.s.User = f
	return true
}

// refuse resets a stream for a limit of the node's.
func (b *linkStream) refuse(err error) {
	b.l.node.count.refused.Add(1)
	code := link.Limited
	if err == errStopping {
		code = link.Stopping
	}
	b.s.Reset(code, err.Error())
}

func flowOf(s *link.Stream) linkFlow {
	f, _ := s.User.(linkFlow) // nil of one that was refused
	return f
}

// linkHandler is a linkEnd as its Conn sees it. The link's lock is held.
type linkHandler linkEnd

func (h *linkHandler) Open(s *link.Stream) {
	if s.UDP() {
		(*linkEnd)(h).openUDP(s)
		return
	}
	(*linkEnd)(h).openTCP(s)
}

func (h *linkHandler) Data(s *link.Stream, b *buf.Buf, p []byte) {
	if t, ok := s.User.(*linkTCP); ok {
		t.data(b, p)
		return
	}
	b.Release()
}

func (h *linkHandler) End(s *link.Stream, rst bool) {
	if t, ok := s.User.(*linkTCP); ok {
		t.clientEnded(rst)
	}
}

func (h *linkHandler) Reset(s *link.Stream, code link.Code, _ string) {
	if f := flowOf(s); f != nil {
		f.given(code)
	}
}

func (h *linkHandler) Over(s *link.Stream) {
	if f := flowOf(s); f != nil {
		f.left()
	}
}

func (h *linkHandler) Acked(s *link.Stream, n int) {
	if t, ok := s.User.(*linkTCP); ok {
		t.acked(n)
	}
}

func (h *linkHandler) Datagrams(s *link.Stream, _ *buf.Buf, pkts [][]byte) {
	if u, ok := s.User.(*linkUDP); ok {
		u.datagrams(pkts)
	}
}

func (h *linkHandler) Pull(s *link.Stream, room int) (*buf.Buf, []byte, bool) {
	u, ok := s.User.(*linkUDP)
	if !ok {
		return nil, nil, true
	}
	return u.pull(room)
}

func (h *linkHandler) Opened(*link.Stream)  {} // a client's
func (h *linkHandler) Usage(uint64, uint64) {} // likewise
