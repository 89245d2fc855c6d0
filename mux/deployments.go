package mux

import (
	"context"
	"fmt"
	"slices"
	"time"

	"relaymux/mux/stats"
)

// A Batching is how ops are gathered into batches.
type Batching struct {
	MaxOps       int // as in Config
	MaxBytes     int // encoded bytes of one body
	CoalesceStep time.Duration
	CoalesceMax  time.Duration
}

// SetBatching has m gather by b from now on.
func (m *Mux) SetBatching(b Batching) {
	how := pacing{step: b.CoalesceStep, max: b.CoalesceMax, maxOps: b.MaxOps}
	m.loop.lane.tell(func() { m.loop.pacing, m.loop.maxBytes = how, b.MaxBytes })
	if l := m.link; l != nil {
		l.lane.tell(func() { l.pacing, l.maxBytes = how, b.MaxBytes })
	}
}

// SetDeployments has m use those of list, at least one, from now on, and nothing if it
// is being closed. One whose Transport m has already is the same as before, with all
// that m has learned of it. The others that m had take no new exchange; when the last
// that is under way has ended, left is called for each, on a goroutine of its own, and
// may close its transport.
//
// Flows are no deployment's, and go on. Only where none is left for the wire that they
// go by, they end.
func (m *Mux) SetDeployments(list []Deployment, left func(Deployment)) {
	var plain, linked []Deployment
	for _, d := range list {
		if d.Link && m.link != nil {
			linked = append(linked, d)
		} else {
			plain = append(plain, d)
		}
	}
	m.loop.lane.tell(func() { m.loop.setDeployments(plain, left) })
	if l := m.link; l != nil {
		l.lane.tell(func() { l.setDeployments(linked, left) })
	}
}

// tell has change called while the loop stands still, and reports whether it was: not
// once the loop has ended.
func (ln *lane) tell(change func()) bool {
	done := make(chan struct{})
	select {
	case ln.look <- func() { change(); close(done) }:
		<-done
		return true
	case <-ln.gone:
		return false
	}
}

// replace returns what list stands for: deployments of old, and new ones. What is left
// of old takes no new exchange.
func replace(old []*deployment, list []Deployment, left func(Deployment)) (ds, added []*deployment) {
	stays := make(map[*deployment]bool)
	for _, d := range list {
		i := slices.IndexFunc(old, func(o *deployment) bool { return o.Transport == d.Transport })
		if i >= 0 {
			stays[old[i]] = true
			ds = append(ds, old[i])
			continue
		}
		if d.Stats == nil {
			d.Stats = new(stats.Deployment)
		}
		added = append(added, &deployment{Deployment: d})
		ds = append(ds, added[len(added)-1])
	}
	for _, d := range old {
		if !stays[d] {
			d.left = left
			d.ended()
		}
	}
	return ds, added
}

// ended is called when an exchange through d has ended: the last of a deployment that
// is no more.
func (d *deployment) ended() {
	if d.left != nil && d.inFlight == 0 {
		go d.left(d.Deployment)
		d.left = nil
	}
}

// setDeployments is Mux.SetDeployments of the JSON wire.
func (l *loop) setDeployments(list []Deployment, left func(Deployment)) {
	l.ds, _ = replace(l.ds, list, left)
	l.lane.ways.Store(int32(len(l.ds)))
	if len(l.ds) > 0 {
		return
	}
	for _, f := range l.m.all(l.lane) {
		f.side.fail(l.down())
		l.letGo(f) // its close finds no way either
	}
}

// setDeployments is Mux.SetDeployments of the link.
func (l *linkLoop) setDeployments(list []Deployment, left func(Deployment)) {
	now := time.Now()
	var added []*deployment
	l.ds, added = replace(l.ds, list, left)
	for _, d := range added {
		d.begin()
	}
	if len(added) > 0 {
		l.pipeAt = time.Time{} // perhaps it lets one through
		l.again, l.tries = now, 0
	}
	l.lane.ways.Store(int32(len(l.ds)))
	l.rest(now)
	if !slices.Contains(l.ds, l.claims) {
		l.claims = nil
	}
	if p := l.pipe; p != nil && !slices.Contains(l.ds, p.d) {
		l.endPipe()
	}
	// Nothing that led to the node is left: the others may lead to another one.
	if !slices.ContainsFunc(l.ds, func(d *deployment) bool { return d.reached }) {
		l.known = false
	}
	if len(l.ds) > 0 {
		return
	}
	l.failing = now
	for _, f := range l.m.all(l.lane) {
		f.side.fail(l.down())
		l.attend(f)
	}
}

// Alive returns nil as soon as both loops, without which nothing goes on, have answered,
// or else when ctx is done an error. Loops that have ended need not answer.
func (m *Mux) Alive(ctx context.Context) error {
	if err := m.loop.lane.answers(ctx); err != nil || m.link == nil {
		return err
	}
	return m.link.lane.answers(ctx)
}

func (ln *lane) answers(ctx context.Context) error {
	select {
	case ln.look <- func() {}:
	case <-ln.gone:
	case <-ctx.Done():
		return fmt.Errorf("the loop of the mux does not answer: %w", context.Cause(ctx))
	}
	return nil
}
