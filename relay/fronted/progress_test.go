package fronted_test

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/relay"
	"relaymux/relay/fronted"
	"relaymux/relay/relaytest"
)

// wantProgress compares what is known with what has happened, in seconds after
// the exchange began; -1 is not yet.
func wantProgress(t *testing.T, x *relay.Exchange, wrote, first, moved, ended int) {
	t.Helper()
	began, _ := x.Began()
	for _, m := range []struct {
		name string
		get  func() (time.Time, bool)
		want int
	}{{"wrote", x.Wrote, wrote}, {"first", x.First, first}, {"moved", x.Moved, moved}, {"ended", x.Ended, ended}} {
		at, ok := m.get()
		if got := at.Sub(began); ok != (m.want >= 0) || ok && got != time.Duration(m.want)*time.Second {
			t.Errorf("after %v: %s at %v, %v; want %d s", time.Since(began), m.name, got, ok, m.want)
		}
	}
}

// TestProgress: a server takes 4 MiB in three steps, thinks, and answers in three
// steps; a caller who looks on sees how far that has come.
func TestProgress(t *testing.T) {
	for _, version := range []string{"1.1", "2"} {
		inTime(t, 11*time.Second, func(r *rig) {
			r.serve(server, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				for range 2 {
					_, _ = io.ReadFull(req.Body, make([]byte, 1<<20))
					time.Sleep(2 * time.Second) // virtual
				}
				_, _ = io.Copy(io.Discard, req.Body)
				time.Sleep(time.Second)
				w.Header().Set("Content-Type", "application/octet-stream")
				for range 3 {
					_, _ = io.WriteString(w, "x")
					_ = http.NewResponseController(w).Flush()
					time.Sleep(2 * time.Second)
				}
			}))
			tr := r.transport(node, func(c *fronted.Config) { c.HTTP = version })
			x := relay.Exchange{Body: make([]byte, 4<<20), Binary: true}
			done := make(chan error, 1)
			go func() { done <- tr.Exchange(r.Context(), &x) }()
			for _, s := range []struct{ wrote, first, moved int }{
				0: {-1, -1, 0}, 1: {-1, -1, 0}, 2: {-1, -1, 2}, 3: {-1, -1, 2}, 4: {4, -1, 4}, 5: {4, 5, 5},
				6: {4, 5, 5}, 7: {4, 5, 7}, 8: {4, 5, 7}, 9: {4, 5, 9}, 10: {4, 5, 9},
			} {
				time.Sleep(time.Millisecond) // what happens in this second has
				synctest.Wait()
				wantProgress(r.T, &x, s.wrote, s.first, s.moved, -1)
				time.Sleep(time.Second - time.Millisecond)
			}
			r.check(<-done)
			wantProgress(r.T, &x, 4, 5, 9, 11)
		})
	}
}

// TestProgressOfAScript: its redirect is not yet the answer.
func TestProgressOfAScript(t *testing.T) {
	inTime(t, 3*time.Second, func(r *rig) {
		r.emulator(time.Second).Set(func(k *relaytest.Knobs) { k.RTT = 2 * time.Second })
		x := relay.Exchange{Body: request}
		r.check(r.transport(script, nil).Exchange(r.Context(), &x))
		wantProgress(r.T, &x, 0, 3, 3, 3)
	})
}

// TestProgressOfFailures: none of them has an answer, all have an end.
func TestProgressOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		x := relay.Exchange{Body: request}
		_ = r.transport(node, nil).Exchange(r.Context(), &x) // nobody listens
		wantProgress(t, &x, -1, -1, -1, 0)

		r.serve(server, nil, slow(time.Hour, 0))
		x.Reset()
		x.Body = request
		_ = r.transport(node, nil).Exchange(r.Context(), &x)
		wantProgress(t, &x, 0, -1, 0, 30)

		x.Reset()
		x.Binary = true
		_ = r.transport(script, nil).Exchange(r.Context(), &x)
		wantProgress(t, &x, -1, -1, -1, 0)
	})
}
