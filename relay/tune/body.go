package tune

import (
	"context"
	"fmt"
	"time"

	"relaymux/config"
	"relaymux/relay"
)

// Bodies are looked for between these, as max_bytes may be, and as closely as bodyGrain.
const (
	bodyLeast = 64 << 10
	bodyMost  = 16 << 20
	bodyGrain = 64 << 10
	bodySteps = 2 // of halving what lies between the largest that got through and the smallest that did not
)

// A Body is the largest request that gets through.
type Body struct {
	Asked  int     `json:"asked"`          // bytes, as max_bytes allows
	Passed int     `json:"passed"`         // the largest that got through
	Failed int     `json:"failed"`         // the smallest that did not; 0: all did
	Why    string  `json:"why,omitempty"`  // it did not
	Speed  float64 `json:"bytes_a_second"` // at which the largest went; 0: not known
}

// sizeBodies measures each deployment.
func (t *tuner) sizeBodies(ctx context.Context) error {
	for _, w := range t.ways {
		b, err := w.size(ctx, t.inUse.MaxBytes)
		if err != nil {
			return err
		}
		w.found.Body = b
		t.up = max(t.up, b.Speed)
	}
	return nil
}

// size goes down in halves from what is in use, and up again in steps: limits of
// relays are mostly round.
func (w *way) size(ctx context.Context, most int) (*Body, error) {
	b := &Body{Asked: most}
	for n := most; n >= bodyLeast; n /= 2 {
		if err := w.try(ctx, b, n); err != nil {
			return nil, err
		}
		if b.Passed > 0 {
			break
		}
	}
	for range bodySteps {
		n := (b.Passed + b.Failed) / 2 / bodyGrain * bodyGrain
		if b.Passed == 0 || b.Failed == 0 || n <= b.Passed {
			break
		}
		if err := w.try(ctx, b, n); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// try sends a body of n bytes, twice if something happens to the first that another
// size may not be the cure for.
func (w *way) try(ctx context.Context, b *Body, n int) error {
	for again := range 2 {
		r, err := w.once(ctx, request{size: n})
		switch {
		case err != nil:
			return err
		case r.failure == nil:
			b.Passed = n
			if moved := r.took - w.found.RTT; moved > w.found.Most-w.found.Least && moved > 0 {
				b.Speed = float64(n) / moved.Seconds()
			}
			return nil
		}
		b.Why = words(r.failure)
		if r.failure.Kind == relay.TooLarge || again > 0 {
			break
		}
		if !pause(ctx, min(max(r.failure.RetryAfter, time.Second), 30*time.Second)) {
			return ctx.Err()
		}
	}
	b.Failed = n
	return nil
}

// few reports whether max_bytes is more than gets through.
func (b *Body) few() bool { return b != nil && b.Passed > 0 && b.Failed > 0 }

func (b *Body) String() string {
	switch {
	case b == nil:
		return "-"
	case b.Passed == 0:
		return "below " + config.Size(bodyLeast).String()
	case b.Failed == 0:
		return fmt.Sprintf("%v or more", config.Size(b.Passed))
	}
	return fmt.Sprintf("%v, not %v", config.Size(b.Passed), config.Size(b.Failed))
}
