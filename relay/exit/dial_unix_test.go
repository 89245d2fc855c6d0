//go:build unix

package exit

import (
	"os"
	"syscall"
	"testing"
)

// TestClosedAddressWithoutDescriptors: what the policy forbids is told as that, also when
// the node has no descriptors to spare.
func TestClosedAddressWithoutDescriptors(t *testing.T) {
	d := dialerOf(t, Policy{}, always("127.0.0.1"))
	dial := func(port string) error {
		_, err := d.DialContext(t.Context(), "tcp", "private.test:"+port)
		return err
	}
	want := dial("9").Error()
	last := 0
	for last < 40 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		last = int(f.Fd())
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	few := old
	few.Cur = 48
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old)
	if err := dial("9"); err == nil || err.Error() != want {
		t.Errorf("%v, want %v", err, want)
	}
}
