package top

import (
	"cmp"
	"slices"
	"strings"

	"relaymux/socks/dash"
)

// An order is how flows are sorted: by the key that asks for it.
type order struct {
	key  byte // d and u by bytes a second, t by bytes in all, e by exchanges, a by age, h by host
	turn bool // the other way round
}

// by is the order that a key asks for. The same key again turns it.
func (o order) by(key byte) order {
	if o.key == key {
		o.turn = !o.turn
		return o
	}
	return order{key: key}
}

// name is what the list is sorted by.
func (o order) name() string {
	name := map[byte]string{'d': "down/s", 'u': "up/s", 't': "bytes", 'e': "exchanges", 'a': "age", 'h': "host"}[o.key]
	if o.turn {
		name += ", reversed"
	}
	return name
}

// sort returns the flows in that order: numbers with the largest first, hosts by their
// names, and what is equal with the newest first.
func (o order) sort(list []dash.Flow, r rates) []dash.Flow {
	list = slices.Clone(list)
	compare := func(a, b dash.Flow) int {
		switch o.key {
		case 'd':
			return cmp.Compare(r.flows[b.ID].down, r.flows[a.ID].down)
		case 'u':
			return cmp.Compare(r.flows[b.ID].up, r.flows[a.ID].up)
		case 't':
			return cmp.Compare(b.Up+b.Down, a.Up+a.Down)
		case 'e':
			return cmp.Compare(b.Exchanges, a.Exchanges)
		case 'a':
			return cmp.Compare(b.Age, a.Age)
		}
		return strings.Compare(a.Host, b.Host)
	}
	slices.SortStableFunc(list, func(a, b dash.Flow) int {
		c := compare(a, b)
		if o.turn {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(b.ID, a.ID))
	})
	return list
}

// rates are what moved between two states.
type rates struct {
	ok          bool               // there are two
	down, up    uint64             // bytes a second
	exchanges   float64            // a second,
	deployments map[string]float64 // and of each deployment those that ended
	flows       map[uint64]rate
}

// A rate is bytes a second.
type rate struct{ down, up uint64 }

func ratesOf(before, now *dash.Status) (r rates) {
	took := now.Time.Sub(before.Time).Seconds()
	if before.Time.IsZero() || took <= 0 || now.Uptime < before.Uptime { // it is another relaymux
		return r
	}
	second := func(now, then uint64) float64 { return float64(max(now, then)-then) / took }
	r = rates{
		ok: true, exchanges: second(now.Totals.Exchanges, before.Totals.Exchanges),
		down: uint64(second(now.Totals.Down, before.Totals.Down)), up: uint64(second(now.Totals.Up, before.Totals.Up)),
		deployments: map[string]float64{}, flows: map[uint64]rate{},
	}
	then := map[string]uint64{}
	for i := range before.Deployments {
		then[before.Deployments[i].Name] = ended(&before.Deployments[i])
	}
	for i := range now.Deployments {
		d := &now.Deployments[i]
		if n, known := then[d.Name]; known {
			r.deployments[d.Name] = second(ended(d), n)
		}
	}
	flows := map[uint64]dash.Flow{}
	for _, f := range before.Flows {
		flows[f.ID] = f
	}
	for _, f := range now.Flows {
		old := flows[f.ID] // all of a new one is new
		r.flows[f.ID] = rate{uint64(second(f.Down, old.Down)), uint64(second(f.Up, old.Up))}
	}
	return r
}

// ended is how many exchanges of d have ended.
func ended(d *dash.Deployment) (n uint64) {
	for _, count := range d.Exchanges {
		n += count
	}
	return n
}
