package exit

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"relaymux/mux/link"
)

// SetClients replaces those who may open links. The links of who is not among
// them any more, or has another secret, end at once, and so do their streams.
func (n *Node) SetClients(clients []link.Client) {
	ways := len(clients)
	if n.keyed {
		ways++
	}
	n.shared.Store(ways > 1)
	end(n.links.setClients(clients, func() *clientUse { return newClientUse(n.links.clientDials, &n.shared) }))
}

// setClients has use, which is called with t.mu held, make what new clients have.
func (t *links) setClients(clients []link.Client, use func() *clientUse) (revoked []*linkEnd) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.responder.SetClients(clients)
	stay := make(map[string]bool)
	for _, c := range t.clients {
		stay[c.Name] = stay[c.Name] || lets(t.responder, c)
	}
	t.clients = slices.Clone(clients)
	t.turn++
	t.on.Store(len(clients) > 0)
	for _, c := range clients {
		if t.uses[c.Name] == nil {
			t.uses[c.Name] = use()
		}
	}
	for id, l := range t.all {
		if !stay[l.client] {
			delete(t.all, id)
			revoked = append(revoked, l)
		}
	}
	t.forgetUses()
	return revoked
}

// forgetUses drops those of who is no client any more, and has nothing open. t.mu is held.
func (t *links) forgetUses() {
	maps.DeleteFunc(t.uses, func(name string, u *clientUse) bool {
		is := slices.ContainsFunc(t.clients, func(c link.Client) bool { return c.Name == name })
		return !is && u.streams.Load() == 0
	})
}

// lets reports whether r would let c in. It is asked by a hello of c's, for
// secrets have no other way of being compared.
func lets(r *link.Responder, c link.Client) bool {
	_, hello, err := link.Hello(c.Secret, nil)
	if err != nil {
		return false
	}
	a, err := r.Accept(hello)
	return err == nil && a.Client == c.Name
}

// ClientUsage is what one client has used since the node began.
type ClientUsage struct {
	Name               string
	Links, Streams     int    // open now
	Exchanges, Opened  uint64 // and streams that were opened
	BytesUp, BytesDown uint64 // payload
}

// Clients tells what the clients of the links use, in the order in which they
// were set.
func (n *Node) Clients() []ClientUsage {
	t := &n.links
	t.mu.Lock()
	defer t.mu.Unlock()
	open := make(map[string]int)
	for _, l := range t.all {
		open[l.client]++
	}
	usage := make([]ClientUsage, 0, len(t.clients))
	for _, c := range t.clients {
		u := t.uses[c.Name]
		usage = append(usage, ClientUsage{
			Name: c.Name, Links: open[c.Name], Streams: int(u.streams.Load()),
			Exchanges: u.exchanges.Load(), Opened: u.opened.Load(), BytesUp: u.up.Load(), BytesDown: u.down.Load(),
		})
	}
	return usage
}

// newest parts the links that were heard of last, at most many, from the others.
func newest(list []*linkEnd, many int) (first, others []*linkEnd) {
	if len(list) <= many {
		return list, nil
	}
	type aged struct {
		l    *linkEnd
		seen time.Time
	}
	byAge := make([]aged, 0, len(list))
	for _, l := range list {
		byAge = append(byAge, aged{l, l.seen()}) // once, for it moves
	}
	slices.SortFunc(byAge, func(a, b aged) int { return cmp.Compare(b.seen.UnixNano(), a.seen.UnixNano()) })
	for i, a := range byAge {
		if list[i] = a.l; i < many {
			first = list[:i+1]
		}
	}
	return first, list[many:]
}
