//go:build unix

package fd

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"relaymux/mux/fd/fdtest"
)

// A new connection is told from one that takes what the daemon keeps for itself, on both
// sides of the border, whoever has the other descriptors.
func TestHostile81_LastDescriptors(t *testing.T) {
	fdtest.Run(t, func(func()) {
		for last := -1; last < fdtest.Few-10; {
			conn, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			raw, err := conn.(*net.UDPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			before := last
			_ = raw.Control(func(fd uintptr) { last = int(fd) })
			if got, want := UsedUp(conn), last >= fdtest.Share; got != want {
				t.Errorf("descriptor %d of %d: used up %v", last, fdtest.Few, got)
			}
			if last <= before {
				t.Fatal("numbers do not grow")
			}
		}
	})
}

func TestNoDescriptor(t *testing.T) {
	if a, b := net.Pipe(); UsedUp(a) || UsedUp(b) {
		t.Error("what has no descriptor takes none")
	}
}

func TestShare(t *testing.T) {
	for limit, want := range map[uint64]uint64{0: 0, 4: 3, 64: 48, 383: 288, 384: 288, 1024: 928, 1 << 20: 1<<20 - 96} {
		if got := share(limit); got != want {
			t.Errorf("of %d: %d, want %d", limit, got, want)
		}
	}
}

func TestIsShort(t *testing.T) {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if !IsShort(&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", e)}) {
			t.Error(e)
		}
	}
	if IsShort(nil) || IsShort(fmt.Errorf("x: %w", syscall.ECONNREFUSED)) {
		t.Error("what is not short")
	}
}
