package fronted

import (
	"context"
	"fmt"
	"sync"
	"time"

	"relaymux/relay"
)

// phase is how far an exchange has come.
type phase uint8

const (
	waiting   phase = iota // for a connection, a pooled or a new one
	sending                // the request, ends when all of it is written
	answering              // until the head of the last answer, across redirects
	receiving              // the body of the answer
)

var phaseText = [...]string{
	waiting: "no connection", sending: "sending the request stalled",
	answering: "no answer", receiving: "the answer stalled",
}

// limits are the longest that an exchange may stay without progress, by phase.
type limits [receiving + 1]time.Duration

// limitsOf derives the limits from the one number that is configured. A body in
// motion has no limit of its own: a slow last mile is slow, not broken, so
// only the gaps in it count.
func limitsOf(exchange time.Duration) limits {
	gap := stepLimit(exchange)
	return limits{waiting: exchange, sending: gap, answering: exchange, receiving: gap}
}

// stepLimit bounds a step that needs a few round trips and no waiting for data:
// name, connect and TLS of a connection; the next bytes of a body. A third
// leaves time for another attempt elsewhere; 10 s is what a TCP handshake
// takes that lost three SYNs (1 + 2 + 4 s, RFC 6298 section 2).
func stepLimit(exchange time.Duration) time.Duration { return min(10*time.Second, exchange/3) }

// overdue is the cause of a context that a watch has cancelled.
type overdue struct {
	phase phase
	limit time.Duration
}

func (o *overdue) Error() string {
	return fmt.Sprintf("%s for %v", phaseText[o.phase], o.limit)
}

// watch cancels an exchange that stays too long in one phase, and notes its
// progress. The parts of net/http run side by side and may outlive an exchange:
// what they say after stop counts no more.
type watch struct {
	limits limits
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	phase    phase
	timer    *time.Timer
	progress *relay.Progress // borrowed until stop, then nil
}

// newWatch starts to watch an exchange under the context it returns.
func newWatch(ctx context.Context, l limits, p *relay.Progress) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{limits: l, cancel: cancel, progress: p}
	w.timer = time.AfterFunc(l[waiting], w.expire)
	return ctx, w
}

func (w *watch) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancel(&overdue{w.phase, w.limits[w.phase]})
}

// enter says that the exchange has come to phase p. A word that comes late,
// about an earlier phase, is ignored.
func (w *watch) enter(p phase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(p)
}

// advance is enter; the caller holds the lock.
func (w *watch) advance(p phase) {
	if p > w.phase && w.progress != nil {
		w.phase = p
		w.timer.Reset(w.limits[p])
	}
}

// wrote says that the writing of the request has ended, wholly if err is nil.
func (w *watch) wrote(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(answering)
	if err == nil && w.progress != nil {
		w.progress.SetWrote()
	}
}

// moved says that bytes of phase p have moved.
func (w *watch) moved(p phase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.progress == nil {
		return
	}
	w.progress.SetMoved()
	if p == w.phase {
		w.timer.Reset(w.limits[p])
	}
}

// leave ends the watch, and leaves its context.
func (w *watch) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress = nil
	w.timer.Stop()
}

// stop ends the watch and its context.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress = nil
	w.timer.Stop()
	w.cancel(context.Canceled)
}
