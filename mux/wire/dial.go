package wire

import (
	"context"
	"errors"
	"net"
	"os"
)

// ReasonOfDial finds the kind of a dial's failure: what a *DialError in it says, or
// the resolver, or the system.
func ReasonOfDial(err error) Reason {
	if typed, ok := errors.AsType[*DialError](err); ok {
		return typed.Reason
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return NameNotFound // whatever its servers had: no address is what it comes to
	}
	for _, e := range errnoReasons {
		if errors.Is(err, e.errno) {
			return e.reason
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return TimedOut
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return TimedOut
	}
	return Failed
}
