//go:build unix

package gso

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// processor is the processor time that this process has used.
func processor(t testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
