package relaytest

import (
	"bytes"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// A cache answers one exchange in so many with what it has answered before, to
// whomever.
type cache struct {
	mu    sync.Mutex
	rnd   *rand.Rand
	oneIn int // 0: none
	had   [][]byte
	given int
}

// answer is a hook.
func (c *cache) answer(_ string, body []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.had = append(c.had, bytes.Clone(body))
	if !oneIn(c.oneIn, c.rnd) {
		return nil
	}
	c.given++
	return c.had[c.rnd.IntN(len(c.had))]
}

// TestHostile78_Cached: a relay that caches answers of the JSON wire, which has no nonce,
// and hands them out again to the same client and to another. Nobody is ever given a
// byte that is not his, or in another place: a connection that cannot go on is reset.
func TestHostile78_Cached(t *testing.T) {
	for seed := range uint64(6) {
		c := cache{rnd: rand.New(rand.NewPCG(78, seed)), oneIn: 3 + int(seed)}
		virtual(t, StackConfig{Scripts: 2, Relay: func(r *RelayConfig) { r.OnAnswer = c.answer }}, func(t *testing.T, s *Stack) {
			const size = 1 << 20
			var all sync.WaitGroup
			for i, side := range []*Stack{s, s.beside(t, nil)} {
				for k := range 3 {
					seed := uint64(10*i + k)
					from := s.serve(t, func(c net.Conn) { trickle(c, seed, size) })
					all.Go(func() {
						conn, err := side.Connect(t.Context(), from)
						if err != nil {
							return
						}
						defer conn.Close()
						within(t, conn, 10*time.Minute)
						arrive(conn).wantPart(t, "an app", seed, size)
					})
				}
			}
			all.Wait()
			c.mu.Lock()
			c.oneIn = 0
			t.Logf("%d answers of %d were others'", c.given, len(c.had))
			if c.given == 0 {
				t.Error("no answer was another's")
			}
			c.mu.Unlock()
			time.Sleep(2 * time.Minute) // whatever rest it earned
			ask(t, open(t, s.Connect, s.serve(t, Echo)), "still there")
		})
	}
}
