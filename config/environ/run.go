package environ

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/exec"
	"time"
)

// What a shell returns for a program that cannot be run (POSIX, Shell Command Language,
// 2.8.2).
const (
	exitNotRun   = 126
	exitNotFound = 127
)

// answerTime is how long the proxy, which is near, may take to accept a connection.
const answerTime = 3 * time.Second

// Answers returns an error unless somebody listens there.
func (p Proxy) Answers() error {
	c, err := net.DialTimeout("tcp", p.Address, answerTime)
	if err != nil {
		return fmt.Errorf("the proxy does not answer: %w (start it by relaymux run)", err)
	}
	return c.Close()
}

// Run runs a program in that environment. Where the system can, the program takes the
// place of this one, and Run does not return; else it returns the program's exit code,
// or an error and that which a shell would return.
func Run(args, environ []string) (code int, err error) {
	path, err := exec.LookPath(args[0])
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return exitNotFound, err
	case err != nil:
		return exitNotRun, err
	}
	return become(path, args, environ)
}
