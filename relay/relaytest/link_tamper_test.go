package relaytest

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestHostile60_Tampering: with what goes up, or comes down, one exchange in
// three. It is never believed, and counted; each byte arrives once and in order,
// each connection is made once, and no link ends.
func TestHostile60_Tampering(t *testing.T) {
	const size = 3 << 19
	for name, how := range map[string]struct {
		change func(*meddler, []byte) []byte
		whole  bool
		silent bool // need not be counted: it may not look like a message any more, or is one
	}{
		"flipped":             {change: flipped},
		"flipped in a body":   {change: flipped, whole: true, silent: true},
		"cut":                 {change: cutOff, silent: true},
		"cut in a body":       {change: cutOff, whole: true, silent: true},
		"replaced by older":   {change: older},
		"swapped":             {change: swapped},
		"doubled":             {change: doubled},
		"left out":            {change: without, silent: true}, // without the last it is a cut one
		"mixed":               {change: mixed},
		"of another exchange": {change: moved},
	} {
		for _, up := range []bool{true, false} {
			way := map[bool]string{true: " up", false: " down"}[up]
			if name == "of another exchange" && !up {
				continue // an answer has no number; that of another exchange is "older"
			}
			t.Run(name+way, func(t *testing.T) {
				everyCarriage(t, func(t *testing.T, c StackConfig) {
					m := &meddler{rnd: rand.New(rand.NewPCG(60, 1)), oneIn: 3, whole: how.whole, change: how.change, on: true}
					book := new(logbook)
					c.Log = book.log()
					c.Relay = func(c *RelayConfig) {
						if up {
							c.OnRequest = m.meddle
						} else {
							c.OnAnswer = m.meddle
						}
					}
					virtual(t, c, func(t *testing.T, s *Stack) {
						var dials atomic.Int64
						echo := s.serve(t, func(c net.Conn) { dials.Add(1); Echo(c) })
						var l load
						l.begin(t, s, size, 30*time.Minute)
						for i := range 8 {
							conn := open(t, s.Connect, echo)
							within(t, conn, 10*time.Minute)
							ask(t, conn, Banner)
							conn.Close()
							if n := dials.Load(); n != int64(i+1) {
								t.Errorf("%d connections reached the target of %d", n, i+1)
							}
						}
						l.want(size)
						m.set(false)
						time.Sleep(time.Minute)
						ask(t, open(t, s.Connect, echo), "still there")
						n := s.Node.Stats()
						forged := n.LinkForged + n.LinkReplayed + n.LinkRepeated + s.Stats.Forged.Load()
						t.Logf("%d exchanges, %d changed; the node %d forged, %d replayed, %d repeated, the client %d",
							s.Stats.Exchanges.Load(), m.changed(), n.LinkForged, n.LinkReplayed, n.LinkRepeated, s.Stats.Forged.Load())
						if m.changed() == 0 {
							t.Error("nothing was changed")
						}
						if forged == 0 && !how.silent {
							t.Error("nothing was counted")
						}
						s.wantNoneBroken(t, book)
						if book.has("began anew") {
							t.Error("streams were reset")
						}
					})
				})
			})
		}
	}
}

// TestHostile59_Replays: all that a relay has ever seen goes to the node again, in
// another order, while the link lives and after its streams ended. Nothing is
// executed twice, each is counted, and the answers tell nothing that opens.
func TestHostile59_Replays(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		var s spy
		c.Relay = s.watch
		virtual(t, c, func(t *testing.T, stack *Stack) {
			var dials, bytesUp atomic.Int64
			sink := stack.serve(t, func(c net.Conn) {
				dials.Add(1)
				n, _ := io.Copy(io.Discard, c)
				bytesUp.Add(n)
			})
			seen := newSeen()
			packets := stack.servePackets(t, func(_ net.PacketConn, _ net.Addr, p []byte) { seen.note(numberOf(p)) })
			a := associate(t, stack)
			const conns, size = 5, 100_000
			for i := range conns {
				check(t, send(open(t, stack.Connect, sink), uint64(i), size))
				put(t, a, packets, nth(i, 100))
				time.Sleep(2 * time.Second)
			}
			held := open(t, stack.Connect, stack.serve(t, Echo))
			ask(t, held, "hello")
			replay := func() {
				all := slices.Clone(s.since(0))
				rnd := rand.New(rand.NewPCG(59, 1))
				rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				before := stack.Node.Stats()
				for _, x := range all {
					stack.postMessage(t, messageOf(x.request))
				}
				after := stack.Node.Stats()
				records := 0
				for _, x := range all {
					if isRecords(messageOf(x.request)) {
						records++
					}
				}
				if n := int(after.LinkRepeated - before.LinkRepeated); n != records {
					t.Errorf("%d of %d requests counted as repeated", n, records)
				}
				if after.Links != before.Links || after.Dials != before.Dials || after.BytesUp != before.BytesUp {
					t.Errorf("before %+v, after %+v", before, after)
				}
			}
			replay()
			ask(t, held, "still there")
			held.Close()
			time.Sleep(time.Minute)
			replay()
			if dials.Load() != conns || bytesUp.Load() != conns*size {
				t.Errorf("%d connections with %d bytes, want %d with %d", dials.Load(), bytesUp.Load(), conns, conns*size)
			}
			if n := seen.twice(); n != 0 || seen.all() != conns {
				t.Errorf("%d datagrams twice, %d in all", n, seen.all())
			}
			ask(t, open(t, stack.Connect, stack.serve(t, Echo)), "still there")
		})
	})
}

// postMessage gives a message to the node as a binary relay does.
func (s *Stack) postMessage(t *testing.T, message []byte) (status int, answer []byte) {
	t.Helper()
	tr := s.config.Memory.Transport()
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Exit.JoinPath("tunnel/link").String(), bytes.NewReader(message))
	check(t, err)
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, answer
}

// TestHostile61_AnothersLink: a client's messages with the id of another's link, and
// another's answers. Neither is believed, and a stranger's id is answered as one
// that nobody has.
func TestHostile61_AnothersLink(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		var s spy
		c.Relay = s.watch
		virtual(t, c, func(t *testing.T, stack *Stack) {
			other := stack.beside(t, nil)
			var dials atomic.Int64
			echo := stack.serve(t, func(c net.Conn) { dials.Add(1); Echo(c) })
			one := open(t, stack.Connect, echo)
			ask(t, one, "one")
			mine := s.count()
			two := open(t, other.Connect, echo)
			ask(t, two, "two")
			settle(time.Second)
			var first, second []byte
			for i, x := range s.since(0) {
				if m := messageOf(x.request); isRecords(m) && i < mine {
					first = m
				} else if isRecords(m) {
					second = m
				}
			}
			if first == nil || second == nil || bytes.Equal(first[:17], second[:17]) {
				t.Fatal("the two have no links of their own")
			}
			before := stack.Node.Stats()
			theirs := slices.Concat(second[:17], first[17:])
			status, answer := stack.postMessage(t, theirs)
			nobody := bytes.Clone(first)
			nobody[5] ^= 1
			unknown, same := stack.postMessage(t, nobody)
			after := stack.Node.Stats()
			if status != unknown || !bytes.Equal(answer, same) {
				t.Errorf("another's id is answered by %d %.40q, nobody's by %d %.40q", status, answer, unknown, same)
			}
			if after.LinkForged != before.LinkForged+1 || after.Dials != before.Dials || after.LinkBroken != 0 {
				t.Errorf("before %+v, after %+v", before, after)
			}
			ask(t, one, "still there")
			ask(t, two, "still there")
			synctest.Wait()
			if n := dials.Load(); n != 2 {
				t.Errorf("%d connections reached the target", n)
			}
		})
	})
}

// TestHostile78_AnothersAnswers: a relay that hands each of two clients, now and
// then, an answer of the other's, as a cache would.
func TestHostile78_AnothersAnswers(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		m := &meddler{rnd: rand.New(rand.NewPCG(78, 1)), oneIn: 3, change: older, on: true}
		c.Relay = func(c *RelayConfig) { c.OnAnswer = m.meddle }
		virtual(t, c, func(t *testing.T, stack *Stack) {
			const size = 2 << 20
			var loads [2]load
			loads[0].begin(t, stack, size, 10*time.Minute)
			loads[1].begin(t, stack.beside(t, nil), size, 10*time.Minute)
			for i := range loads {
				loads[i].want(size)
			}
			t.Logf("%d answers were another's", m.changed())
			if m.changed() == 0 {
				t.Error("no answer was another's")
			}
		})
	})
}
