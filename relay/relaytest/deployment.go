package relaytest

import (
	"math/rand/v2"
	"sync"
	"time"
)

// deployment is the state of one deployment of a Relay.
type deployment struct {
	id    string
	faces *faces // of its kind

	mu       sync.Mutex
	knobs    Knobs
	stats    Stats
	rnd      *rand.Rand
	lastUsed time.Time
}

// newDeployment is a script's, as the n-th of all.
func newDeployment(seed, n uint64) *deployment {
	return &deployment{faces: &ofScript, rnd: rand.New(rand.NewPCG(seed, n))}
}

func (d *deployment) set(change func(*Knobs)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.knobs)
}

func (d *deployment) now() Knobs {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.knobs
}

// draw is the knobs as they are now, and what chance makes of them.
func (d *deployment) draw() (Knobs, fate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.knobs, d.knobs.draw(d.rnd)
}

// acquire takes a slot and says how long the script takes to start, or that
// there is none.
func (d *deployment) acquire(k *Knobs) (start time.Duration, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k.Slots > 0 && d.stats.InFlight >= k.Slots {
		return 0, false
	}
	d.stats.InFlight++
	d.stats.Peak = max(d.stats.Peak, d.stats.InFlight)
	now := time.Now()
	cold := d.lastUsed.IsZero() || k.ColdAfter > 0 && now.Sub(d.lastUsed) >= k.ColdAfter
	d.lastUsed = now
	if cold {
		start = k.ColdStart
	}
	return start, true
}

func (d *deployment) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.InFlight--
	d.lastUsed = time.Now()
}

// note changes the counters.
func (d *deployment) note(change func(*Stats)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.stats)
}

// total adds the counters to sum.
func (d *deployment) total(sum *Stats) {
	d.mu.Lock()
	defer d.mu.Unlock()
	sum.add(d.stats)
}
