//go:build unix

package config

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
