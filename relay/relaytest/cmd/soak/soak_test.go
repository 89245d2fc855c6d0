package main

import (
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relaymux/relay/relaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// grown are an hour's samples of a process whose figures grow by so much a minute, under
// a load that adds up to most, with a restart in the middle.
func grown(perMinute, most float64) []sample {
	rnd := rand.New(rand.NewPCG(1, 1))
	var all []sample
	for i := range 720 {
		at := time.Duration(i) * sampleEvery
		s := sample{at: time.Unix(0, 0).Add(at), life: 1, age: at}
		if i >= 360 {
			s.life, s.age = 2, at-360*sampleEvery
		}
		for f := range s.values {
			s.values[f] = 100 + perMinute*s.age.Minutes() + most*rnd.Float64()
		}
		all = append(all, s)
	}
	return all
}

// TestSlope: what grows is told from what comes and goes, also over restarts.
func TestSlope(t *testing.T) {
	from, to := time.Unix(0, 0).Add(10*time.Minute), time.Unix(0, 0).Add(time.Hour)
	for _, c := range []struct {
		perMinute, most float64
		grows           bool
	}{
		{0, 25, false}, {0, 500, false}, {0, 0, false}, {2 * mostSlope[descriptors], 25, true}, {1.2 * mostSlope[descriptors], 2, true}, {0.8 * mostSlope[descriptors], 2, false},
		{20 * mostSlope[descriptors], 500, true},
	} {
		points := minima(grown(c.perMinute, c.most), descriptors, from, to, time.Minute)
		by, ok := slope(points)
		if !ok || (by > bound(descriptors, points, by)) != c.grows {
			t.Errorf("%v a minute under %v: %v, %v", c.perMinute, c.most, by, ok)
		}
	}
	if _, ok := slope([]point{{0, 1, 1}, {1, 2, 1}, {2, 2, 2}}); ok {
		t.Error("three points have a slope")
	}
	var few, many []point
	for i := range 400 {
		p := point{float64(i), float64(i % 2), 1}
		if many = append(many, p); i < 100 {
			few = append(few, p)
		}
	}
	if a, b := chance(few, 0), chance(many, 0); a < 7.9*b || a > 8.1*b || chance(nil, 0) != 0 {
		t.Errorf("chance is %v with 100 points, %v with 400", a, b)
	}
}

// TestHear counts the goroutines of a list, those left out that have ended, and takes what
// collections leave.
func TestHear(t *testing.T) {
	var m member
	list := "SCHED 1005ms: gomaxprocs=2\n  P0: status=0\n  M0: p=0\n  G1: status=4(sleep) m=nil\n  G2: status=6() m=nil\n  G3: status=2() m=0"
	for line := range strings.Lines(list + "\nSCHED 2005ms: gomaxprocs=2") {
		if !m.hear(strings.TrimSuffix(line, "\n")) {
			t.Errorf("%q is for others", line)
		}
	}
	const gc = "gc 7 @120.251s 0%: 0.030+1.2+0.003 ms clock, 0.06+0.35/1.0/2.6+0.007 ms cpu, 30->31->12 MB, 30 MB goal, 0 MB stacks, 0 MB globals, 2 P"
	if !m.hear(gc) || !m.hear(gc+" (forced)") || m.heap != 12<<10 || m.goroutines != 2 {
		t.Errorf("%v KB, %d goroutines", m.heap, m.goroutines)
	}
	for _, line := range []string{"10:15:02 INF stopping", "  Gone", "", `{"msg":"node listens"}`} {
		if m.hear(line) {
			t.Errorf("%q is taken", line)
		}
	}
}

// TestGate carries both, breaks connections, and is silent.
func TestGate(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go relaytest.ServeTCP(ln, relaytest.Echo)
	pc, err := net.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		t.Skip(err) // somebody has that port
	}
	defer pc.Close()
	go relaytest.ServePackets(pc, relaytest.EchoPacket)
	g, err := openGate(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	dial := func(network string) net.Conn {
		c, err := net.Dial(network, g.address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	says := func(c net.Conn, within time.Duration) bool {
		_ = c.SetDeadline(time.Now().Add(within))
		if _, err := io.WriteString(c, "hello"); err != nil {
			return false
		}
		p := make([]byte, 5)
		_, err := io.ReadFull(c, p)
		return err == nil && string(p) == "hello"
	}
	tcp, udp := dial("tcp"), dial("udp")
	if !says(tcp, 10*time.Second) || !says(udp, 10*time.Second) {
		t.Error("it does not carry")
	}
	g.lose.Store(1)
	if says(udp, 50*time.Millisecond) || !says(tcp, 10*time.Second) {
		t.Error("only UDP is blocked")
	}
	g.lose.Store(0)
	g.silent.Store(true)
	if says(tcp, 50*time.Millisecond) || says(udp, 50*time.Millisecond) {
		t.Error("it is not silent")
	}
	g.silent.Store(false)
	again := dial("tcp")
	if !says(again, 10*time.Second) || !says(udp, 10*time.Second) {
		t.Error("it stays silent")
	}
	g.cut()
	if says(again, 10*time.Second) { // on the other one there is an echo left
		t.Error("a connection outlives the cut")
	}
}

func TestBadFlags(t *testing.T) {
	for _, args := range []string{"-nonsense", "word", "-time soon"} {
		var errs strings.Builder
		if code := command(t.Context(), strings.Fields(args), &errs, &errs); code != 2 {
			t.Errorf("%s: exit code %d", args, code)
		}
	}
}
