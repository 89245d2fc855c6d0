package exit

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"relaymux/mux/buf"
)

// Limits of the HTTP/3 listener, beside those of server.go.
const (
	// quicConns are connections at a time. Strangers can have all of them, which
	// leaves TCP; they then pin quicConns times the first window, 256 MiB, if each
	// sends all of it but the first byte.
	quicConns = 1024

	// freeHandshakes are begun per second without asking for proof of the
	// client's address, which costs it a round trip (Retry, RFC 9000 section
	// 8.1.2): an answer to a hello is three times as long.
	freeHandshakes = 100

	quicSilence = 30 * time.Second // clients keep connections alive every 15 s

	// A connection begins with a window of some times what TCP and QUIC begin to
	// send (40 KB). It grows as fast as the sender does, up to a request of the
	// largest size and one behind it; see grants. A stream may fill it at once.
	firstWindow       = 256 << 10
	lastWindow        = 24 << 20
	firstStreamWindow = 4<<20 + 64<<10 // a full request of max_bytes
	lastStreamWindow  = maxBody + 64<<10
)

func (q *quicServer) config() *quic.Config {
	return &quic.Config{
		Versions:                       []quic.Version{quic.Version1},
		MaxIdleTimeout:                 quicSilence,
		MaxIncomingStreams:             requestsOfConn,
		MaxIncomingUniStreams:          8, // control, and two of QPACK
		InitialStreamReceiveWindow:     firstStreamWindow,
		MaxStreamReceiveWindow:         lastStreamWindow,
		InitialConnectionReceiveWindow: firstWindow,
		MaxConnectionReceiveWindow:     lastWindow,
		AllowConnectionWindowIncrease:  q.grants.grow,
		Allow0RTT:                      true,
	}
}

var errQUICConns = errors.New("too many connections")

// enter counts a connection, until its context ends.
func (q *quicServer) enter(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	if q.conns.Add(1) > quicConns {
		q.conns.Add(-1)
		return nil, errQUICConns
	}
	context.AfterFunc(ctx, func() { q.conns.Add(-1) })
	return ctx, nil
}

// watch gives requests their connection, and its windows back when it ends.
func (q *quicServer) watch(ctx context.Context, c *quic.Conn) context.Context {
	context.AfterFunc(c.Context(), func() { q.grants.ended(c) })
	if q.yield {
		ctx = context.WithValue(ctx, quicYields{}, true)
	}
	ctx = context.WithValue(ctx, guestKey{}, new(guest))
	return context.WithValue(ctx, quicConn{}, c)
}

// grants bounds by how much the windows of all connections may have grown
// together: that much may lie in them unread.
type grants struct {
	budget *buf.Budget

	mu    sync.Mutex
	grown map[*quic.Conn]int
}

func newGrants(limit int64) grants {
	return grants{budget: buf.NewBudget(limit), grown: make(map[*quic.Conn]int)}
}

// grow is a quic.Config's AllowConnectionWindowIncrease. The connection calls it
// while it runs, so never after ended.
func (g *grants) grow(c *quic.Conn, delta uint64) bool {
	if !g.budget.Try(int(delta)) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.grown[c] += int(delta)
	return true
}

func (g *grants) ended(c *quic.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.budget.Return(g.grown[c])
	delete(g.grown, c)
}
