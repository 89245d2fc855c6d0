package link

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// run lets things happen, steps at most, as long as there is more of them, then a calm
// end, and returns what went wrong.
func run(m *sim, steps int, more func() bool) (err error) {
	defer func() {
		if r := recover(); r != nil {
			text, ok := r.(string)
			if !ok {
				panic(r) // a fault of the program, with its stack, or rapid's own
			}
			err = errors.New(text)
		}
	}()
	for i := 0; i < steps && (more == nil || more()); i++ {
		m.step()
	}
	m.pick = seeded(1) // nothing is left to chance
	return m.calm()
}

// FuzzBothEnds is TestEveryByteOnce with the input as what decides.
func FuzzBothEnds(f *testing.F) {
	for seed := range uint64(8) {
		pick, in := seeded(seed), make([]byte, 300*(1+seed%3))
		for i := range in {
			in[i] = byte(pick(256))
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m := newSim(func(n int) int {
			x := 0
			for bits := n - 1; bits > 0 && len(in) > 0; bits >>= 8 {
				x, in = x<<8|int(in[0]), in[1:]
			}
			return x % n
		})
		if err := run(m, 500, func() bool { return len(in) > 0 }); err != nil {
			t.Error(err)
		}
	})
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
	refused, forged, restarts := 0, 0, 0
	for seed := range steps / each {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			m := newSim(seeded(uint64(seed)))
			if err := run(m, each, nil); err != nil {
				t.Error(err)
			}
			refused, forged, restarts = refused+m.refused, forged+m.forged, restarts+m.restarts
		})
	}
	if refused == 0 || forged == 0 || restarts == 0 {
		t.Errorf("%d records were refused, %d forged, and there were %d restarts", refused, forged, restarts)
	}
}

// The same with choices that rapid makes, and minimises.
func TestEveryByteOnceMinimised(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newSim(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") })
		if err := run(m, rapid.IntRange(1, 60).Draw(t, "steps"), nil); err != nil {
			t.Fatal(err)
		}
	})
}
