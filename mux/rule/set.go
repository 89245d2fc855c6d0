package rule

import (
	"net/netip"
	"slices"
	"strings"
)

// A Set is a list of rules that is asked which of them a destination falls under.
// Names are found by their labels, so that a list may have a hundred thousand of
// them; addresses and ports are gone through.
type Set struct {
	names map[string][]entry
	rest  []entry
}

type entry struct {
	Rule
	text string // as it was written
}

// ParseSet parses a list. The error names the first entry that is no rule.
func ParseSet(entries []string) (*Set, error) {
	s := &Set{names: make(map[string][]entry)}
	for _, text := range entries {
		r, err := Parse(text)
		if err != nil {
			return nil, err
		}
		if e := (entry{r, text}); r.Name != "" {
			s.names[r.Name] = append(s.names[r.Name], e)
		} else {
			s.rest = append(s.rest, e)
		}
	}
	return s, nil
}

// Find returns the entry under which a canonical host falls, a name or an IP
// literal. A name is not resolved: no CIDR matches it, but a port does. An address
// that wraps an IPv4 address falls under what that does, too.
func (s *Set) Find(host string, port uint16) (text string, found bool) {
	addr, err := netip.ParseAddr(host)
	if err == nil {
		return s.FindAddr(addr, port)
	}
	for name := host; ; {
		for _, e := range s.names[name] {
			if e.Port == 0 || e.Port == port {
				return e.text, true
			}
		}
		_, below, more := strings.Cut(name, ".")
		if !more {
			return s.find(netip.Addr{}, port)
		}
		name = below
	}
}

// FindAddr is Find for an address.
func (s *Set) FindAddr(addr netip.Addr, port uint16) (text string, found bool) {
	if inner, ok := Embedded(addr); ok {
		if text, found = s.find(inner, port); found {
			return text, true
		}
	}
	return s.find(addr, port)
}

func (s *Set) find(addr netip.Addr, port uint16) (string, bool) {
	for _, e := range s.rest {
		if e.Matches("", addr, port) {
			return e.text, true
		}
	}
	return "", false
}

// Opens reports whether an entry is about addresses like addr and no others: a
// single one, or a CIDR inside the space that is private or special. 0.0.0.0/0 does
// not say that it means the machine itself.
func (s *Set) Opens(addr netip.Addr, port uint16) bool {
	return slices.ContainsFunc(s.rest, func(e entry) bool {
		return e.Prefix.IsValid() && e.Matches("", addr, port) && (e.Prefix.IsSingleIP() || isWithin(e.Prefix))
	})
}

// isWithin reports whether all of p is private or special.
func isWithin(p netip.Prefix) bool {
	around := func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) }
	return slices.ContainsFunc(privateSpace, around) || slices.ContainsFunc(specialSpace, around)
}
