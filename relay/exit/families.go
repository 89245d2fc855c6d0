package exit

import (
	"net"
	"sync/atomic"
	"time"
)

// Where a name has addresses of both families, IPv6 has a lead over IPv4: usually that
// of RFC 8305, section 8, but little for a while after it was in vain. In a network whose
// IPv6 leads nowhere, each connection would else wait for all of it.
const (
	lead6      = 250 * time.Millisecond
	shortLead6 = 20 * time.Millisecond
	shortFor   = 10 * time.Minute
)

// families is what is known of the IPv6 of the machine's network.
type families struct{ lost atomic.Pointer[time.Time] } // when a full lead was in vain; nil: it is not

func (f *families) lead() time.Duration {
	if lost := f.lost.Load(); lost != nil && time.Since(*lost) < shortFor {
		return shortLead6
	}
	return lead6
}

// note learns from a connection that came so long after IPv6 was tried, with that lead.
func (f *families) note(conn net.Conn, lead, took time.Duration) {
	at, ok := conn.RemoteAddr().(*net.TCPAddr)
	switch {
	case !ok:
	case at.IP.To4() == nil:
		f.lost.Store(nil)
	case lead == lead6 && took >= lead:
		now := time.Now()
		f.lost.Store(&now)
	}
}
