package daemon

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"relaymux/socks/dash"
)

// family is network, tcp or udp, for a socket at address: with an address of IPv4 that
// of IPv4 alone. By net.Listen 0.0.0.0 is all addresses of IPv6 too, so that who lets
// his network in would let in whoever reaches him by IPv6.
func family(network, address string) string {
	host, _, _ := net.SplitHostPort(address)
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().Is4() {
		return network + "4"
	}
	return network
}

// listen opens a port of the proxy.
func listen(at string) (net.Listener, error) {
	ln, err := net.Listen(family("tcp", at), at)
	if err != nil {
		return nil, fmt.Errorf("opening the proxy's port: %w (another address: listen under [proxy], RELAYMUX_PROXY_LISTEN, or --proxy 127.0.0.1:PORT)", err)
	}
	return ln, nil
}

// listenAdmin listens for the admin page at the address and on the Unix socket, "" for
// neither. What cannot be had is told to the log, for the proxy goes on without.
func listenAdmin(address, socket string, log *slog.Logger) (list []net.Listener) {
	if address != "" {
		ln, err := net.Listen(family("tcp", address), address)
		if err != nil {
			log.Warn("no admin page", "err", err, "hint", "another address: --admin 127.0.0.1:PORT, or listen under [admin]")
		} else {
			list = append(list, ln)
		}
	}
	if socket != "" {
		ln, err := dash.ListenSocket(socket)
		if err != nil {
			log.Warn("no admin socket", "err", err, "hint", "another path: socket under [admin]")
		} else {
			list = append(list, ln)
		}
	}
	return list
}

// openDNS opens the ports of [dns], both with the number of the first.
func openDNS(at string) (net.Listener, net.PacketConn, error) {
	const remedy = "opening the DNS port: %w (another address: listen under [dns])"
	tcp, err := net.Listen(family("tcp", at), at)
	if err != nil {
		return nil, nil, fmt.Errorf(remedy, err)
	}
	own := tcp.Addr().String()
	udp, err := net.ListenPacket(family("udp", own), own)
	if err != nil {
		tcp.Close()
		return nil, nil, fmt.Errorf(remedy, err)
	}
	return tcp, udp, nil
}
