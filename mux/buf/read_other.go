//go:build !unix

package buf

import "net"

func readReady(conn net.Conn) (*Buf, error) { return readSmall(conn) }
