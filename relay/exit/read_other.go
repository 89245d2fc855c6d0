//go:build !unix

package exit

import (
	"net"

	"relaymux/mux/buf"
)

// newReader returns what reads the next bytes from conn into a charged buffer.
func newReader(s *session, conn net.Conn) func() (*buf.Buf, error) {
	return newBufferedReader(s, conn).read
}
