package gso

import "net/netip"

// refusals remembers destinations that do not take trains: a tunnel's route, or
// one with another MTU than the device's. It forgets the oldest ones, for a
// price of one more refused call each.
type refusals struct {
	list []refusal
	turn int
}

type refusal struct {
	peer    netip.AddrPort
	strikes int // in a row
}

const (
	maxRefusals = 32
	enough      = 3 // strikes, until no more trains go there
)

func (r *refusals) find(peer netip.AddrPort) *refusal {
	for i := range r.list {
		if r.list[i].peer == peer {
			return &r.list[i]
		}
	}
	return nil
}

// off reports whether peer is to get single datagrams.
func (r *refusals) off(peer netip.AddrPort) bool {
	f := r.find(peer)
	return f != nil && f.strikes >= enough
}

// strike notes that a train to peer was refused.
func (r *refusals) strike(peer netip.AddrPort) {
	if f := r.find(peer); f != nil {
		f.strikes++
		return
	}
	if len(r.list) < maxRefusals {
		r.list = append(r.list, refusal{peer, 1})
		return
	}
	r.list[r.turn] = refusal{peer, 1}
	r.turn = (r.turn + 1) % maxRefusals
}

// taken notes that a train to peer went out.
func (r *refusals) taken(peer netip.AddrPort) {
	if f := r.find(peer); f != nil {
		f.strikes = 0
	}
}
