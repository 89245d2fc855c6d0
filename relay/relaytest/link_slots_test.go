package relaytest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"relaymux/mux"
	"relaymux/relay/account"
)

// everySlots runs test with a single deployment of 1, 2 and 30 slots, by either
// carriage. The relay has as many, and refuses more.
func everySlots(t *testing.T, slots []int, change func(*StackConfig), test func(t *testing.T, s *Stack, slots int)) {
	t.Helper()
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		c.Scripts, c.Workers = min(c.Scripts, 1), min(c.Workers, 1)
		for _, n := range slots {
			c.Slots = n
			if change != nil {
				change(&c)
			}
			virtual(t, c, func(t *testing.T, s *Stack) {
				s.Relay.Set(func(k *Knobs) { k.Slots = n })
				test(t, s, n)
				if got := s.Relay.Stats().Exchanges[Busy]; got > 0 {
					t.Errorf("%d slots: %d exchanges were more", n, got)
				}
			})
		}
	})
}

// TestSlots_Page: one loads with however few.
func TestSlots_Page(t *testing.T) {
	everySlots(t, []int{1, 2, 30}, nil, func(t *testing.T, s *Stack, slots int) {
		s.warmUp(t)
		c := s.browser(6)
		defer c.CloseIdleConnections()
		count := s.exchanges()
		took := elapsed(func() {
			if n := loadPage(t, c, s.origin(t, Origin()), 12, 20_000); n > 0 {
				t.Errorf("%d slots: %d objects failed", slots, n)
			}
		})
		t.Logf("%d slots: %v, %d exchanges", slots, took, count())
		most := map[int]time.Duration{1: 10 * rtt, 2: 6 * rtt, 30: 3*rtt + rtt/2}[slots] // the floor is 3
		if took > most {
			t.Errorf("%d slots: the page took %v, want %v", slots, took, most)
		}
	})
}

// TestSlots_UploadsNeverWait: what is said while a connection is idle, and while
// another one downloads, goes at once: a hold never has the last slot, bulk
// leaves one. With a single slot it waits for an exchange that is under way, but
// never for a hold.
func TestSlots_UploadsNeverWait(t *testing.T) {
	everySlots(t, []int{1, 2, 30}, nil, func(t *testing.T, s *Stack, slots int) {
		s.warmUp(t)
		c := open(t, s.Connect, s.serve(t, Echo))
		ask(t, c, "hello")
		within(t, c, time.Hour)
		rnd := rand.New(rand.NewPCG(uint64(slots), 0))
		most := time.Duration(0)
		for range 40 {
			time.Sleep(time.Duration(rnd.IntN(20_000)) * time.Millisecond)
			most = max(most, ask(t, c, "a word"))
		}
		want := rtt + 20*time.Millisecond
		if slots == 1 {
			want = 2*rtt + writeHold + 50*time.Millisecond // one is under way
		}
		t.Logf("%d slots: idle, %v at most", slots, most)
		if most > want {
			t.Errorf("%d slots: an answer took %v while nothing else happened, want %v", slots, most, want)
		}
		if slots == 1 {
			return
		}
		s.Relay.SetLine(0, 400_000)
		bulk := open(t, s.Connect, s.serve(t, func(c net.Conn) { _, _ = io.Copy(c, noise(1, 1<<30)) }))
		go func() { _, _ = io.Copy(io.Discard, bulk) }()
		time.Sleep(20 * time.Second)
		most = 0
		got := make(chan time.Duration)
		echo := s.serve(t, func(c net.Conn) { // it notes when it was spoken to: the line down is busy
			for {
				if _, err := io.CopyN(io.Discard, c, 1); err != nil {
					return
				}
				got <- 0
			}
		})
		key := open(t, s.Connect, echo)
		for range 10 {
			most = max(most, elapsed(func() { writeAll(t, key, "k"); <-got }))
			time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
		}
		t.Logf("%d slots: a word took %v to its target beside a download", slots, most)
		if want := rtt/2 + rtt/5 + 50*time.Millisecond; slots > 2 && most > want {
			t.Errorf("%d slots: a word took %v to its target beside a download, want %v", slots, most, want)
		}
	})
}

// A stopwatch measures how long relays wait for the node.
type stopwatch struct {
	mu    sync.Mutex
	began map[string]time.Time // by the request
	most  time.Duration
}

func (w *stopwatch) watch(c *RelayConfig) {
	w.began = make(map[string]time.Time)
	c.OnRequest = func(_ string, body []byte) []byte {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.began[string(body)] = time.Now()
		return nil
	}
	c.Capture = func(_ string, request, _ []byte) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.most = max(w.most, time.Since(w.began[string(request)]))
		delete(w.began, string(request))
	}
}

func (w *stopwatch) longest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.most
}

// TestSlots_Upload: of the exchanges that carry a large one none is held in the way of the
// next.
func TestSlots_Upload(t *testing.T) {
	const size = 8 << 20
	everySlots(t, []int{1, 2, 5, 30}, nil, func(t *testing.T, s *Stack, slots int) {
		s.warmUp(t)
		began, count := time.Now(), s.exchanges()
		got := upload(size)(t, s)
		took := time.Since(began)
		t.Logf("%d slots: %v, %d exchanges", slots, took, count())
		for _, f := range got.wrong {
			t.Error(f)
		}
		most := map[int]time.Duration{1: 5 * rtt, 2: 5 * rtt, 5: 3 * rtt, 30: 3 * rtt}[slots]
		if took > most {
			t.Errorf("%d slots: the upload took %v, want %v", slots, took, most)
		}
	})
}

// TestSlots_OneHoldsNothing: it would be in the way.
func TestSlots_OneHoldsNothing(t *testing.T) {
	var w stopwatch
	c := StackConfig{Link: true, Workers: 1, Slots: 1, Relay: w.watch}
	virtual(t, c, func(t *testing.T, s *Stack) {
		c := open(t, s.Connect, s.serve(t, Echo))
		ask(t, c, "hello")
		count := s.exchanges()
		time.Sleep(10 * time.Minute)
		t.Logf("held for %v at most, %d exchanges in ten minutes", w.longest(), count())
		if w.longest() > writeHold+50*time.Millisecond {
			t.Errorf("held for %v", w.longest())
		}
		if n := count(); n > 100 {
			t.Errorf("%d exchanges in ten minutes of silence", n)
		}
	})
}

// TestSlots_GivenUp: a slot is held for as long as the relay works, also on what
// the client has given up.
func TestSlots_GivenUp(t *testing.T) {
	everySlots(t, []int{2, 4}, nil, func(t *testing.T, s *Stack, slots int) {
		s.warmUp(t)
		s.Relay.Set(func(k *Knobs) { k.Late, k.LateBy = 3, 20*time.Second })
		c := open(t, s.Connect, s.serve(t, Echo))
		within(t, c, time.Hour)
		for i := range 20 {
			ask(t, c, fmt.Sprint("word ", i))
			time.Sleep(time.Second)
		}
		t.Logf("%d slots: %d given up, the relay was busy with %d at most", slots, s.Stats.Suspected.Load()+s.Stats.Hedged.Load(), s.Relay.Stats().Peak)
	})
}

// TestHostile71_OthersTakeSlots: other devices have all but 5 of the account's 30.
// What is used shrinks to that, so that hardly anything is refused.
func TestHostile71_OthersTakeSlots(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		c.Scripts, c.Workers = min(c.Scripts, 1), min(c.Workers, 1)
		c.Mux = counted
		virtual(t, c, func(t *testing.T, s *Stack) {
			s.Relay.Set(func(k *Knobs) { k.Slots = 5 })
			s.Relay.SetLine(0, 100_000) // so that many are wanted
			sink := s.serve(t, func(c net.Conn) { _, _ = io.Copy(c, noise(1, 1<<30)) })
			for range 8 {
				c := open(t, s.Connect, sink)
				go func() { _, _ = io.Copy(io.Discard, c) }()
			}
			key := open(t, s.Connect, s.serve(t, Echo))
			within(t, key, time.Hour)
			ask(t, key, "hello")
			time.Sleep(time.Minute)
			before := s.Relay.Stats().Exchanges
			const minutes = 5
			most := time.Duration(0)
			for range minutes * 6 {
				time.Sleep(10 * time.Second)
				most = max(most, ask(t, key, "a word"))
			}
			after := s.Relay.Stats()
			busy := after.Exchanges[Busy] - before[Busy]
			t.Logf("%d refused while learning, then %d in %d minutes, of %d; a word took %v at most; peak %d",
				before[Busy], busy, minutes, after.Total(), most, after.Peak)
			if busy > 2*minutes {
				t.Errorf("%d refused in %d minutes", busy, minutes)
			}
			if before[Busy] > 30 {
				t.Errorf("%d refused in the first minute", before[Busy])
			}
			if after.Exchanges[OK]-before[OK] < 10*minutes {
				t.Errorf("only %d exchanges in %d minutes", after.Exchanges[OK]-before[OK], minutes)
			}
		})
	})
}

// TestHostile71_FewSlotsLeft: the account has fewer slots than polls leave free of the 30
// that are configured. What a refusal has shown is what counts: a download goes on.
func TestHostile71_FewSlotsLeft(t *testing.T) {
	const size = 3 << 20
	for _, left := range []int{1, 5} {
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			everyCarriage(t, func(t *testing.T, c StackConfig) {
				c.Scripts, c.Workers = min(c.Scripts, 1), min(c.Workers, 1)
				c.Mux = counted
				virtual(t, c, func(t *testing.T, s *Stack) {
					s.warmUp(t)
					s.Relay.Set(func(k *Knobs) { k.Slots = left })
					for range 3 {
						for name, carry := range map[string]func(*testing.T, *Stack) result{"down": download(size), "up": upload(size)} {
							var got result
							took := elapsed(func() { got = carry(t, s) })
							t.Logf("%s in %v, %d exchanges, %d refused in all", name, took, got.exchanges, s.Relay.Stats().Exchanges[Busy])
							if took > 45*time.Second || len(got.wrong) > 0 {
								t.Errorf("%s: %v, %v", name, took, got.wrong)
							}
						}
					}
					count := s.exchanges()
					c := open(t, s.Connect, s.serve(t, Echo))
					ask(t, c, "hello")
					time.Sleep(10 * time.Minute)
					if n := count(); n > 120 {
						t.Errorf("%d exchanges in ten minutes of silence", n)
					}
				})
			})
		})
	}
}

// TestHostile71_DownloadBesideUploads: with few slots a download goes on beside uploads, as do
// words. (With one slot and by the JSON wire these wait for their turn behind the uploads.)
func TestHostile71_DownloadBesideUploads(t *testing.T) {
	for _, wire := range wires {
		for _, slots := range []int{1, 2, 3, 5} {
			t.Run(fmt.Sprintf("%s, %d slots", wire, slots), func(t *testing.T) {
				t.Parallel()
				c := StackConfig{Link: wire == "link", Workers: 1, Slots: slots}
				most := 10 * time.Second
				if slots == 1 && !c.Link {
					most = 25 * time.Second
				}
				virtual(t, c, func(t *testing.T, s *Stack) {
					s.warmUp(t)
					besideUploads(t, s, most)
				})
			})
		}
	}
}

// TestHostile72_DownloadBesideUploads: another account has nothing left of its day. Its slots
// are not there for anybody: that they are free kept polls waiting for them.
func TestHostile72_DownloadBesideUploads(t *testing.T) {
	for _, wire := range wires {
		t.Run(wire, func(t *testing.T) {
			t.Parallel()
			var second *account.Account
			c := StackConfig{Link: wire == "link", Workers: 2, Slots: 3, Mux: func(c *mux.Config) {
				counted(c)
				second = c.Deployments[1].Account.Quota
			}}
			virtual(t, c, func(t *testing.T, s *Stack) {
				second.Exhausted(time.Now(), 0)
				s.warmUp(t)
				besideUploads(t, s, 10*time.Second)
			})
		})
	}
}

// besideUploads has uploads take each slot that comes free, by bodies as small as they get,
// and wants downloads and words beside them to take no longer than most.
func besideUploads(t *testing.T, s *Stack, most time.Duration) {
	const uploads = 6
	s.Relay.Set(func(k *Knobs) { k.MaxBody = 64 << 10 })
	sink := s.serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	for range uploads {
		c := open(t, s.Connect, sink)
		go func() { _, _ = io.Copy(c, noise(1, 1<<30)) }()
	}
	key := open(t, s.Connect, s.serve(t, Echo))
	within(t, key, time.Hour)
	ask(t, key, "hello")
	time.Sleep(time.Minute)
	for range 3 {
		var got result
		took := elapsed(func() { got = download(3<<20)(t, s) })
		word := ask(t, key, "a word")
		t.Logf("a download took %v, a word %v", took, word)
		if len(got.wrong) > 0 || took > most || word > most {
			t.Errorf("a download took %v, a word %v; %v", took, word, got.wrong)
		}
	}
}

// TestTrialsOfSize: a relay was short of room for a while. Bodies become large again, although
// most of those that might be larger are datagrams of a call, which are no trials.
func TestTrialsOfSize(t *testing.T) {
	for _, wire := range wires {
		t.Run(wire, func(t *testing.T) {
			t.Parallel()
			virtual(t, StackConfig{Link: wire == "link", Workers: 1, Slots: 30}, func(t *testing.T, s *Stack) {
				s.warmUp(t)
				s.Relay.Set(func(k *Knobs) { k.MaxBody = 100 << 10 })
				upload(3<<20)(t, s)
				s.Relay.Set(func(k *Knobs) { k.MaxBody = 0 })
				addr, a := s.servePackets(t, EchoPacket), associate(t, s)
				wantEcho(t, a, addr, []byte("hello"))
				done := make(chan struct{})
				go func() {
					defer close(done)
					newTalk(1500, 300, 200*time.Millisecond).say(func(p []byte) { put(t, a, addr, p) })
				}()
				for range 3 {
					time.Sleep(90 * time.Second)
					upload(2<<20)(t, s)
				}
				<-done
				if most := s.Mux.Snapshot(0).Deployments[0].MaxBody; most < 500<<10 {
					t.Errorf("bodies have %d bytes at most", most)
				}
			})
		})
	}
}

// TestHostile71_UploadBesideChats: connections that always have something small to say, more
// than a batch has ops; bodies are as small as they get. The upload goes on. (By the JSON
// wire it has one op on its way at a time, which waits for its turn as all others do.)
func TestHostile71_UploadBesideChats(t *testing.T) {
	const chats, size = 40, 1 << 20
	most := map[string]time.Duration{"link": 45 * time.Second, "json": 3 * time.Minute}
	for _, wire := range wires {
		for _, ops := range []int{1, 2, 10, 50} {
			t.Run(fmt.Sprintf("%s, %d ops", wire, ops), func(t *testing.T) {
				t.Parallel()
				c := StackConfig{Link: wire == "link", Workers: 1, Slots: 2, Mux: func(c *mux.Config) { c.MaxOps = ops }}
				virtual(t, c, func(t *testing.T, s *Stack) {
					s.warmUp(t)
					s.Relay.Set(func(k *Knobs) { k.MaxBody = 64 << 10 })
					echo := s.serve(t, Echo)
					for range chats / 10 * ops {
						c := open(t, s.Connect, echo)
						go func() {
							word := make([]byte, 100)
							for {
								if _, err := c.Write(word); err != nil {
									return
								}
								if _, err := io.ReadFull(c, word); err != nil {
									return
								}
							}
						}()
					}
					time.Sleep(time.Minute)
					var got result
					took := elapsed(func() { got = upload(size)(t, s) })
					t.Logf("%v", took)
					if len(got.wrong) > 0 || took > most[wire] {
						t.Errorf("the upload took %v; %v", took, got.wrong)
					}
				})
			})
		}
	}
}

// TestHoldIsLearned: a path that cuts what lasts 12 s. Holds become shorter than
// that, and what the target says finds one.
func TestHoldIsLearned(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		virtual(t, c, func(t *testing.T, s *Stack) {
			s.warmUp(t)
			s.Relay.Set(func(k *Knobs) { k.ExchangeLimit = 12 * time.Second })
			conn := open(t, s.Connect, s.serve(t, func(c net.Conn) {
				_, _ = io.CopyN(io.Discard, c, 1)
				for i := range byte(60) {
					time.Sleep(10*time.Second + time.Duration(i)*97*time.Millisecond)
					_, _ = c.Write([]byte{i})
				}
				_, _ = io.Copy(io.Discard, c)
			}))
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			idle := open(t, s.Connect, s.serve(t, Echo))
			ask(t, idle, "hello")
			writeAll(t, conn, "?")
			time.Sleep(10 * time.Minute) // in which it learns
			learning := s.Relay.Stats().Exchanges[TimedOut]
			count := s.exchanges()
			time.Sleep(10 * time.Minute)
			cut := s.Relay.Stats().Exchanges[TimedOut] - learning
			t.Logf("%d were cut in the first ten minutes, %d in the second, of %d", learning, cut, count())
			if learning > 16 || cut > 2 { // the first: of both deployments
				t.Errorf("%d were cut in the first ten minutes, %d in the second", learning, cut)
			}
			if n := count(); n > 200 {
				t.Errorf("%d exchanges in ten minutes", n)
			}
			ask(t, idle, "still there")
		})
	})
}
