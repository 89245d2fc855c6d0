// Package dns answers the DNS queries of this machine's programs by asking a server
// through the tunnel: those that look names up themselves, and would else tell the
// network where they go.
//
// Queries of any number share one connection of TCP to the server, as RFC 7766 has it,
// since a relay loses datagrams and answers one by one; what comes first is answered
// first. An answer is kept for as long as it says.
//
//	serve.go     sockets       dns.go       from a query to its answer
//	message.go   the wire      upstream.go  the connection to the server
//	cache.go     what was answered  room.go  who has to stand back
package dns

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

const (
	// patience is how long a program waits: resolv.conf(5) has it ask again, or
	// another server, after 5 s. It hears of the failure before.
	patience = 4500 * time.Millisecond

	// askLimit is how long the server has. What comes after patience is there when the
	// program asks again.
	askLimit = 15 * time.Second

	// maxQueries may wait for the server at the same time, of all programs, and
	// maxQueriesOf of one source: a forwarder for a whole network sends as many as that
	// (dnsmasq 150, if nothing else is set).
	maxQueries   = 1000
	maxQueriesOf = 250

	// complaintEvery is the shortest time between two log lines about failures.
	complaintEvery = 10 * time.Second
)

// Config is what a Server is made of.
type Config struct {
	// Dial leads through the tunnel, and returns at once, as mux.Mux's does.
	Dial func(ctx context.Context, host string, port uint16) (net.Conn, error)

	// Host and Port are the server that is asked. A name is looked up at the node.
	Host string
	Port uint16

	Log *slog.Logger // may be nil
}

// A Server answers queries. Its Serve methods may be called for several sockets.
type Server struct {
	log    *slog.Logger
	up     *upstream
	cache  *cache
	asking singleflight.Group

	failed, short rate.Sometimes // sample the log

	waiting waiting
	clients clients

	ctx  context.Context
	stop context.CancelFunc

	mu     sync.Mutex // guards that nothing is added to work after stop
	closed bool
	work   sync.WaitGroup
}

// New returns a Server that serves nothing yet.
func New(c Config) *Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		log: c.Log, cache: newCache(cacheEntries, cacheBytes),
		failed: rate.Sometimes{First: 1, Interval: complaintEvery}, short: rate.Sometimes{First: 1, Interval: complaintEvery},
		waiting: waiting{by: make(map[netip.Prefix]int)}, clients: clients{open: make(map[*client]struct{})},
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.up = &upstream{dial: func(ctx context.Context) (net.Conn, error) { return c.Dial(ctx, c.Host, c.Port) }}
	return s
}

// Close ends the Serves and everything that they have begun.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.up.close()
	s.work.Wait()
}

// start runs f on a goroutine for which Close waits, unless it has begun to.
func (s *Server) start(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.work.Go(f)
	}
	return !s.closed
}

// reply answers one message of source, with at most limit bytes if that is not 0, or else
// the word that it was cut. It returns nil for what is not to be answered at all.
func (s *Server) reply(source netip.Addr, msg []byte, limit int) []byte {
	q, code, ok := parseQuery(msg)
	switch {
	case !ok:
		return nil
	case code != success:
		return q.verdict(code, false)
	}
	answer := s.answer(source, q)
	if answer == nil {
		return q.verdict(serverFailure, false)
	}
	if limit > 0 && len(answer) > min(limit, q.size) {
		return q.verdict(success, true)
	}
	return answer
}

// answer returns the answer to q, nil if there is none within patience, or too many wait
// for theirs already.
func (s *Server) answer(source netip.Addr, q *query) []byte {
	key := q.key()
	if a, age := s.cache.get(key); a != nil {
		return q.own(a, age)
	}
	if !s.waiting.enter(source) {
		return nil
	}
	defer s.waiting.leave(source)
	came := s.asking.DoChan(key, func() (any, error) { return s.ask(key, q) })
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case r := <-came:
		if r.Err == nil {
			return q.own(r.Val.([]byte), 0)
		}
	case <-late.C:
	case <-s.ctx.Done():
	}
	return nil
}

// ask has the server answer q, and keeps what it says.
func (s *Server) ask(key string, q *query) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.ctx, askLimit)
	defer cancel()
	a, err := s.up.exchange(ctx, q)
	if err != nil {
		s.log.Debug("DNS query failed", "name", q.name(), "err", err)
		if s.ctx.Err() == nil {
			s.failed.Do(func() { s.log.Warn("the DNS server does not answer", "err", err) })
		}
		return nil, err
	}
	s.cache.put(key, a, lifetime(a))
	return a, nil
}
