package relaytest

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/mux"
	"relaymux/relay/account"
)

// withAccounts gives each deployment an account of so many slots, with a quota in memory.
func withAccounts(slots ...int) func(*mux.Config) {
	return func(c *mux.Config) {
		ledger := account.Open("", slog.New(slog.DiscardHandler))
		for i := range c.Deployments {
			d := &c.Deployments[i]
			d.Account = mux.NewAccount(slots[i], d.Name)
			d.Account.Quota = ledger.Account(d.Name, slots[i], 20000)
		}
	}
}

// TestHostile72_LastResort: the only relay that has a quota left asks for a long pause and works
// again at once. It is tried as often as if the other did not exist.
func TestHostile72_LastResort(t *testing.T) {
	for _, wire := range wires {
		t.Run(wire, func(t *testing.T) {
			t.Parallel()
			virtual(t, StackConfig{Link: wire == "link", Scripts: 2, Mux: withAccounts(30, 30)}, func(t *testing.T, s *Stack) {
				s.Relay.Set(func(k *Knobs) { k.QuotaPage = true }, "d1")
				echo := s.serve(t, Echo)
				x := open(t, s.Connect, echo)
				for range 6 {
					ask(t, x, "hello")
					time.Sleep(10 * time.Second)
				}
				time.Sleep(12 * time.Minute) // d1 rests no more, but has no quota yet
				s.Relay.Set(func(k *Knobs) { k.Status, k.RetryAfter = 503, "300" }, "d0")
				_, _ = io.WriteString(x, "lost?")
				time.Sleep(8 * time.Second)
				s.Relay.Set(func(k *Knobs) { k.Status, k.RetryAfter = 0, "" }, "d0")
				if took := ask(t, open(t, s.Connect, echo), "again"); took > 20*time.Second {
					t.Errorf("a new connection took %v", took)
				}
			})
		})
	}
}

// TestHostile72_AgainSoon: a connection is opened shortly before an account may be used again
// whose quota was used up. It waits for that, and not beyond it.
func TestHostile72_AgainSoon(t *testing.T) {
	for _, wire := range wires {
		t.Run(wire, func(t *testing.T) {
			t.Parallel()
			virtual(t, StackConfig{Link: wire == "link", Scripts: 1, Confirmed: true, Mux: counted}, func(t *testing.T, s *Stack) {
				echo := s.serve(t, Echo)
				open(t, s.Connect, echo).Close()
				time.Sleep(20 * time.Second)
				s.Relay.Set(func(k *Knobs) { k.QuotaPage = true })
				if _, err := s.Connect(t.Context(), echo); err == nil {
					t.Error("connected")
				}
				s.Relay.Set(func(k *Knobs) { k.QuotaPage = false })
				time.Sleep(s.settings.Deployments[0].Account.Quota.Rests(time.Now()) - 20*time.Second)
				if took := elapsed(func() { open(t, s.Connect, echo) }); took < 20*time.Second || took > 25*time.Second {
					t.Errorf("connected after %v", took)
				}
			})
		})
	}
}

// TestHostile72_HoldFromBefore: an exchange that began before the quota was used up comes back
// well. For connections that can go by the JSON wire the link rests all the same.
func TestHostile72_HoldFromBefore(t *testing.T) {
	beside := func(c *mux.Config) { withAccounts(30, 30)(c); c.Deployments[1].Link = false }
	virtual(t, StackConfig{Link: true, Scripts: 2, Mux: beside}, func(t *testing.T, s *Stack) {
		echo := s.serve(t, Echo)
		x := open(t, s.Connect, echo)
		ask(t, x, "hello")
		time.Sleep(time.Minute)
		s.Relay.Set(func(k *Knobs) { k.QuotaPage = true }, "d0")
		writeAll(t, x, "x")
		time.Sleep(3 * time.Minute)
		ask(t, open(t, s.Connect, echo), "by the other")
	})
}

// TestLinkAgain: all that carries the link was out of order for a while, and nobody needed it.
// Connections do not go by the JSON wire for ever.
func TestLinkAgain(t *testing.T) {
	beside := func(c *mux.Config) { c.Deployments[1].Link = false }
	virtual(t, StackConfig{Link: true, Scripts: 2, Mux: beside}, func(t *testing.T, s *Stack) {
		echo := s.serve(t, Echo)
		open(t, s.Connect, echo).Close()
		time.Sleep(2 * time.Minute)
		put(t, associate(t, s), crowdAddr(1), make([]byte, 100))
		time.Sleep(3 * time.Second)
		s.Relay.Set(func(k *Knobs) { k.Status = 502 }, "d0")
		time.Sleep(3 * time.Minute)
		s.Relay.Set(func(k *Knobs) { k.Status = 0 }, "d0")
		time.Sleep(30 * time.Minute)
		ask(t, open(t, s.Connect, echo), "by the other")
		time.Sleep(time.Minute)
		s.Relay.Set(func(k *Knobs) { k.Status = 502 }, "d1")
		ask(t, open(t, s.Connect, echo), "by the link")
	})
}

// refusing gives d1 a limit that it has shown.
func refusing(t *testing.T, s *Stack) {
	s.warmUp(t)
	s.Relay.Set(func(k *Knobs) { k.MaxBody = 100_000 }, "d1")
	for range 3 {
		upload(4<<20)(t, s)
	}
}

// sink opens a connection that tells how many bytes came.
func sink(t *testing.T, s *Stack) (c net.Conn, came chan int64) {
	came = make(chan int64, 1)
	c = open(t, s.Connect, s.serve(t, func(c net.Conn) {
		n, _ := io.Copy(io.Discard, c)
		came <- n
	}))
	within(t, c, time.Hour)
	writeAll(t, c, "x")
	time.Sleep(5 * time.Second)
	return c, came
}

// TestLargeInDoubt: an upload whose answer was lost has to go again as it was, and one of two
// relays does not take that. It waits for the other, and nothing is reset.
func TestLargeInDoubt(t *testing.T) {
	virtual(t, StackConfig{Scripts: 2}, func(t *testing.T, s *Stack) {
		refusing(t, s)
		for range 12 {
			c, came := sink(t, s)
			s.Relay.Set(func(k *Knobs) { k.LoseAfter = 6 }, "d0")
			_, err := io.Copy(c, noise(1, 4<<20))
			c.Close()
			if n := <-came; err != nil || n != 4<<20+1 {
				t.Errorf("%d bytes came, %v", n, err)
			}
			s.Relay.Set(func(k *Knobs) { k.LoseAfter = 0 }, "d0")
		}
	})
}

// TestLargeInDoubt_InVain: the other does not work any more. That ends, and not late.
func TestLargeInDoubt_InVain(t *testing.T) {
	virtual(t, StackConfig{Scripts: 2}, func(t *testing.T, s *Stack) {
		refusing(t, s)
		c, _ := sink(t, s)
		s.Relay.Set(func(k *Knobs) { k.LoseAfter = 1 }, "d0")
		time.AfterFunc(10*time.Second, func() { s.Relay.Set(func(k *Knobs) { k.Status = 502 }, "d0") })
		count := s.exchanges()
		took := elapsed(func() { _, _ = io.Copy(c, noise(1, 8<<20)) })
		if n := count(); took > 150*time.Second || n > 100 {
			t.Errorf("reset after %v and %d exchanges", took, n)
		}
	})
}

// TestWordsInDoubt: what any relay takes goes again together, also if an account has no quota left.
func TestWordsInDoubt(t *testing.T) {
	virtual(t, StackConfig{Scripts: 2, Mux: withAccounts(30, 30)}, func(t *testing.T, s *Stack) {
		s.settings.Deployments[1].Account.Quota.Exhausted(time.Now(), 0)
		var cs []net.Conn
		for range 40 {
			c, _ := sink(t, s)
			cs = append(cs, c)
		}
		s.Relay.Set(func(k *Knobs) { k.LoseAfter = 1 }, "d0")
		for _, c := range cs {
			writeAll(t, c, "word")
		}
		time.Sleep(900 * time.Millisecond) // at the half of the way it is decided
		s.Relay.Set(func(k *Knobs) { k.LoseAfter = 0 }, "d0")
		count := s.exchanges()
		time.Sleep(4 * time.Second)
		if n := count(); n > 10 {
			t.Errorf("%d exchanges", n)
		}
	})
}

// TestSlots_IdleWithFew: where nothing can be held an idle connection is asked about ever more
// seldom, also if there are other slots that cannot be used now, or only one more.
func TestSlots_IdleWithFew(t *testing.T) {
	for name, slots := range map[string][]int{"no quota": {1, 30}, "one each": {1, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual(t, StackConfig{Link: true, Scripts: 2, Mux: withAccounts(slots...)}, func(t *testing.T, s *Stack) {
				s.Relay.Set(func(k *Knobs) { k.QuotaPage = name == "no quota" }, "d1")
				ask(t, open(t, s.Connect, s.serve(t, Echo)), "hello")
				time.Sleep(15 * time.Minute)
				count := s.exchanges()
				time.Sleep(20 * time.Minute)
				if n := count(); n > 130 {
					t.Errorf("%d exchanges in 20 minutes", n)
				}
			})
		})
	}
}

// TestSlots_WordsBesideUpload: what is said beside a large upload does not take as long as that.
func TestSlots_WordsBesideUpload(t *testing.T) {
	for _, c := range []struct {
		wire  string
		line  int
		slots []int // of each account
	}{
		{"link", 200e3, []int{2}}, {"link", 200e3, []int{5}}, {"link", 200e3, []int{30}}, {"link", 2e6, []int{5}}, {"json", 200e3, []int{2}},
		{"link", 200e3, []int{1, 1}}, {"link", 200e3, []int{1, 1, 1, 1, 1}}, {"json", 200e3, []int{1, 1}},
	} {
		t.Run(fmt.Sprintf("%s, %d slots, %d B per s", c.wire, c.slots, c.line), func(t *testing.T) {
			t.Parallel()
			virtual(t, StackConfig{Link: c.wire == "link", Scripts: len(c.slots), Mux: withAccounts(c.slots...)}, func(t *testing.T, s *Stack) {
				s.Relay.SetLine(c.line, c.line)
				s.warmUp(t)
				a := open(t, s.Connect, s.serve(t, Echo))
				ask(t, a, "hello")
				big := open(t, s.Connect, s.serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }))
				go func() { _, _ = io.Copy(big, noise(1, 1<<32)) }()
				time.Sleep(30 * time.Second)
				most := time.Duration(0)
				for range 10 {
					time.Sleep(2 * time.Second)
					most = max(most, ask(t, a, "a"))
				}
				t.Logf("a word took %v at most", most)
				if most > 4*rtt {
					t.Errorf("a word took %v", most)
				}
			})
		})
	}
}

// TestSlots_UploadBesideWords: nor do those who always have something small to say keep the upload
// from going on.
func TestSlots_UploadBesideWords(t *testing.T) {
	for _, slots := range raced(t.Name(), []int{1, 2, 5}) {
		t.Run(fmt.Sprint(slots), func(t *testing.T) {
			t.Parallel()
			virtual(t, StackConfig{Link: true, Scripts: 1, Slots: slots}, func(t *testing.T, s *Stack) {
				s.warmUp(t)
				var came atomic.Int64
				big := open(t, s.Connect, s.serve(t, func(c net.Conn) {
					p := make([]byte, 64<<10)
					for n, err := c.Read(p); err == nil; n, err = c.Read(p) {
						came.Add(int64(n))
					}
				}))
				go func() { _, _ = io.Copy(big, noise(1, 1<<34)) }()
				inAWhile := func() int64 {
					before := came.Load()
					time.Sleep(15 * time.Second)
					return came.Load() - before
				}
				inAWhile() // it gets going
				alone := inAWhile()
				echo := s.serve(t, Echo)
				for range 5 {
					c := open(t, s.Connect, echo)
					go func() {
						word := make([]byte, 100)
						for err := error(nil); err == nil; _, err = io.ReadFull(c, word) {
							if _, err = c.Write(word); err != nil {
								return
							}
						}
					}()
				}
				beside := inAWhile()
				t.Logf("%d MB alone, %d MB beside words", alone>>20, beside>>20)
				if beside < alone*2/5 {
					t.Errorf("%d MB alone, %d MB beside words", alone>>20, beside>>20)
				}
			})
		})
	}
}

// TestProbeIsHeld: the first exchange after a rest is a poll, which the node holds. What is said
// meanwhile does not wait for its end.
func TestProbeIsHeld(t *testing.T) {
	for _, wire := range wires {
		t.Run(wire, func(t *testing.T) {
			t.Parallel()
			virtual(t, StackConfig{Link: wire == "link", Scripts: 1}, func(t *testing.T, s *Stack) {
				x := open(t, s.Connect, s.serve(t, Echo))
				ask(t, x, "hello")
				for i := range 12 {
					time.Sleep(3 * time.Minute)
					s.Relay.Set(func(k *Knobs) { k.Status = 502 })
					time.Sleep(40 * time.Second)
					s.Relay.Set(func(k *Knobs) { k.Status = 0 })
					time.Sleep(time.Duration(5+3*i) * time.Second)
					if took := ask(t, x, "word"); took > 4*rtt {
						t.Errorf("a word took %v", took)
					}
				}
			})
		})
	}
}

// TestSlots_DownloadBesideIdle: with two slots a download does not wait for the end of the hold
// of an idle connection.
func TestSlots_DownloadBesideIdle(t *testing.T) {
	for _, wire := range wires {
		t.Run(wire, func(t *testing.T) {
			t.Parallel()
			virtual(t, StackConfig{Link: wire == "link", Scripts: 1, Slots: 2}, func(t *testing.T, s *Stack) {
				ask(t, open(t, s.Connect, s.serve(t, Echo)), "hello")
				for range 3 {
					time.Sleep(time.Minute)
					if took := elapsed(func() { download(3<<20)(t, s) }); took > 9*rtt/2 {
						t.Errorf("3 MB took %v", took)
					}
				}
			})
		})
	}
}

// TestSlots_WordsBesideIdle: a word does not wait for the holds of idle connections, however many more
// these are than one exchange asks for.
func TestSlots_WordsBesideIdle(t *testing.T) {
	for _, slots := range []int{2, 3, 5} {
		t.Run(fmt.Sprint(slots), func(t *testing.T) {
			t.Parallel()
			virtual(t, StackConfig{Scripts: 1, Slots: slots}, func(t *testing.T, s *Stack) {
				echo := s.serve(t, Echo)
				x := open(t, s.Connect, echo)
				within(t, x, time.Hour)
				ask(t, x, "hello")
				for range slots + 1 {
					for range 30 {
						c := open(t, s.Connect, echo)
						go func() { ask(t, c, "hello") }()
					}
					time.Sleep(7 * time.Second)
				}
				time.Sleep(30 * time.Second)
				for i := range 40 {
					time.Sleep(time.Duration(3000+i*331) * time.Millisecond)
					if took := ask(t, x, "word"); took > 2*rtt {
						t.Errorf("a word took %v", took)
					}
				}
			})
		})
	}
}
