//go:build !unix

package environ

import (
	"errors"
	"os"
	"os/exec"
)

func become(path string, args, environ []string) (code int, err error) {
	c := exec.Command(path, args[1:]...)
	c.Env, c.Stdin, c.Stdout, c.Stderr = environ, os.Stdin, os.Stdout, os.Stderr
	err = c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return exitNotRun, err
	}
	return 0, nil
}
