//go:build unix

package relaytest

import (
	"syscall"
	"time"
)

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // of itself it may always ask
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
