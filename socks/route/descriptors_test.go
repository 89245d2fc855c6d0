package route

import (
	"strings"
	"testing"

	"relaymux/mux/fd/fdtest"
)

// A direct connection does not take what the daemon keeps for itself.
func TestHostile81_LastDescriptors(t *testing.T) {
	fdtest.Run(t, func(take func()) {
		port := serve(t, untilEnd)
		r := newRig(t, Lists{Direct: List{Entries: []string{"127.0.0.1"}}})
		for _, network := range []string{"tcp", "udp"} {
			conn, err := r.dial(t.Context(), network, "127.0.0.1", port)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close() // not now: what becomes free is taken again
		}
		for _, network := range []string{"tcp", "udp"} {
			take() // what has become free, of whoever came by, as well
			if conn, err := r.dial(t.Context(), network, "127.0.0.1", port); err == nil {
				conn.Close()
				t.Errorf("%s: it takes what is not its own", network)
			}
		}
		if n := strings.Count(r.log.String(), "too few file descriptors"); n != 1 {
			t.Errorf("%d lines in the log", n)
		}
	})
}
