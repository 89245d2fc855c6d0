package relaytest

import (
	"net"
	"net/http"
	"testing"
	"time"
)

// TestHostile71_OneOfTwoDies: a download and an upload at once, while one of the
// deployments breaks off, shows decoys, says 429, and works again. Nobody
// notices.
func TestHostile71_OneOfTwoDies(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		book := new(logbook)
		c.Log = book.log()
		virtual(t, c, func(t *testing.T, s *Stack) {
			s.warmUp(t)
			bad := s.Relay.ids()[0]
			for i, ill := range []func(*Knobs){
				func(k *Knobs) { k.LoseBefore = 1 },
				func(k *Knobs) { k.Decoy = true },
				func(k *Knobs) { k.Status, k.RetryAfter = http.StatusTooManyRequests, "2" },
				func(*Knobs) {},
			} {
				time.AfterFunc(time.Second+time.Duration(i)*4*time.Second, func() {
					s.Relay.Set(func(k *Knobs) { *k = Knobs{RTT: rtt}; ill(k) }, bad)
				})
			}
			size := bulkSize()
			line := int(size / 16) // so that it lasts for longer than the illness
			s.Relay.SetLine(line, line)
			idle := open(t, s.Connect, s.serve(t, Echo))
			ask(t, idle, "hello")
			var l load
			l.begin(t, s, size, 5*time.Minute)
			took := elapsed(func() { l.want(size) })
			t.Logf("took %v, %v, %d bytes sent again", took, s.Relay.Stats(bad).Exchanges, s.Stats.Resent.Load())
			if n := int64(s.Stats.Resent.Load()); n > size { // a relay that is dead takes a whole body before it shows
				t.Errorf("%d bytes of %d went again", n, size)
			}
			if most := 3 * size / int64(line); took > time.Duration(most)*time.Second {
				t.Errorf("took %v for what takes %d s on that line", took, size/int64(line))
			}
			s.Relay.SetLine(0, 0)
			ask(t, idle, "still there")
			s.wantNoneBroken(t, book)
		})
		book.wantNoSecrets(t)
	})
}

// TestHostile75_LossOfOneIsInvisible: of any single deployment, for good, and
// whatever it does in the place of answering.
func TestHostile75_LossOfOneIsInvisible(t *testing.T) {
	for name, ill := range map[string]func(*Knobs){
		"lost before": func(k *Knobs) { k.LoseBefore = 1 },
		"lost after":  func(k *Knobs) { k.LoseAfter = 1 },
		"decoys":      func(k *Knobs) { k.Decoy = true },
		"quota":       func(k *Knobs) { k.QuotaPage = true },
		"500":         func(k *Knobs) { k.Status = http.StatusInternalServerError },
		"404":         func(k *Knobs) { k.Status = http.StatusNotFound },
		"truncates":   func(k *Knobs) { k.Truncate = 100 },
		"silence":     func(k *Knobs) { k.Late, k.LateBy = 1, time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			everyCarriage(t, func(t *testing.T, c StackConfig) {
				virtual(t, c, func(t *testing.T, s *Stack) {
					s.warmUp(t)
					idle := open(t, s.Connect, s.serve(t, Echo))
					ask(t, idle, "hello")
					const size = 2 << 20
					down := open(t, s.Connect, s.serve(t, func(c net.Conn) { trickle(c, 4, size) }))
					time.AfterFunc(3*time.Second, func() { s.Relay.Set(ill, s.Relay.ids()[1]) })
					within(t, down, 5*time.Minute)
					took := elapsed(func() { arrive(down).want(t, "the app", 4, size) })
					t.Logf("the download took %v", took)
					if took > time.Minute {
						t.Errorf("the download took %v", took)
					}
					within(t, idle, time.Minute)
					t.Logf("an answer took %v", ask(t, idle, "still there"))
				})
			})
		})
	}
}

// TestHostile75_LinkOutage: of all relays, in the middle of a download, an upload
// and beside an idle connection. One that is shorter than the grace is
// invisible; a longer one ends them by RST, at the grace's end.
func TestHostile75_LinkOutage(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		for _, outage := range []time.Duration{5 * time.Second, time.Minute, 10 * time.Minute} {
			virtual(t, c, func(t *testing.T, s *Stack) {
				const size = 2 << 20
				grace := 2 * time.Minute
				s.warmUp(t)
				idle := open(t, s.Connect, s.serve(t, Echo))
				ask(t, idle, "hello")
				came := make(chan arrival, 1)
				up := open(t, s.Connect, s.serve(t, func(c net.Conn) { came <- arrive(c) }))
				down := open(t, s.Connect, s.serve(t, func(c net.Conn) { trickle(c, 4, size) }))
				go trickle(up, 5, size)
				began := time.Now()
				time.Sleep(3 * time.Second)
				s.Relay.Set(func(k *Knobs) { k.LoseBefore = 1 })
				over := time.AfterFunc(outage, func() { s.Relay.Set(func(k *Knobs) { k.LoseBefore = 0 }) })
				defer over.Stop()
				got := arrive(down)
				took := time.Since(began)
				t.Logf("an outage of %v: the download ended after %v, %v, %v", outage, took, got.err, s.Relay.Stats().Exchanges)
				if outage > grace {
					got.wantPart(t, "the app", 4, size)
					if got.err == nil || took < grace || took > grace+15*time.Second {
						t.Errorf("an outage of %v: the download ended after %v, %v", outage, took, got.err)
					}
					if a := arrive(idle); !isReset(a.err) {
						t.Errorf("the idle connection ended by %v", a.err)
					}
					time.Sleep(time.Until(began.Add(outage + time.Minute)))
					(<-came).wantPart(t, "the target", 5, size)
					ask(t, open(t, s.Connect, s.serve(t, Echo)), "again")
					return
				}
				got.want(t, "the app", 4, size)
				(<-came).want(t, "the target", 5, size)
				ask(t, idle, "still there")
				if took > 20*time.Second+outage*3/2 {
					t.Errorf("an outage of %v: the download took %v", outage, took)
				}
			})
		}
	})
}
