package exit

import (
	"context"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"relaymux/mux/gso"
)

// yieldAgain is for how long a link is not told a second time that TCP would do
// better: its client may have no other way.
const yieldAgain = time.Hour

// A quicLoss watches the connection of a pipe, of which it may be nil.
type quicLoss struct {
	conn *quic.Conn
	loss gso.Loss
}

// lossOf returns what watches the connection of a request; nil if that is not by QUIC,
// or TCP would do no better.
func lossOf(ctx context.Context) *quicLoss {
	c, ok := ctx.Value(quicConn{}).(*quic.Conn)
	if !ok || ctx.Value(quicYields{}) == nil {
		return nil
	}
	return &quicLoss{conn: c}
}

// yields ends the connection if too many packets get lost, and reports whether it has.
func (q *quicLoss) yields(l *linkEnd) bool {
	if q == nil {
		return false
	}
	s := q.conn.ConnectionStats()
	if !q.loss.Lossy(s.PacketsSent, s.PacketsLost) {
		return false
	}
	l.mu.Lock()
	again := time.Since(l.yielded) < yieldAgain
	if !again {
		l.yielded = time.Now()
	}
	l.mu.Unlock()
	if again {
		return false
	}
	l.node.log.Debug("a connection by QUIC yields to TCP", "client", l.client, "sent", s.PacketsSent, "lost", s.PacketsLost)
	_ = q.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeVersionFallback), "")
	return true
}
