//go:build !unix

package buf

import "net"

// whenReady returns nil: there is no way to ask.
func (r *Reader) whenReady(net.Conn) func() (*Buf, error) { return nil }
