//go:build !windows

package exit

import (
	"syscall"

	"relaymux/mux/wire"
)

// errnoReasons are the system's errors that have a Reason of their own.
var errnoReasons = [...]struct {
	errno  syscall.Errno
	reason wire.Reason
}{
	{syscall.ECONNREFUSED, wire.Refused},
	{syscall.ENETUNREACH, wire.NetUnreachable},
	{syscall.EHOSTUNREACH, wire.HostUnreachable},
	{syscall.ETIMEDOUT, wire.TimedOut},
}
