package exit

import (
	"context"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"relaymux/mux/gso"
)

// A client that was told that TCP would do better, and is back by QUIC within
// yieldTaken, may have missed it; one that does so more often than yieldTries has no
// other way, and is not told again for yieldAgain.
const (
	yieldTaken = 5 * time.Minute
	yieldTries = 2
	yieldAgain = time.Hour
)

// A quicLoss watches the connection of a pipe. It may be nil.
type quicLoss struct {
	conn *quic.Conn
	l    *linkEnd
	loss gso.Loss
}

// lossOf returns what watches the connection of a request that begins a pipe of l; nil
// if that is not by QUIC, TCP would do no better, or l is to be spared.
func lossOf(ctx context.Context, l *linkEnd) *quicLoss {
	c, ok := ctx.Value(quicConn{}).(*quic.Conn)
	if !ok || ctx.Value(quicYields{}) == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.yieldedInVain >= yieldTries && time.Since(l.yielded) < yieldAgain {
		return nil
	}
	return &quicLoss{conn: c, l: l}
}

// yields ends the connection if too many packets get lost, and reports whether it has.
func (q *quicLoss) yields() bool {
	if q == nil {
		return false
	}
	s := q.conn.ConnectionStats()
	if !q.loss.Lossy(s.PacketsSent, s.PacketsLost) {
		return false
	}
	q.l.yields()
	q.l.node.log.Debug("a connection by QUIC yields to TCP", "client", q.l.client, "sent", s.PacketsSent, "lost", s.PacketsLost)
	_ = q.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeVersionFallback), "")
	return true
}

func (l *linkEnd) yields() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.yielded) < yieldTaken {
		l.yieldedInVain++
	} else {
		l.yieldedInVain = 0
	}
	l.yielded = now
}
