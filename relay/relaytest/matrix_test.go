package relaytest

import (
	"context"
	"flag"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"relaymux/mux"
	"relaymux/relay/exit"
)

// The environment of TestHostile88_Matrix.
const (
	matrixEnv      = "RELAYMUX_MATRIX"       // "all": every cell, not a sample
	matrixSeedEnv  = "RELAYMUX_SEED"         // of all chance, and of the sample; 1 without it
	matrixTableEnv = "RELAYMUX_MATRIX_TABLE" // file to write the table to, in Markdown
)

// wires are those of the axis.
var wires = []string{"link", "json"}

// A bearer is what carries exchanges: two deployments of a kind of relay, or the way
// straight to the node.
type bearer struct {
	name   string
	relays bool // there are relays
	udp    bool // it goes by HTTP/3 at first
	set    func(*StackConfig)
}

var bearers = []bearer{
	{"script", true, false, func(c *StackConfig) { c.Scripts = 2 }},
	{"worker", true, false, func(c *StackConfig) { c.Workers = 2 }},
	{"h1", false, false, func(c *StackConfig) { c.HTTP = "1.1" }},
	{"h2", false, false, func(c *StackConfig) { c.TLS, c.HTTP = true, "2" }},
	{"h3", false, true, func(c *StackConfig) { c.TLS, c.HTTP = true, "auto" }},
}

// A cell is a fault, on a wire, by a bearer, under a traffic.
type cell struct {
	*row
	wire    string
	bearer  *bearer
	traffic Traffic

	t        *testing.T
	s        *Stack
	cable    *cable
	host     *Host
	app      App
	seed     uint64
	rnd      *rand.Rand // of the traffic
	chance   *rand.Rand // of the fault
	meddlers []*meddler

	began     time.Time
	back      time.Duration // that it took until all worked again
	exchanges int
}

func (c *cell) link() bool { return c.wire == "link" }

// exists is the rule by which cells are left out: a relay's fault needs a relay, one of
// UDP needs HTTP/3, and what somebody writes into messages only the link can tell.
func (c *cell) exists() bool {
	switch c.kind {
	case ofRelay:
		return c.bearer.relays
	case ofWriter:
		return c.bearer.relays && c.link()
	case ofUDP:
		return c.bearer.udp
	case ofTCP:
		return !c.bearer.udp
	}
	return true
}

// cells are all, or of each fault on each wire one that seed chooses.
func cells(all bool, seed uint64) (list []cell) {
	for i := range rows {
		for _, wire := range wires {
			var some []cell
			for j := range bearers {
				for _, kind := range Traffics() {
					if c := (cell{row: &rows[i], wire: wire, bearer: &bearers[j], traffic: kind}); c.exists() {
						some = append(some, c)
					}
				}
			}
			if raceEnabled && !all && wire != wires[i%len(wires)] {
				continue // what finds races needs no more
			}
			if !all && len(some) > 0 {
				n := rand.New(rand.NewPCG(seed, hashOf(rows[i].name+wire))).IntN(len(some))
				some = some[n : n+1]
			}
			list = append(list, some...)
		}
	}
	return list
}

func hashOf(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	return h.Sum64()
}

// TestHostile88_Matrix has every fault strike every traffic, on either wire, by whatever carries
// it. The promise is: each byte arrives once and in order, or the connection is reset;
// a datagram arrives whole, or not at all. On the link no connection is lost, unless the
// node is. After the fault all works as before.
//
// Without RELAYMUX_MATRIX=all it is a sample. A cell that failed is run again by its name
// and its seed, as it says. With -v a table is printed.
func TestHostile88_Matrix(t *testing.T) {
	seed := uint64(1)
	if text := os.Getenv(matrixSeedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", matrixSeedEnv, err)
		}
	}
	one := strings.HasPrefix(flag.Lookup("test.run").Value.String(), "TestHostile88_Matrix/")
	all := os.Getenv(matrixEnv) == "all" || one
	m := newMatrixTable()
	t.Cleanup(func() { m.tell(t, seed) })
	for _, c := range cells(all, seed) {
		name := strings.Join([]string{c.row.name, c.wire, c.bearer.name, c.traffic.Name}, "/")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("again: %s=%d go test -run '%s$' ./relay/relaytest", matrixSeedEnv, seed, strings.ReplaceAll(t.Name(), "/", "$/"))
				}
			})
			c.run(t, m, seed)
		})
	}
}

// grace is how long the link holds out without any relay, in a cell: longer than a fault
// and the rest that a relay gets after it.
const grace = 5 * time.Minute

func (c *cell) run(t *testing.T, m *matrixTable, seed uint64) {
	c.seed, c.rnd = seed, rand.New(rand.NewPCG(seed, hashOf(t.Name())))
	c.chance = rand.New(rand.NewPCG(c.rnd.Uint64(), 0))
	book := new(logbook)
	config := StackConfig{Link: c.link(), Mortal: true, Log: book.log()}
	c.bearer.set(&config)
	config.Mux = func(m *mux.Config) {
		m.Memory = 64 << 20
		if m.Link != nil {
			m.Link.Grace = grace
		}
	}
	config.Node = func(n *exit.Config) { n.Memory = 64 << 20 }
	config.Memory = new(Network)
	c.cable = &cable{network: config.Memory}
	config.Dial = c.cable.connect
	config.Relay = func(r *RelayConfig) {
		r.Seed = seed
		if c.hook != nil {
			c.hook(c, r)
		}
	}
	virtual(t, config, func(t *testing.T, s *Stack) {
		c.t, c.s = t, s
		c.open()
		c.work()
		c.judge(book)
		m.add(c)
	})
}

// open begins what there is around the Stack.
func (c *cell) open() {
	c.way(Path{})
	ln, err := c.s.Listen()
	check(c.t, err)
	pc, err := c.s.ListenPacket()
	check(c.t, err)
	c.t.Cleanup(func() { ln.Close(); pc.Close() })
	c.host = NewHost(ln, pc)
	c.host.Once = c.link()
	c.app = App{Dial: c.s.Connect, Associate: func(ctx context.Context) (net.PacketConn, error) { return c.s.Associate(ctx) }}
}

// way makes the way of datagrams to the node so, which is 20 ms long in any case.
func (c *cell) way(p Path) {
	p.Delay = 20 * time.Millisecond
	c.s.config.Memory.SetPath(c.s.Exit.Host, p, c.seed)
}

// work carries the traffic, has the fault strike, and sees whether all works after it.
func (c *cell) work() {
	ctx := c.t.Context()
	c.began = time.Now()
	if !c.host.Visit(ctx, c.app, errand{Up: 100, Down: 100}) {
		c.t.Error("the first connection was lost")
	}
	before := 500*time.Millisecond + time.Duration(c.rnd.Int64N(int64(4*time.Second)))
	strike := time.AfterFunc(before, func() {
		over := c.begin(c)
		time.AfterFunc(c.lasts, over)
	})
	defer strike.Stop()
	end := time.Now().Add(before + c.lasts + 10*time.Second)
	c.traffic.Run(c.host, ctx, c.app, c.rnd, end)
	time.Sleep(time.Until(end))
}
