//go:build !linux && !darwin

package buf

import "net"

// LimitUnsent has the system take no more of conn than it can send soon; this one
// cannot.
func LimitUnsent(net.Conn) {}
