package buf

import "net"

// How the close of a socket ends its connection; see Linger.
const (
	ByRST = 0
	ByFIN = -1 // when all has been sent, in the background
)

// Linger sets how the close of conn, which may be nil, ends it, as far as conn knows how
// to. What is carried on is set to RST from the beginning, for the system closes what a
// process leaves behind that is killed: nobody must take what had come until then for all.
func Linger(conn net.Conn, how int) {
	if c, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = c.SetLinger(how) // best effort: without it each close is a FIN
	}
}
