package link

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// run lets steps things happen, then a calm end, and returns what went wrong.
func run(m *sim, steps int) (err error) {
	defer func() {
		if r := recover(); r != nil {
			text, ok := r.(string)
			if !ok {
				panic(r) // a fault of the program, with its stack, or rapid's own
			}
			err = errors.New(text)
		}
	}()
	for range steps {
		m.step()
	}
	m.pick = seeded(1) // nothing is left to chance
	return m.calm()
}

// Each byte once and in order, or a reset: 10^5 steps, 10^6 by RELAYMUX_SOAK.
func TestEveryByteOnce(t *testing.T) {
	steps := 100_000
	if os.Getenv("RELAYMUX_SOAK") != "" {
		steps = 1_000_000
	}
	if testing.Short() {
		steps = 10_000
	}
	const each = 500
	refused, restarts := 0, 0
	for seed := range steps / each {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			m := newSim(seeded(uint64(seed)))
			if err := run(m, each); err != nil {
				t.Error(err)
			}
			refused, restarts = refused+m.refused, restarts+m.restarts
		})
	}
	if refused == 0 || restarts == 0 {
		t.Errorf("%d records were refused, and there were %d restarts", refused, restarts)
	}
}

// The same with choices that rapid makes, and minimises.
func TestEveryByteOnceMinimised(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newSim(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") })
		if err := run(m, rapid.IntRange(1, 60).Draw(t, "steps")); err != nil {
			t.Fatal(err)
		}
	})
}
