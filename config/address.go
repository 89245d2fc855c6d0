package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"relaymux/mux/rule"
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
	return err == nil || rule.IsName(s)
}
