package config

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
)

// CheckStateDir is CheckDir of what StateDir has returned, which may be none.
func CheckStateDir(dir string) error {
	if dir == "" {
		return nil
	}
	if err := CheckDir(dir); err != nil {
		return fmt.Errorf("dir under [state]: %w", err)
	}
	return nil
}

// CheckDir says why others could replace what this program keeps in a directory, nil if
// they cannot, or if there is none to look at: who opens it says why.
func CheckDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return nil
	case ofOthers(info, os.Geteuid()):
		return fmt.Errorf("the directory %s is another user's, who could replace what is in it; name another", dir)
	case writableByAll(info.Mode()) && info.Mode()&fs.ModeSticky == 0:
		return fmt.Errorf("everybody may write to the directory %s, and replace what is in it; run: chmod o-w %[1]s", dir)
	}
	return nil
}

// writableByAll reports whether anybody on the machine may change a file. Windows has no
// such bit.
func writableByAll(mode os.FileMode) bool {
	return runtime.GOOS != "windows" && mode.Perm()&0o002 != 0
}
