// Package rule is what lists of destinations are made of: those of [route] at the
// proxy and of [node.egress] at the node. It parses and matches rules, and knows the
// parts of the address space that nothing leads to without being told so.
package rule

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// A Rule is one entry of a list:
//
//	10.0.0.0/8   192.0.2.1   2001:db8::/32     addresses
//	example.org                                that name and those below it
//	25                                         a port
//	example.org:22   10.0.0.0/8:22   [::1]:22  both must match
type Rule struct {
	Prefix netip.Prefix // zero: it is not about addresses
	Name   string       // in lower case, without dots at its ends; "": not about names
	Port   uint16       // 0: any
}

// ParseAll parses a list. The error names the first entry that is no rule.
func ParseAll(entries []string) ([]Rule, error) {
	rules := make([]Rule, 0, len(entries))
	for _, e := range entries {
		r, err := Parse(e)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// Parse reads one entry. Its error quotes the entry and says what to write.
func Parse(entry string) (r Rule, err error) {
	if entry != "" && IsDigits(entry) {
		if r.Port, err = parsePort(entry); err != nil {
			return Rule{}, fmt.Errorf("%q %w", entry, err)
		}
		return r, nil
	}
	if err = r.parseHost(entry); err == nil {
		return r, nil
	}
	host, port, split := net.SplitHostPort(entry)
	if split != nil {
		return Rule{}, fmt.Errorf("%q %w", entry, err)
	}
	if r.Port, err = parsePort(port); err == nil {
		err = r.parseHost(host)
	}
	if err != nil {
		return Rule{}, fmt.Errorf("%q %w", entry, err)
	}
	return r, nil
}

var (
	errNoRule = errors.New(`is no rule; write an IP address, a CIDR, a domain name, a port, or host:port`)
	errNoPort = errors.New("is not a port of 1 to 65535")
)

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '0' || !IsDigits(s) {
		return 0, errNoPort
	}
	return uint16(n), nil
}

// parseHost reads what is not a port.
func (r *Rule) parseHost(s string) error {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return errors.New(`is not a CIDR, such as "10.0.0.0/8"`)
		case p != p.Masked():
			return fmt.Errorf("has bits below its length; write %q", p.Masked())
		}
		r.Prefix = p
		return nil
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		r.Prefix = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		return nil
	}
	if below, ok := strings.CutPrefix(s, "*."); ok {
		return fmt.Errorf("must have no star: %q covers the names below it", below)
	}
	name := strings.TrimPrefix(s, ".")
	if !IsName(name) {
		return errNoRule
	}
	r.Name = Canonical(name)
	return nil
}

// HasHost tells a rule about hosts from one about a port alone.
func (r Rule) HasHost() bool { return r.Name != "" || r.Prefix.IsValid() }

// Matches reports whether the target falls under the rule. name is canonical. Before
// it is resolved, addr is the zero Addr, which lies in no prefix.
func (r Rule) Matches(name string, addr netip.Addr, port uint16) bool {
	switch {
	case r.Port != 0 && r.Port != port:
		return false
	case r.Prefix.IsValid():
		return r.Prefix.Contains(addr)
	case r.Name != "":
		return name == r.Name || strings.HasSuffix(name, "."+r.Name)
	}
	return true
}

// MayMatch is Matches before the name is resolved: its address may turn out to be any.
func (r Rule) MayMatch(name string, port uint16) bool {
	if r.Prefix.IsValid() {
		return r.Port == 0 || r.Port == port
	}
	return r.Matches(name, netip.Addr{}, port)
}

// Canonical is the name in the form that names are compared in.
func Canonical(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
