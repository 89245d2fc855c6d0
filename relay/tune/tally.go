package tune

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"relaymux/mux"
	"relaymux/relay"
	"relaymux/relay/account"
)

var (
	errSpent = errors.New("the budget is used up")
	errQuota = errors.New("a relay says that its quota is used up")
)

// A tally counts the exchanges, and lets no more leave than the budget has.
type tally struct {
	progress func(used int)

	mu      sync.Mutex
	used    int
	budget  int
	reserve int // of the budget, which may not be used now

	over context.CancelCauseFunc // of the trial under way
}

func newTally(budget int, progress func(int)) *tally {
	if progress == nil {
		progress = func(int) {}
	}
	return &tally{budget: budget, progress: progress, over: func(error) {}}
}

// take reports whether one more may leave. If not, the trial under way is over.
func (t *tally) take() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.used+t.reserve >= t.budget {
		t.over(errSpent)
		return false
	}
	t.used++
	t.progress(t.used)
	return true
}

func (t *tally) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used
}

func (t *tally) left() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.budget - t.used
}

// keep sets what is to be left of the budget.
func (t *tally) keep(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reserve = n
}

// trial returns a context that ends, with its cause, when no more may leave. One may
// be under way.
func (t *tally) trial(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = cancel
	return ctx, cancel
}

func (t *tally) stop(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over(err)
}

// A meter is a deployment's transport, of which each exchange is counted.
type meter struct {
	relay.Transport
	tally *tally
	quota *account.Account // may be nil

	mu     sync.Mutex
	answer int // bytes of the largest answer
}

// metered returns d's transport with its exchanges counted. What can pipe still can.
func metered(d *mux.Deployment, t *tally, quota *account.Account) (relay.Transport, *meter) {
	m := &meter{Transport: d.Transport, tally: t, quota: quota}
	if p, ok := d.Transport.(relay.Piper); ok {
		return &pipeMeter{m, p}, m
	}
	return m, m
}

// leave waits in vain where no more may leave: who asks is about to be stopped, and a
// failure would have him try again.
func (m *meter) leave(ctx context.Context) *relay.Failure {
	if !m.tally.take() {
		<-ctx.Done()
		return &relay.Failure{Kind: relay.Cancelled, Untouched: true, Detail: errSpent.Error()}
	}
	if m.quota != nil {
		m.quota.Spend(time.Now())
	}
	return nil
}

// Exchange implements relay.Transport.
func (m *meter) Exchange(ctx context.Context, x *relay.Exchange) error {
	if f := m.leave(ctx); f != nil {
		return f
	}
	before := len(x.Answer)
	err := m.Transport.Exchange(ctx, x)
	m.learn(err)
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.answer = max(m.answer, len(x.Answer)-before)
	}
	return err
}

// learn looks for the page of a used-up quota.
func (m *meter) learn(err error) {
	f, ok := errors.AsType[*relay.Failure](err)
	if !ok || f.Kind != relay.Quota {
		return
	}
	if m.quota != nil {
		m.quota.Exhausted(time.Now(), f.RetryAfter)
	}
	m.tally.stop(errQuota)
}

func (m *meter) largest() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.answer
}

// A pipeMeter is a meter of what can pipe; a pipe is one exchange.
type pipeMeter struct {
	*meter
	piper relay.Piper
}

// Pipe implements relay.Piper.
func (m *pipeMeter) Pipe(ctx context.Context, first []byte) (pipe io.ReadWriteCloser, err error) {
	if f := m.leave(ctx); f != nil {
		return nil, f
	}
	pipe, err = m.piper.Pipe(ctx, first)
	m.learn(err)
	return pipe, err
}
