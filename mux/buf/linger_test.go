package buf

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
)

func TestLinger(t *testing.T) {
	for how, want := range map[int]error{ByFIN: io.EOF, ByRST: syscall.ECONNRESET} {
		a, b := pipe(t)
		Linger(a, ByRST) // the last word counts
		Linger(a, how)
		a.Close()
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, want) {
			t.Errorf("%d: %v, want %v", how, err, want)
		}
	}
	Linger(nil, ByRST)
	a, b := net.Pipe() // which knows no RST
	Linger(a, ByRST)
	a.Close()
	b.Close()
}
