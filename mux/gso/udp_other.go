//go:build !linux

package gso

import "net"

// newUDP returns nil: this system has nothing better than single datagrams.
func newUDP(*net.UDPConn, Options) Conn { return nil }
