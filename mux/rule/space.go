package rule

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Parts of the address space, after the IANA special-purpose registries
// (RFC 6890).
var (
	privateSpace = prefixes(
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", // RFC 1918
		"100.64.0.0/10",          // RFC 6598, behind a carrier's NAT
		"127.0.0.0/8", "::1/128", // loopback
		"fc00::/7", "fec0::/10", // RFC 4193; site-local, RFC 3879
	)
	specialSpace = prefixes(
		"0.0.0.0/8", "::/128", // "this host"
		"169.254.0.0/16", "fe80::/10", // link-local, with the clouds' 169.254.169.254
		"fd00:ec2::/32", "fd20:ce::254/128", // metadata and credentials of AWS, of Google
		"100.100.100.200/32", "168.63.129.16/32", // metadata of Alibaba; Azure's host, which answers its machines alone
		"192.0.0.0/24", "198.18.0.0/15", // RFC 6890; RFC 2544 benchmarks
		"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20", // documentation
		"224.0.0.0/4", "ff00::/8", // multicast
		"240.0.0.0/4",                             // RFC 1112, with the broadcast address
		"2001::/32", "64:ff9b:1::/48", "100::/64", // Teredo; local NAT64, RFC 8215; discard
		"2001:2::/48", "5f00::/16", // RFC 5180 benchmarks; segment routing, RFC 9602
	)
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// IsPrivate reports whether a is of a private network, or of the machine alone.
func IsPrivate(a netip.Addr) bool { return within(privateSpace, a) }

// IsSpecial reports whether a is one that no connection to a host of the Internet, or
// of a private network, goes to: link-local, metadata of clouds, multicast and the like.
func IsSpecial(a netip.Addr) bool { return within(specialSpace, a) }

// Source is what counts as one source of what comes: an IPv4 address, or an IPv6 network of
// 64 bits, which one host may have to itself.
func Source(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits) // the zero Prefix for the zero Addr
	return p
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// wrappers are the IPv6 prefixes that carry an IPv4 address, and at which byte.
var wrappers = [...]struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64, RFC 6052
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4, RFC 3056
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // translated, RFC 2765
	{netip.MustParsePrefix("::/96"), 12},           // compatible, RFC 4291 section 2.5.5.1
}

// Embedded returns the IPv4 address that an IPv6 address leads to, if any.
// Mapped addresses (::ffff:0:0/96) are unmapped before. :: and ::1 are none.
func Embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() || a.IsUnspecified() || a.IsLoopback() {
		return netip.Addr{}, false
	}
	for _, w := range wrappers {
		if w.prefix.Contains(a) {
			b := a.As16()
			return netip.AddrFrom4([4]byte(b[w.at : w.at+4])), true
		}
	}
	return netip.Addr{}, false
}

// A Machine is the one that the program runs on: its addresses, which change, but
// rarely, and a look costs as much as a dial.
type Machine struct {
	// Listen are the program's own listeners. An unspecified address stands for all
	// of the machine's.
	Listen []netip.AddrPort

	mu    sync.Mutex
	asked time.Time
	addrs []netip.Addr
}

const ownAddrsFor = 30 * time.Second

// Has reports whether a is an address of one of the machine's interfaces.
func (m *Machine) Has(a netip.Addr) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked.IsZero() || time.Since(m.asked) > ownAddrsFor {
		m.asked, m.addrs = time.Now(), interfaceAddrs(m.addrs)
	}
	return slices.Contains(m.addrs, a)
}

// Listens reports whether a connection from here to a and port would arrive at the
// program itself.
func (m *Machine) Listens(a netip.Addr, port uint16) bool {
	for _, l := range m.Listen {
		if l.Port() == port && (l.Addr() == a || l.Addr().IsUnspecified() && (a.IsLoopback() || a.IsUnspecified() || m.Has(a))) {
			return true
		}
	}
	return false
}

// interfaceAddrs returns the machine's addresses, or old if it will not tell.
func interfaceAddrs(old []netip.Addr) []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return old
	}
	var addrs []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			addrs = append(addrs, p.Addr().Unmap().WithZone(""))
		}
	}
	return addrs
}
