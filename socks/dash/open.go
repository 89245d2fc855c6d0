package dash

import (
	"log/slog"
	"net"
	"net/netip"
)

// Open listens at the address and on the Unix socket, "" for neither. What cannot be
// had is told to the log, for the proxy goes on without.
func Open(address, socket string, log *slog.Logger) (list []net.Listener) {
	if address != "" {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			log.Warn("no admin page", "err", err, "hint", "another address: --admin 127.0.0.1:PORT, or listen under [admin]")
		} else {
			list = append(list, ln)
		}
	}
	if socket != "" {
		ln, err := ListenSocket(socket)
		if err != nil {
			log.Warn("no admin socket", "err", err, "hint", "another path: socket under [admin]")
		} else {
			list = append(list, ln)
		}
	}
	return list
}

// HostsOf are the names by which a page that listens there may be called: that of the
// address, if it is a name.
func HostsOf(address string) []string {
	host, _, err := net.SplitHostPort(address)
	if _, isIP := netip.ParseAddr(host); err != nil || host == "" || isIP == nil {
		return nil
	}
	return []string{host}
}
