package exit

import (
	"context"
	"errors"
	"testing"
	"time"

	"relaymux/mux/secret"
)

// TestNodeSettings: what may be dialled, and how much, changes while the node is at work;
// what is wrong changes nothing.
func TestNodeSettings(t *testing.T) {
	t.Parallel()
	n, err := New(Config{Key: secret.New(testKey), Streams: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	denied := func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // nothing is to be dialled, only asked for
		_, err := n.dialer.DialContext(ctx, "tcp", "target.test:25")
		return isDenied(err)
	}
	if !denied() {
		t.Error("mail is open")
	}
	if err := n.SetPolicy(Policy{Allow: []string{"target.test:25"}}); err != nil || denied() {
		t.Errorf("mail is closed, %v", err)
	}
	if err := n.SetPolicy(Policy{Deny: []string{"target.test/99"}}); err == nil || denied() {
		t.Errorf("a rule that is none is taken: %v", err)
	}
	n.SetLimits(Limits{Streams: 10, DialsPerSecond: 2})
	if n.table.most != 10 || n.sockets.most != 5 || !n.dials.AllowN(time.Now(), 2) || n.dials.AllowN(time.Now(), 2) {
		t.Errorf("%d sessions, %d sockets, or another rate", n.table.most, n.sockets.most)
	}
	n.SetLimits(Limits{Streams: 10})
	if !n.dials.AllowN(time.Now(), 1000) {
		t.Error("no limit is one")
	}
}

// TestNodeAlive: a node is alive unless something that requests wait for is never let go.
func TestNodeAlive(t *testing.T) {
	t.Parallel()
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		if err := r.node.Alive(t.Context()); err != nil {
			t.Error(err)
		}
		l := r.node.links.find(c.keys.ID())
		over, cancel := context.WithCancel(t.Context())
		cancel()
		l.mu.Lock()
		err := r.node.Alive(over)
		l.mu.Unlock()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a link that hangs: %v", err)
		}
		if err := r.node.Alive(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
