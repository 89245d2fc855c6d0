//go:build !windows

package wire

import (
	"syscall"
)

// errnoReasons are the system's errors that have a Reason of their own.
var errnoReasons = [...]struct {
	errno  syscall.Errno
	reason Reason
}{
	{syscall.ECONNREFUSED, Refused},
	{syscall.ENETUNREACH, NetUnreachable},
	{syscall.EHOSTUNREACH, HostUnreachable},
	{syscall.ETIMEDOUT, TimedOut},
}
