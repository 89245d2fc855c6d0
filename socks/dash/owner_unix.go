//go:build unix

package dash

import (
	"io/fs"
	"syscall"
)

// ofOthers reports whether a file belongs to somebody who is neither that user nor the
// system's.
func ofOthers(info fs.FileInfo, user int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) != user && st.Uid != 0
}

// openToOthers reports whether others may replace what stands in a directory: /tmp's
// sticky bit forbids that.
func openToOthers(dir fs.FileInfo) bool {
	return dir.Mode().Perm()&0o022 != 0 && dir.Mode()&fs.ModeSticky == 0
}
