package wire

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// errnoReasons are the system's errors that have a Reason of their own. Those of
// package syscall are no errors of Winsock.
var errnoReasons = [...]struct {
	errno  syscall.Errno
	reason Reason
}{
	{windows.WSAECONNREFUSED, Refused},
	{windows.WSAENETUNREACH, NetUnreachable},
	{windows.WSAEHOSTUNREACH, HostUnreachable},
	{windows.WSAETIMEDOUT, TimedOut},
}
