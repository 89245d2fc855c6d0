package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// rowLimit is how long a row may take. One that takes longer fails: its processes
// are killed, which ends all that waits for them.
const rowLimit = 60 * time.Second

// A bench is one run: each way goes its rows in each round, on new processes.
type bench struct {
	programs programs
	ways     []way
	rows     []row
	rounds   int
	size     int64
	time     time.Duration
	idle     int
	progress io.Writer

	samples samples
}

// samples are the values of the rounds, by figure and way.
type samples map[string]map[string][]float64

func (s samples) add(figure, way string, value float64) {
	if s[figure] == nil {
		s[figure] = make(map[string][]float64)
	}
	s[figure][way] = append(s[figure][way], value)
}

// run fills the samples. An error is all that failed; what did not is there.
func (b *bench) run(ctx context.Context) error {
	b.samples = make(samples)
	together, alone := b.split()
	var failed []error
	for round := range b.rounds {
		for _, w := range b.ways {
			fmt.Fprintf(b.progress, "round %d of %d: %s\n", round+1, b.rounds, w.name)
			for _, r := range alone {
				failed = append(failed, b.take(ctx, w, []row{r}))
			}
			failed = append(failed, b.take(ctx, w, together))
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return errors.Join(failed...)
}

func (b *bench) split() (together, alone []row) {
	for _, r := range b.rows {
		if r.alone {
			alone = append(alone, r)
		} else {
			together = append(together, r)
		}
	}
	return together, alone
}

// take has a way go rows, one after another, up to the first that fails: the others
// would say nothing, on processes that may be gone.
func (b *bench) take(ctx context.Context, w way, rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	r, err := w.open(ctx, &b.programs, b.idle)
	if err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	defer r.close()
	for _, each := range rows {
		if err := b.turn(ctx, w, r, each); err != nil {
			return fmt.Errorf("%s: %s: %w", w.name, each.name, r.explain(err))
		}
	}
	return nil
}

func (b *bench) turn(ctx context.Context, w way, r *route, each row) error {
	ctx, cancel := context.WithTimeoutCause(ctx, rowLimit, fmt.Errorf("not done after %v", rowLimit))
	defer cancel()
	defer context.AfterFunc(ctx, r.close)()
	taken := make(map[string]float64)
	err := each.run(&turn{
		route: r, programs: &b.programs, ctx: ctx, size: b.size, time: b.time,
		note: func(figure string, value float64) { taken[figure] = value },
	})
	if ctx.Err() != nil {
		return context.Cause(ctx) // which explains err
	}
	if err == nil {
		for figure, value := range taken {
			b.samples.add(figure, w.name, value)
		}
	}
	return err
}
