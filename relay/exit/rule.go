package exit

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// A rule is one entry of an allow or a deny list:
//
//	10.0.0.0/8   192.0.2.1   2001:db8::/32     addresses
//	example.org                                that name and those below it
//	25                                         a port
//	example.org:22   10.0.0.0/8:22   [::1]:22  both must match
type rule struct {
	prefix netip.Prefix
	name   string
	port   uint16 // 0: any
}

func parseRules(entries []string) ([]rule, error) {
	rules := make([]rule, 0, len(entries))
	for _, e := range entries {
		r, err := parseRule(e)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func parseRule(entry string) (r rule, err error) {
	if port, err := strconv.ParseUint(entry, 10, 16); err == nil && port > 0 {
		return rule{port: uint16(port)}, nil
	}
	host := entry
	if h, p, err := net.SplitHostPort(entry); err == nil {
		port, err := strconv.ParseUint(p, 10, 16)
		if err != nil || port == 0 {
			return rule{}, fmt.Errorf("%q: not a port", entry)
		}
		host, r.port = h, uint16(port)
	}
	if r.prefix, err = parsePrefix(host); err == nil {
		return r, nil
	}
	r.name = canonicalName(strings.TrimPrefix(strings.TrimPrefix(host, "*"), "."))
	if !validName(r.name) || strings.ContainsAny(r.name, ":/*[]") || strings.Trim(r.name, "0123456789.") == "" {
		return rule{}, fmt.Errorf("%q: neither a CIDR, a name, a port nor host:port", entry)
	}
	return r, nil
}

// parsePrefix reads a CIDR or an address.
func parsePrefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
}

// hasHost tells a rule about hosts from one about a port alone.
func (r rule) hasHost() bool { return r.name != "" || r.prefix.IsValid() }

// matches reports whether the target falls under the rule. Before the name is
// resolved, addr is the zero Addr, which lies in no prefix.
func (r rule) matches(name string, addr netip.Addr, port uint16) bool {
	switch {
	case r.port != 0 && r.port != port:
		return false
	case r.prefix.IsValid():
		return r.prefix.Contains(addr)
	case r.name != "":
		return name == r.name || strings.HasSuffix(name, "."+r.name)
	}
	return true
}

// mayMatch is matches before the name is resolved: its address may turn out to
// be any.
func (r rule) mayMatch(name string, port uint16) bool {
	if r.prefix.IsValid() {
		return r.port == 0 || r.port == port
	}
	return r.matches(name, netip.Addr{}, port)
}

// canonicalName is the name in the form that names are compared in.
func canonicalName(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// validName refuses what no resolver should see: the empty name, one above the
// 253 characters of RFC 1035, control characters, spaces, and zones.
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	return strings.IndexFunc(name, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '%' }) < 0
}
