// Package route carries out [route]: which destinations go through the tunnel, which
// are connected to from this machine, and which are refused.
//
// The lists are asked in the order tunnel, block, direct; what is in none of them goes
// through the tunnel. A name is matched as it was asked for, and is not resolved to see
// whether a CIDR matches: that would tell a resolver about it.
package route

import (
	"fmt"
	"net/netip"

	"relaymux/mux/rule"
	"relaymux/socks"
)

// A Way is what becomes of a destination.
type Way uint8

const (
	Tunnel Way = iota // through the tunnel
	Block             // refused
	Direct            // connected to from this machine
)

func (w Way) String() string { return [...]string{"tunnel", "block", "direct"}[w] }

// A Verdict is what becomes of one destination, and why.
type Verdict struct {
	Way  Way
	Rule string // the list and its entry, or what else decides
}

// A List is one of the lists.
type List struct {
	Entries []string // rules of mux/rule
	At      string   // what a Verdict calls it: where it is written, and its key
}

// Lists are what a Rules is made of.
type Lists struct {
	Tunnel, Block, Direct List

	// Own are the program's own listeners, to which no direct connection leads. A
	// socks.Server refuses what leads to them before it asks for a way.
	Own []netip.AddrPort
}

// Rules are Lists ready to be asked, by many goroutines at the same time.
type Rules struct {
	lists         []list // in the order in which they are asked; empty ones are left out
	block, direct *rule.Set
	machine       rule.Machine
}

type list struct {
	way Way
	at  string
	set *rule.Set
}

// NewRules parses the lists.
func NewRules(l Lists) (*Rules, error) {
	r := &Rules{machine: rule.Machine{Listen: l.Own}}
	for _, of := range []struct {
		way Way
		List
		set **rule.Set
	}{{Tunnel, l.Tunnel, new(*rule.Set)}, {Block, l.Block, &r.block}, {Direct, l.Direct, &r.direct}} {
		set, err := rule.ParseSet(of.Entries)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", of.At, err)
		}
		*of.set = set
		if len(of.Entries) > 0 {
			r.lists = append(r.lists, list{of.way, of.At, set})
		}
	}
	return r, nil
}

// Decide returns what becomes of a destination, whose host is canonical as in
// socks.Request.
func (r *Rules) Decide(host string, port uint16) Verdict {
	for _, l := range r.lists {
		text, found := l.set.Find(host, port)
		if !found {
			continue
		}
		v := Verdict{l.way, fmt.Sprintf("%s: %q", l.at, text)}
		if addr, err := netip.ParseAddr(host); err == nil && l.way == Direct {
			if why := r.closed(addr, port); why != "" {
				return Verdict{Block, v.Rule + ", but " + why}
			}
		}
		return v
	}
	return Verdict{Tunnel, "no rule of [route]"}
}

// DecideText is what becomes of host:port as a person writes it: Decide, unless the proxy
// refuses it whatever the rules are.
func (r *Rules) DecideText(target string) (Verdict, error) {
	host, port, err := socks.ParseTarget(target)
	if err != nil {
		return Verdict{}, fmt.Errorf("write host:port, such as example.org:443: %w", err)
	}
	if why := socks.Refusal(host, port, r.machine.Listen); why != "" {
		return Verdict{Block, why}, nil
	}
	return r.Decide(host, port), nil
}

// closed says why no direct connection may lead to an address, "" if one may. A name
// that is direct must not become a way to what listens on this machine, or in its
// network, by resolving to it: for that the address itself has to be in the list.
func (r *Rules) closed(addr netip.Addr, port uint16) string {
	addr = addr.Unmap().WithZone("")
	if r.machine.Listens(addr, port) {
		return fmt.Sprintf("%s port %d is the proxy itself", addr, port)
	}
	if addr.IsUnspecified() {
		return fmt.Sprintf("%s is no address of a host", addr)
	}
	if inner, ok := rule.Embedded(addr); ok {
		if why := r.closed(inner, port); why != "" {
			return why
		}
	}
	if (rule.IsPrivate(addr) || rule.IsSpecial(addr) || r.machine.Has(addr)) && !r.direct.Opens(addr, port) {
		return fmt.Sprintf("%s is an address of this machine, of a private network or of special use: route.direct must have it, or its network", addr)
	}
	return ""
}

// check refuses an address that is about to be connected to for a direct destination.
func (r *Rules) check(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return &socks.BlockedError{Why: "no address: " + address}
	}
	if text, found := r.block.FindAddr(at.Addr().Unmap().WithZone(""), at.Port()); found {
		return &socks.BlockedError{Why: fmt.Sprintf("it resolves to %s, which %q in route.block is about", at.Addr(), text)}
	}
	if why := r.closed(at.Addr(), at.Port()); why != "" {
		return &socks.BlockedError{Why: why}
	}
	return nil
}
