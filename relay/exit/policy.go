package exit

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"relaymux/mux/rule"
	"relaymux/mux/wire"
)

// Policy is which targets the node dials. Without more words it is the public
// Internet, but for mail: not the node's own machine and network, not what only
// makes sense there, and not what a cloud tells only to its machines.
type Policy struct {
	// AllowPrivate opens private and loopback addresses and the machine's own.
	// Cloud metadata, link-local, multicast and the like stay closed.
	AllowPrivate bool

	// Allow and Deny are lists of CIDRs, name suffixes, ports, and host:port.
	// Allow wins, also over what is closed by default: an entry with a host
	// opens that host, a port opens that port, host:port both.
	Allow, Deny []string

	// Listen are the node's own listeners, which it never dials. An
	// unspecified address stands for all of the machine's.
	Listen []netip.AddrPort
}

// policy is a Policy ready to be asked.
type policy struct {
	allowPrivate bool
	allow, deny  []rule.Rule
	machine      rule.Machine
}

func newPolicy(p Policy) (*policy, error) {
	allow, err := rule.ParseAll(p.Allow)
	if err != nil {
		return nil, fmt.Errorf("allow: %w", err)
	}
	deny, err := rule.ParseAll(p.Deny)
	if err != nil {
		return nil, fmt.Errorf("deny: %w", err)
	}
	deny = append(deny, rule.Rule{Port: portSMTP})
	if !p.AllowPrivate { // RFC 6761, section 6.3: not for a resolver to say
		deny = append(deny, rule.Rule{Name: "localhost"})
	}
	for _, name := range metadataNames() {
		deny = append(deny, rule.Rule{Name: name})
	}
	return &policy{allowPrivate: p.AllowPrivate, allow: allow, deny: deny, machine: rule.Machine{Listen: p.Listen}}, nil
}

// portSMTP is refused by default: mail from an exit is spam, and gets its address
// listed. Submission (587, 465) asks for a password and is open.
const portSMTP = 25

// metadataNames are what clouds call the service that hands out a machine's
// credentials. Their addresses are closed as well; the names are refused before
// a resolver could say something else.
func metadataNames() []string {
	return []string{
		"metadata.google.internal", "metadata.goog", "metadata", "instance-data.ec2.internal", "instance-data", // Google; AWS
		"metadata.azure.internal", "metadata.tencentyun.com",
	}
}

// splitTarget splits what is to be dialled. A name that cannot be one is said not
// to exist.
func splitTarget(address string) (name string, port uint16, err error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil || !validName(host) {
		return "", 0, &wire.DialError{Reason: wire.NameNotFound}
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, &wire.DialError{Reason: wire.Failed}
	}
	return rule.Canonical(host), uint16(n), nil
}

// checkName refuses a target before its name is resolved, if no address could
// make a difference.
func (p *policy) checkName(name string, port uint16) error {
	for _, r := range p.deny {
		if !r.Matches(name, netip.Addr{}, port) {
			continue
		}
		if !p.allows(r.HasHost(), func(a rule.Rule) bool { return a.MayMatch(name, port) }) {
			return errDenied()
		}
	}
	return nil
}

// checkAddress refuses an address that is about to be dialled for name.
func (p *policy) checkAddress(name, address string) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return errDenied()
	}
	addr, port := a.Addr().Unmap().WithZone(""), a.Port()
	if p.refuses(name, addr, port) {
		return errDenied()
	}
	if inner, ok := rule.Embedded(addr); ok && p.refuses(name, inner, port) {
		return errDenied()
	}
	return nil
}

func (p *policy) refuses(name string, addr netip.Addr, port uint16) bool {
	return p.denied(name, addr, port) || p.closed(name, addr, port)
}

func errDenied() error { return &wire.DialError{Reason: wire.Denied} }

// denied asks the deny list. An entry about a host is lifted by an allow entry
// about the host, one about a port by one about the port.
func (p *policy) denied(name string, addr netip.Addr, port uint16) bool {
	for _, r := range p.deny {
		if r.Matches(name, addr, port) && !p.allows(r.HasHost(), func(a rule.Rule) bool { return a.Matches(name, addr, port) }) {
			return true
		}
	}
	return false
}

// allows reports whether an entry of the allow list matches that is about the
// host, or else about the port.
func (p *policy) allows(host bool, matches func(rule.Rule) bool) bool {
	return slices.ContainsFunc(p.allow, func(r rule.Rule) bool {
		about := r.Port != 0
		if host {
			about = r.HasHost()
		}
		return about && matches(r)
	})
}

// closed reports whether the address is one that no deny list needs to name.
func (p *policy) closed(name string, addr netip.Addr, port uint16) bool {
	if p.allows(true, func(a rule.Rule) bool { return a.Matches(name, addr, port) }) {
		return false
	}
	if p.machine.Listens(addr, port) || p.machine.Has(addr) && !p.allowPrivate {
		return true
	}
	return rule.IsSpecial(addr) || !p.allowPrivate && rule.IsPrivate(addr)
}

// validName refuses what no resolver should see: the empty name, one above the
// 253 characters of RFC 1035, control characters, spaces, and zones.
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	return strings.IndexFunc(name, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '%' }) < 0
}
