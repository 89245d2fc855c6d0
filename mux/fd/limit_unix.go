//go:build unix

package fd

import "syscall"

// Limit is how many descriptors this process may have, false if that is not known.
func Limit() (uint64, bool) {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return 0, false
	}
	return uint64(r.Cur), true // some systems have it signed
}
