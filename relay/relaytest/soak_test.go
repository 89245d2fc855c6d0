package relaytest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/mux"
	"relaymux/relay/exit"
)

// soakEnv is for how long TestSoak runs, as a Go duration; without it, it is
// skipped.
const soakEnv = "RELAYMUX_SOAK"

// TestHostile88_Mix throws everything at the program that the emulator can do, by a seed
// that is logged. The invariant is the promise: every byte once and in order,
// or a reset; every datagram whole, or not at all.
func TestHostile88_Mix(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { mix(t, seed, 2*time.Minute) })
	}
}

// TestSoak is TestHostile88_Mix for as long as is wished, of real time.
func TestSoak(t *testing.T) {
	text := os.Getenv(soakEnv)
	if text == "" {
		t.Skip("set " + soakEnv + " to a duration")
	}
	d, err := time.ParseDuration(text)
	check(t, err)
	for began := time.Now(); time.Since(began) < d; {
		seed := rand.Uint64()
		if !t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { mix(t, seed, 10*time.Minute) }) {
			return
		}
	}
}

// mix runs flows of all shapes, under faults that change, for about so long of
// virtual time.
func mix(t *testing.T, seed uint64, long time.Duration) {
	t.Logf("seed %d", seed)
	c := StackConfig{Scripts: 3, Slots: 6}
	c.Mux = func(c *mux.Config) { c.Memory = 64 << 20 }
	c.Node = func(c *exit.Config) { c.Memory = 64 << 20 }
	virtual(t, c, func(t *testing.T, s *Stack) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		m := &mixer{t: t, s: s}
		m.addr, m.packets = s.serve(t, m.serve), s.servePackets(t, EchoPacket)
		for end := time.Now().Add(long); time.Now().Before(end); {
			s.Relay.Set(randomKnobs(rnd), fmt.Sprintf("d%d", rnd.IntN(3)))
			for range rnd.IntN(4) {
				m.start(rand.New(rand.NewPCG(seed, rnd.Uint64())))
			}
			if rnd.IntN(4) == 0 {
				m.startTalk(rand.New(rand.NewPCG(seed, rnd.Uint64())))
			}
			time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
		}
		s.Relay.Set(func(k *Knobs) { *k = Knobs{RTT: rtt} })
		m.flows.Wait()
		t.Logf("%d flows, %d of them whole; %d datagrams, %d of which came back", m.total.Load(), m.whole.Load(), m.said.Load(), m.heard.Load())
		if m.whole.Load() < m.total.Load()/10 {
			t.Error("hardly any flow was whole")
		}
		if m.heard.Load() < m.said.Load()/3 {
			t.Error("hardly any datagram came back")
		}
		time.Sleep(10 * time.Minute) // the node forgets sessions whose name got lost
		ask(t, open(t, s.Connect, s.serve(t, Echo)), "still there")
		s.wantNothingLeft(t)
	})
}

// wantNothingLeft checks what must be true when only one flow is open.
func (s *Stack) wantNothingLeft(t *testing.T) {
	t.Helper()
	if n := s.Stats.FlowsOpen.Load(); n != 1 {
		t.Errorf("the client has %d flows", n)
	}
	if n := s.Node.Stats().Sessions; n != 1 {
		t.Errorf("the node has %d sessions", n)
	}
}

// randomKnobs is a deployment's state for a while; half of the time it is well.
func randomKnobs(rnd *rand.Rand) func(*Knobs) {
	k := Knobs{RTT: rtt / 2, Jitter: rtt / 4}
	switch rnd.IntN(20) {
	case 0:
		k.LoseBefore = 1 + rnd.IntN(4)
	case 1:
		k.LoseAfter = 1 + rnd.IntN(4)
	case 2:
		k.Duplicate = 1 + rnd.IntN(4)
	case 3:
		k.Late, k.LateBy = 1+rnd.IntN(4), time.Duration(rnd.IntN(40))*time.Second
	case 4:
		k.Truncate = 50 + rnd.IntN(100_000)
	case 5:
		k.Status, k.RetryAfter = http.StatusTooManyRequests, "5"
	case 6:
		k.Decoy = true
	case 7:
		k.Slots = 1 + rnd.IntN(3)
	case 8:
		k.ExchangeLimit = time.Duration(1+rnd.IntN(10)) * time.Second
	case 9:
		k.LoseBefore, k.LoseAfter, k.Duplicate = 10, 10, 10
	}
	return func(to *Knobs) { *to = k }
}

// A shape is what a flow does. It is what the app says first.
type shape struct {
	Up, Down  int64
	Slow      bool // both ends take their time
	AfterEnd  bool // the target answers after the app has ended
	UpSeed    uint64
	DownSeed  uint64
	AppResets bool
}

// serve is the target's side.
func (m *mixer) serve(c net.Conn) {
	var f shape
	if binary.Read(c, binary.BigEndian, &f) != nil {
		return
	}
	got := make(chan arrival, 1)
	go func() { got <- arrive(c) }()
	if !f.AfterEnd {
		_ = f.send(c, f.DownSeed, f.Down) // the app sees what became of it
	}
	a := <-got
	a.wantPart(m.t, fmt.Sprintf("the target of %+v", f), f.UpSeed, f.Up)
	if f.AfterEnd && a.err == nil {
		_ = f.send(c, f.DownSeed, f.Down)
	} else if f.AfterEnd {
		reset(c)
	}
}

func (s *shape) send(c net.Conn, seed uint64, size int64) error {
	if s.Slow {
		trickle(c, seed, size)
		return nil
	}
	return send(c, seed, size)
}

// mixer runs flows and counts them.
type mixer struct {
	t            *testing.T
	s            *Stack
	addr         string // of serve
	packets      string // of an echo
	flows        sync.WaitGroup
	total, whole atomic.Int64
	said, heard  atomic.Int64 // datagrams
}

// startTalk begins an association that echoes datagrams of one random size at a
// random pace. They may be lost, and double if the relay runs an exchange twice.
func (m *mixer) startTalk(rnd *rand.Rand) {
	k := newTalk(1+rnd.IntN(100), 8+rnd.IntN(1<<(3+rnd.IntN(10))), time.Duration(rnd.IntN(500))*time.Millisecond)
	m.flows.Go(func() {
		a, err := m.s.Associate(m.t.Context())
		if err != nil {
			m.t.Error(err)
			return
		}
		defer a.Close()
		go k.say(func(p []byte) { _, _ = a.WriteTo(p, packetAddr(m.packets)) })
		time.Sleep(k.pace)
		got := gather(a, k.at)
		if got.foreign > 0 {
			m.t.Errorf("%d datagrams came that were not sent", got.foreign)
		}
		m.said.Add(int64(k.packets))
		m.heard.Add(int64(len(got.seen)))
	})
}

// start begins a flow of a random shape.
func (m *mixer) start(rnd *rand.Rand) {
	size := func() int64 { return int64(rnd.IntN(1 << (4 + rnd.IntN(18)))) }
	f := shape{
		Up: size(), Down: size(), Slow: rnd.IntN(2) == 0, AfterEnd: rnd.IntN(2) == 0,
		UpSeed: uint64(rnd.Uint32()), DownSeed: uint64(rnd.Uint32()), AppResets: rnd.IntN(10) == 0,
	}
	dial := m.s.Connect
	if rnd.IntN(2) == 0 {
		dial = m.s.ConnectHTTP
	}
	m.flows.Go(func() { m.run(&f, dial) })
}

func (m *mixer) run(f *shape, dial Dialer) {
	m.total.Add(1)
	c, err := dial(m.t.Context(), m.addr)
	if err != nil {
		m.t.Error(err)
		return
	}
	defer c.Close()
	within(m.t, c, 15*time.Minute) // else it hangs
	if binary.Write(c, binary.BigEndian, f) != nil {
		return
	}
	sent := make(chan struct{})
	go func() { defer close(sent); _ = f.send(c, f.UpSeed, f.Up) }()
	if f.AppResets {
		go arrive(c)
		time.Sleep(5 * time.Second)
		reset(c)
		return
	}
	a := arrive(c)
	a.wantPart(m.t, fmt.Sprintf("the app of %+v", *f), f.DownSeed, f.Down)
	if a.err == nil {
		m.whole.Add(1)
		<-sent // an answer may be here before all is said; closing now would cut that off
	}
}
