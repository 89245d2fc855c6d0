//go:build unix

package environ

import (
	"fmt"
	"syscall"
)

func become(path string, args, environ []string) (code int, err error) {
	return exitNotRun, fmt.Errorf("running %s: %w", path, syscall.Exec(path, args, environ))
}
