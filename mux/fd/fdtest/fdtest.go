// Package fdtest has tests run where file descriptors are few.
package fdtest

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

// Few is how many descriptors the process has, and Share how many of them are for
// connections.
const (
	Few   = 64
	Share = 48
)

// inFew is in the environment of that process.
const inFew = "TEST_FEW_DESCRIPTORS"

// Run runs test, which is all that t does, in a process of its own, whose limit is low
// from its start. take takes all descriptors below Share until the test ends.
func Run(t *testing.T, test func(take func())) {
	t.Helper()
	if os.Getenv(inFew) != "" {
		_, _ = time.Now().Zone() // opens a file the first time, which is not to be in the midst of the test
		test(func() { takeAll(t) })
		return
	}
	if runtime.GOOS == "windows" {
		t.Skip("no limit is known here")
	}
	c := exec.Command("/bin/sh", "-c", `ulimit -n 64 && exec "$0" "$@"`, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	c.Env = append(os.Environ(), inFew+"=1")
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func takeAll(t *testing.T) {
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		if f.Fd() >= Share {
			f.Close()
			return
		}
		t.Cleanup(func() { f.Close() })
	}
}
