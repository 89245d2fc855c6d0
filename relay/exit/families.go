package exit

import (
	"net"
	"sync"
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
type families struct {
	mu    sync.Mutex
	doubt string    // the first name for which a full lead was in vain since IPv6 led anywhere; "": none
	lost  time.Time // when one was for another name: that a host is down says nothing of the network
}

func (f *families) lead() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.lost.IsZero() && time.Since(f.lost) < shortFor {
		return shortLead6
	}
	return lead6
}

// note learns from a connection to name, for which IPv6 had that lead, and IPv4 was tried
// so long after it; see attempts.
func (f *families) note(conn net.Conn, name string, lead, gap time.Duration) {
	at, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case at.IP.To4() == nil:
		f.doubt, f.lost = "", time.Time{}
	case lead < lead6 || gap < lead6-lead6/10: // it was refused, or not tried first
	case f.doubt == "":
		f.doubt = name
	case f.doubt != name:
		f.lost = time.Now()
	}
}

// attempts are when a dial has tried the first address of each family.
type attempts struct{ four, six atomic.Pointer[time.Time] }

func (a *attempts) note(network string) {
	first := &a.four
	switch network {
	case "tcp4":
	case "tcp6":
		first = &a.six
	default:
		return
	}
	now := time.Now()
	first.CompareAndSwap(nil, &now)
}

// gap is how long after IPv6 IPv4 was tried. It is the whole lead, or about that, if IPv6
// neither led anywhere nor was refused, and negative if IPv4 came first.
func (a *attempts) gap() time.Duration {
	four, six := a.four.Load(), a.six.Load()
	if four == nil || six == nil {
		return 0
	}
	return four.Sub(*six)
}
