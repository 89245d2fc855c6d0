package relay

import (
	"sync/atomic"
	"time"
)

// An Exchange is one request and what becomes of it. Its owner may reuse it,
// after Reset, once Transport.Exchange has returned.
type Exchange struct {
	// Body is the request. A Transport borrows it: once its Exchange has
	// returned, nothing reads Body any more, also when it failed.
	Body []byte

	// Answer is what the answer is appended to, and the grown slice
	// afterwards. It belongs to the caller. What a failed exchange appended is
	// meaningless.
	Answer []byte

	// Claim, if it is not nil, is asked for memory as the answer comes, n bytes at a time;
	// false ends the exchange. All relays together must not send more than there is room for.
	Claim func(n int) bool

	// Binary: Body is a message of the link, and goes as it is, as
	// application/octet-stream to the link's path. Else it is the JSON wire's.
	Binary bool

	Progress
}

// Reset makes x as good as new. Nobody may still look at its Progress.
func (x *Exchange) Reset() {
	x.Body, x.Answer, x.Claim, x.Binary = nil, nil, nil, false
	x.Progress.reset()
}

// Progress is how far an exchange has come. Its transport writes it, while
// anybody may look. What has not happened yet is false. All times have a
// monotonic reading, so that their differences are durations.
type Progress struct {
	began time.Time // written before begun, and not again
	begun atomic.Bool

	// Nanoseconds since began, plus 1: 0 is not yet.
	wrote, first, moved, ended atomic.Int64

	twice atomic.Bool
}

// Began is when the exchange was given to its transport.
func (p *Progress) Began() (time.Time, bool) {
	if !p.begun.Load() {
		return time.Time{}, false
	}
	return p.began, true
}

// Wrote is when the last byte of the request was handed down. The system may
// still hold a socket buffer full of it. It may stay unknown: an answer may come
// before the request is wholly written, or before that is noticed.
func (p *Progress) Wrote() (time.Time, bool) { return p.at(&p.wrote) }

// First is when the answer began to come: the final one, to which a script's
// redirect leads.
func (p *Progress) First() (time.Time, bool) { return p.at(&p.first) }

// Moved is when bytes moved last, of the request or of the answer.
func (p *Progress) Moved() (time.Time, bool) { return p.at(&p.moved) }

// Ended is when the exchange was over, well or not. From First to Ended the
// answer's body took the way down.
func (p *Progress) Ended() (time.Time, bool) { return p.at(&p.ended) }

// Twice reports whether the request may have come to the node more than once: its
// transport has tried another way. The answer to one of them may have got lost then.
func (p *Progress) Twice() bool { return p.twice.Load() }

func (p *Progress) at(mark *atomic.Int64) (time.Time, bool) {
	since := mark.Load()
	if since == 0 {
		return time.Time{}, false
	}
	return p.began.Add(time.Duration(since - 1)), true
}

// Begin is a transport's first act; a second one, of who tries another way, changes
// nothing. The others below follow it; a transport calls none of them once its
// Exchange has returned.
func (p *Progress) Begin() {
	if p.begun.Load() {
		return
	}
	p.began = time.Now()
	p.begun.Store(true)
}

// SetTwice says that what may have been carried out goes once more.
func (p *Progress) SetTwice() { p.twice.Store(true) }

// SetWrote says that the request is wholly written.
func (p *Progress) SetWrote() { p.mark(&p.wrote) }

// SetFirst says that the final answer begins to come.
func (p *Progress) SetFirst() {
	p.mark(&p.first)
	p.SetMoved()
}

// SetMoved says that bytes have moved.
func (p *Progress) SetMoved() { p.mark(&p.moved) }

// End says that the exchange is over.
func (p *Progress) End() { p.mark(&p.ended) }

func (p *Progress) mark(m *atomic.Int64) { m.Store(int64(time.Since(p.began)) + 1) }

func (p *Progress) reset() {
	p.begun.Store(false)
	p.twice.Store(false)
	p.began = time.Time{}
	for _, m := range [...]*atomic.Int64{&p.wrote, &p.first, &p.moved, &p.ended} {
		m.Store(0)
	}
}
