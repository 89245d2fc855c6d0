package exit

import (
	"syscall"

	"golang.org/x/sys/windows"

	"relaymux/mux/wire"
)

// errnoReasons are the system's errors that have a Reason of their own. Those of
// package syscall are no errors of Winsock.
var errnoReasons = [...]struct {
	errno  syscall.Errno
	reason wire.Reason
}{
	{windows.WSAECONNREFUSED, wire.Refused},
	{windows.WSAENETUNREACH, wire.NetUnreachable},
	{windows.WSAEHOSTUNREACH, wire.HostUnreachable},
	{windows.WSAETIMEDOUT, wire.TimedOut},
}
