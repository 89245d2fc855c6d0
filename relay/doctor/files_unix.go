//go:build unix

package doctor

import "syscall"

// fileLimit is how many descriptors this process may have.
func fileLimit() (uint64, bool) {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return 0, false
	}
	return uint64(r.Cur), true // some systems have it signed
}
