package socks

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"relaymux/mux/wire"
)

// Limits of RFC 1035, section 2.3.4, in bytes of text without a trailing dot.
const (
	maxName  = 253
	maxLabel = 63
)

// errBadHost and errBadPort are about what was written, not about what it means.
var (
	errBadHost = errors.New("not a host name or IP address")
	errBadPort = errors.New("not a port number")
)

// Why a well-formed destination is not dialed. They carry the reason as dial
// errors do.
var (
	errForbidden = &wire.DialError{Reason: wire.Denied, Detail: "nothing can lead to this address"}
	errLoop      = &wire.DialError{Reason: wire.Denied, Detail: "this address is the proxy itself"}
)

// reachable checks where a client wants to go, and returns the canonical host. The
// errors wrap those above.
func reachable(host string, port uint16) (string, error) {
	name, err := canonicalHost(host)
	if err != nil {
		return "", err
	}
	if port == 0 || !isDialable(name) {
		return "", fmt.Errorf("destination %q port %d: %w", host, port, errForbidden)
	}
	return name, nil
}

// destination is reachable for a TCP connection of a client that reached us through
// local: it must not come back here.
func (s *Server) destination(host string, port uint16, local netip.Addr) (string, error) {
	name, err := reachable(host, port)
	if err != nil {
		return "", err
	}
	if s.isSelf(name, port, local) {
		return "", fmt.Errorf("destination %q port %d: %w", host, port, errLoop)
	}
	return name, nil
}

// isDialable tells whether a canonical host can be the end of a connection.
// Where it leads, and whether it may, is the node's decision. The unspecified
// address is out since dialing it means this host.
func isDialable(host string) bool {
	addr, err := netip.ParseAddr(host)
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return err != nil || !addr.IsUnspecified() && !addr.IsMulticast() && addr != broadcast
}

// isSelf tells whether a connection from this machine to host and port would
// arrive at this program.
func (s *Server) isSelf(host string, port uint16, local netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return arrivesAt(s.self, host, port, local)
}

// arrivesAt tells whether a connection to host and port reaches one of these sockets.
func arrivesAt(bound []netip.AddrPort, host string, port uint16, local netip.Addr) bool {
	return slices.ContainsFunc(bound, func(a netip.AddrPort) bool {
		return a.Port() == port && arrives(host, a.Addr().Unmap(), local)
	})
}

// Refusal is why a Server that listens at these addresses refuses a destination, which
// is as ParseTarget returns it, to a program of this machine; "" if it does not.
func Refusal(host string, port uint16, listen []netip.AddrPort) string {
	switch {
	case arrivesAt(listen, host, port, netip.AddrFrom4([4]byte{127, 0, 0, 1})):
		return "the proxy itself"
	case !isDialable(host):
		return errForbidden.Detail
	}
	return ""
}

// arrives tells whether a connection to host reaches a socket bound to bound,
// on a machine that is known to have the address local.
func arrives(host string, bound, local netip.Addr) bool {
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return isLocalhost(host) && (bound.IsLoopback() || bound.IsUnspecified())
	case bound.IsUnspecified():
		return addr.IsLoopback() || addr == local
	default:
		return addr == bound
	}
}

// isLocalhost knows the names of RFC 6761, section 6.3.
func isLocalhost(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// splitAuthority splits "host:port" and "[v6]:port". The port may be missing
// if there is a fallback other than 0. Of the host it sees only that brackets
// are around an IPv6 address and around nothing else.
func splitAuthority(s string, fallback uint16) (host string, port uint16, err error) {
	if fallback != 0 && (!strings.Contains(s, ":") || strings.HasSuffix(s, "]")) {
		s += ":"
	}
	host, text, err := net.SplitHostPort(s)
	if err != nil || strings.HasPrefix(s, "[") != strings.Contains(host, ":") {
		return "", 0, fmt.Errorf("%q: %w", s, errBadHost)
	}
	if text == "" && fallback != 0 {
		return host, fallback, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q: %w", s, errBadPort)
	}
	return host, uint16(n), nil
}

// ParseTarget reads host:port, or [v6]:port, as Request has them.
func ParseTarget(s string) (host string, port uint16, err error) {
	if host, port, err = splitAuthority(s, 0); err == nil {
		host, err = canonicalHost(host)
	}
	switch {
	case err != nil:
		return "", 0, err
	case port == 0:
		return "", 0, fmt.Errorf("%q: %w", s, errBadPort)
	}
	return host, port, nil
}

// canonicalHost returns the one way to write the host that s means.
//
// An IPv4 address may come in any form that the old inet_aton takes, as 0x7f.1
// or 2130706433: the resolver at the far end might take them too, and no check
// of addresses must be passed by writing one as a name.
func canonicalHost(s string) (string, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return addr.Unmap().String(), nil
	}
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if !isName(name) {
		return "", fmt.Errorf("%q: %w", s, errBadHost)
	}
	if !endsInNumber(name) {
		return name, nil
	}
	addr, ok := parseIPv4(name)
	if !ok {
		return "", fmt.Errorf("%q: %w", s, errBadHost)
	}
	return addr.String(), nil
}

// isName tells whether s is labels of letters, digits, hyphens and underscores.
// Names in the wild have underscores, and hyphens also at the ends of labels.
// Names of other scripts come as A-labels (RFC 5890), which are plain letters.
func isName(s string) bool {
	if len(s) > maxName {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxLabel || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// endsInNumber tells whether the last label is a number, which no top-level
// domain is. Such a name is an IPv4 address or nothing (WHATWG URL, "ends in a
// number checker").
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// parseIPv4 reads one to four numbers, of which the last fills all the bytes
// that the others leave (POSIX inet_addr).
func parseIPv4(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var sum uint64
	for i, part := range parts {
		n, ok := parseNumber(part)
		limit, shift := uint64(256), 8*(3-i)
		if i == len(parts)-1 {
			limit, shift = 1<<(8*(4-i)), 0
		}
		if !ok || n >= limit {
			return netip.Addr{}, false
		}
		sum |= n << shift
	}
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), true
}

// parseNumber reads a number as C writes it: 0x hexadecimal, 0 octal, decimal.
func parseNumber(s string) (uint64, bool) {
	base := 10
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		s, base = hex, 16
	} else if len(s) > 1 && s[0] == '0' {
		base = 8
	}
	n, err := strconv.ParseUint(s, base, 33)
	return n, err == nil
}
