package setup

import (
	"net/netip"

	"relaymux/socks/pac"
)

// pacText is the PAC file for where the client's config has the proxy first.
func pacText() string {
	return pac.Script([]netip.AddrPort{netip.MustParseAddrPort(usualListen)}, false)
}
