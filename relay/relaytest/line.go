package relaytest

import (
	"context"
	"io"
	"net/http"
	"slices"

	"golang.org/x/time/rate"
)

// line is one direction of the client's line to the internet.
type line struct{ limiter *rate.Limiter }

func newLine() *line { return &line{rate.NewLimiter(rate.Inf, 0)} }

// set bounds the line to so many bytes per second, 0 is no bound. It is in
// pieces of 20 ms: short beside any delay here, long beside a timer's grain.
func (l *line) set(bytesPerSecond int) {
	if bytesPerSecond <= 0 {
		l.limiter.SetLimit(rate.Inf)
		return
	}
	l.limiter.SetBurst(max(512, bytesPerSecond/50))
	l.limiter.SetLimit(rate.Limit(bytesPerSecond))
}

func (l *line) bounded() bool { return l.limiter.Limit() != rate.Inf }

// piece is how many of n bytes may go at once.
func (l *line) piece(n int) int {
	if !l.bounded() {
		return n
	}
	return min(n, l.limiter.Burst())
}

// pass waits until n bytes, at most a piece, have had their time. If set made
// pieces smaller meanwhile they pass for free.
func (l *line) pass(ctx context.Context, n int) error {
	_ = l.limiter.WaitN(ctx, n)
	return ctx.Err()
}

// write sends p and returns how much of it went.
func (l *line) write(ctx context.Context, w http.ResponseWriter, p []byte) (int, error) {
	flusher := http.NewResponseController(w)
	sent := 0
	for sent < len(p) {
		piece := p[sent : sent+l.piece(len(p)-sent)]
		if err := l.pass(ctx, len(piece)); err != nil {
			return sent, err
		}
		n, err := w.Write(piece)
		sent += n
		if err != nil {
			return sent, err
		}
		if l.bounded() {
			_ = flusher.Flush() // a failure shows in the next Write
		}
	}
	return sent, nil
}

// read appends all of body to p.
func (l *line) read(ctx context.Context, body io.Reader, p *[]byte) error {
	for {
		if len(*p) == cap(*p) {
			*p = slices.Grow(*p, max(512, len(*p)))
		}
		n, err := body.Read((*p)[len(*p):][:l.piece(cap(*p)-len(*p))])
		*p = (*p)[:len(*p)+n]
		if late := l.pass(ctx, n); late != nil {
			return late
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
