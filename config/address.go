package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// parseListen checks the address of a listener and reports whether only this
// machine can reach it. Port 0 is any free one.
func parseListen(address string) (isLoopback bool, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host != "" && !isHost(host) {
		return false, fmt.Errorf(`%q must be address:port, such as "127.0.0.1:1080"`, address)
	}
	if port != "0" && !isPort(port) {
		return false, fmt.Errorf("%q has no port of 0 to 65535", address)
	}
	return isLoopbackHost(host), nil
}

// isPort reports whether s is a port that can be connected to, in plain
// digits.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

// isHost reports whether s is an IP address without brackets, or a name.
func isHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || isName(s)
}

// Lengths of names in bytes (RFC 1035, section 2.3.4; 253 is what 255 bytes on
// the wire leave for the text).
const (
	maxDomain = 253
	maxLabel  = 63
)

// isName reports whether s is a domain name of letters, digits, hyphens and,
// as some hosts have them, underscores. The last label cannot be a number: that
// would be a mistaken IP address.
func isName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > maxDomain {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return false
		}
	}
	return !isDigits(labels[len(labels)-1])
}

func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	}) < 0
}

func isDigits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// ruleMistake says what is wrong with a rule of [route] or [node.egress], ""
// if nothing is.
func ruleMistake(rule string) string {
	host, port, err := net.SplitHostPort(rule)
	switch {
	case rule != "" && isDigits(rule):
		if !isPort(rule) {
			return "is not a port of 1 to 65535"
		}
		return ""
	case strings.Contains(rule, "/"):
		return prefixMistake(rule)
	case strings.HasPrefix(rule, "*."):
		return fmt.Sprintf("must have no star: %q covers the names below it", rule[2:])
	case isHost(strings.TrimPrefix(rule, ".")):
		return ""
	case err == nil && isHost(strings.TrimPrefix(host, ".")) && isPort(port):
		return ""
	}
	return `is no rule; write an IP address, a CIDR, a domain name, a port, or host:port`
}

// prefixMistake says what is wrong with a CIDR.
func prefixMistake(text string) string {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return `is not a CIDR, such as "10.0.0.0/8"`
	case p != p.Masked():
		return fmt.Sprintf("has bits below its length; write %q", p.Masked())
	}
	return ""
}
