package socks

import (
	"io"
	"strings"
	"testing"

	"relaymux/mux/fd/fdtest"
)

// Neither a connection nor an association takes what the daemon keeps for itself; those
// that are there go on.
func TestHostile81_LastDescriptors(t *testing.T) {
	fdtest.Run(t, func(take func()) {
		n := newFarSide()
		p, _ := startUDP(t, n, nil)
		a := p.associated(t)
		late := p.dial(t)
		mustWrite(t, late, "\x05\x01\x00")
		mustRead(t, late, "\x05\x00")
		take()
		further := p.dial(t)
		if n, err := further.Read(make([]byte, 1)); err == nil || n > 0 {
			t.Errorf("a further connection: %d, %v", n, err)
		}
		mustWrite(t, late, associate5)
		mustRead(t, late, "\x05\x01")
		mustWrite(t, a.socket, "\x00\x00\x00\x01\x01\x02\x03\x04\x00\x50hello")
		n.next(t, "1.2.3.4").want(t, "hello")
		if st := p.Stats(); st.Short != 1 || st.Refused != 0 {
			t.Errorf("stats %+v", st)
		}
		if log := p.log.String(); strings.Count(log, "ulimit -n") != 1 {
			t.Errorf("log: %s", log)
		}
		io.Copy(io.Discard, late) // it is closed
	})
}
