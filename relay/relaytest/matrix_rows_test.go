package relaytest

import (
	"math/rand/v2"
	"time"

	"relaymux/mux"
)

// The kinds of faults, by where they are.
const (
	ofRelay  = iota // what an emulated relay does to exchanges
	ofWriter        // what it writes into them
	ofLine          // the client's line, whatever goes over it
	ofTCP           // its connections
	ofUDP           // its datagrams
	ofNode
)

// A row is a fault: how it begins and ends, how long it lasts, and what it may cost.
type row struct {
	name  string
	kind  int
	lasts time.Duration
	begin func(c *cell) (over func())
	hook  func(c *cell, r *RelayConfig) // what relays do on their own account, if not nil
	lost  bool                          // the link may lose connections too: the node does
	rests bool                          // the program leaves relays alone for longer than an attempt lasts
	named string                        // how the log names what fails, "" if it need not
}

const usual = 20 * time.Second

// rows are all faults.
var rows = append(relayRows(), []row{
	{name: "a bit flipped", kind: ofWriter, lasts: usual, hook: meddles(flipped), begin: (*cell).meddle},
	{name: "messages cut", kind: ofWriter, lasts: usual, hook: meddles(cutOff), begin: (*cell).meddle},
	{name: "records swapped", kind: ofWriter, lasts: usual, hook: meddles(swapped), begin: (*cell).meddle},
	{name: "records doubled", kind: ofWriter, lasts: usual, hook: meddles(doubled), begin: (*cell).meddle},
	{name: "records left out", kind: ofWriter, lasts: usual, hook: meddles(without), begin: (*cell).meddle},
	{name: "messages of before", kind: ofWriter, lasts: usual, hook: meddles(older), begin: (*cell).meddle},

	{name: "outage of 5 s", kind: ofLine, lasts: 5 * time.Second, begin: cutLine(cut{silent: true}, Path{Lose: 1})},
	{name: "outage of 60 s", kind: ofLine, lasts: time.Minute, begin: cutLine(cut{silent: true}, Path{Lose: 1})},
	{name: "unreachable for 20 s", kind: ofLine, lasts: usual, begin: cutLine(cut{refused: true}, Path{Lose: 1})},
	{name: "reset in the middle", kind: ofTCP, lasts: usual, begin: cutLine(cut{reset: 20_000}, Path{})},
	{name: "silent in the middle", kind: ofTCP, lasts: usual, begin: cutLine(cut{stall: 20_000}, Path{})},
	{name: "1 KB a second", kind: ofTCP, lasts: usual, begin: cutLine(cut{rate: 1000}, Path{})},

	{name: "UDP blocked", kind: ofUDP, lasts: usual, begin: cutLine(cut{}, Path{Lose: 1})},
	{name: "UDP loses 1 in 20", kind: ofUDP, lasts: usual, begin: cutLine(cut{}, Path{Lose: 20})},
	{name: "UDP doubled, late", kind: ofUDP, lasts: usual, begin: cutLine(cut{}, Path{Duplicate: 5, Late: 5, LateBy: 100 * time.Millisecond})},
	{name: "UDP refused by a firewall", kind: ofUDP, lasts: usual, begin: cutLine(cut{}, Path{Refuse: true})},

	{name: "node restarts", kind: ofNode, lasts: usual, begin: restarts(1), lost: true},
	{name: "node restarts three times", kind: ofNode, lasts: usual, begin: restarts(3), lost: true},
	{name: "deployments come and go", kind: ofRelay, lasts: usual, begin: (*cell).reload},
	{name: "every relay fault in turn", kind: ofRelay, lasts: time.Minute, begin: (*cell).mix},
}...)

// relayRows are those of Faults, of both deployments at once.
func relayRows() (list []row) {
	for _, f := range Faults() {
		list = append(list, row{name: f.Name, kind: ofRelay, lasts: usual, named: f.Outcome, rests: f.Outcome == "quota", begin: func(c *cell) func() {
			c.s.Relay.Set(f.Set)
			return c.well
		}})
	}
	return list
}

// well makes relays as they are without a fault.
func (c *cell) well() { c.s.Relay.Set(func(k *Knobs) { *k = Knobs{RTT: rtt, Slots: 30} }) }

// cutLine is a fault of the client's line: of TCP, and of UDP.
func cutLine(tcp cut, udp Path) func(c *cell) func() {
	return func(c *cell) func() {
		c.cable.set(tcp)
		c.way(udp)
		return func() {
			c.cable.set(cut{})
			c.way(Path{})
		}
	}
}

// meddles has relays change one message in three, either way, when meddle says so.
func meddles(change func(*meddler, []byte) []byte) func(c *cell, r *RelayConfig) {
	return func(c *cell, r *RelayConfig) {
		c.meddlers = nil
		for _, hook := range []*func(string, []byte) []byte{&r.OnRequest, &r.OnAnswer} {
			m := &meddler{rnd: rand.New(rand.NewPCG(c.seed, uint64(len(c.meddlers)))), oneIn: 3, change: change}
			c.meddlers = append(c.meddlers, m)
			*hook = m.meddle
		}
	}
}

func (c *cell) meddle() func() {
	for _, m := range c.meddlers {
		m.set(true)
	}
	return func() {
		for _, m := range c.meddlers {
			m.set(false)
		}
	}
}

// restarts has the node crash n times.
func restarts(n int) func(c *cell) func() {
	return func(c *cell) func() {
		go func() {
			for range n {
				check(c.t, c.s.RestartNode(100*time.Millisecond+time.Duration(c.chance.Int64N(int64(3*time.Second)))))
				time.Sleep(time.Duration(c.chance.Int64N(int64(3 * time.Second))))
			}
		}()
		return func() {}
	}
}

// reload has the config change again and again: one deployment or both, old ones or new.
func (c *cell) reload() func() {
	done := make(chan bool)
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Duration(c.chance.IntN(2000)) * time.Millisecond):
			}
			var set []mux.Deployment
			for i := range c.s.ds {
				set = append(set, c.s.ds[i])
				if c.chance.IntN(2) == 0 {
					set[i] = c.s.renewed(i)
				}
			}
			if one := c.chance.IntN(4); one < len(set) {
				set = set[one : one+1]
			}
			c.s.Mux.SetDeployments(set, nil)
		}
	}()
	return func() { close(done); c.s.Mux.SetDeployments(c.s.ds, nil) }
}

// mix has one deployment after another have one fault after another.
func (c *cell) mix() func() {
	done := make(chan bool)
	go func() {
		all, ids := Faults(), c.s.Relay.ids()
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Duration(c.chance.IntN(3000)) * time.Millisecond):
			}
			of := ids[c.chance.IntN(len(ids))]
			c.s.Relay.Set(func(k *Knobs) { *k = Knobs{RTT: rtt / 2, Jitter: rtt / 4, Slots: 30} }, of)
			if c.chance.IntN(2) == 0 {
				c.s.Relay.Set(all[c.chance.IntN(len(all))].Set, of)
			}
		}
	}()
	return func() { close(done); c.well() }
}
