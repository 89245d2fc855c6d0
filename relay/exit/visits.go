package exit

import (
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// awayAfter is how long a client must have been silent to be told of as away: it says
// nothing while nothing is open.
const awayAfter = time.Hour

// Lines about clients: who has a secret may make links without end, and must not fill
// a disk by it.
const (
	visitEvery = 10 * time.Second
	visitBurst = 50
)

// visits tells the log of clients that come and go.
type visits struct {
	limit  *rate.Limiter
	unsaid atomic.Uint64 // lines that were too many
}

func newVisits() visits { return visits{limit: rate.NewLimiter(rate.Every(visitEvery), visitBurst)} }

func (n *Node) tellVisit(what string, args ...any) {
	if !n.visits.limit.Allow() {
		n.visits.unsaid.Add(1)
		return
	}
	if unsaid := n.visits.unsaid.Swap(0); unsaid > 0 {
		args = append(args, "lines_left_out", unsaid)
	}
	n.log.Info(what, args...)
}

// arrived notes that r, which is l's client's, has come.
func (n *Node) arrived(l *linkEnd, r *http.Request, carriage string) {
	if l.here.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.here.Swap(true) {
		return
	}
	l.use.here.Add(1)
	args := []any{"client", l.client, "address", hostOf(r.RemoteAddr)}
	if behind := forwardedFor(r.Header); behind != "" {
		args = append(args, "forwarded_for", behind)
	}
	n.tellVisit("client is here", append(args, "carriage", carriage, "http", r.Proto)...)
}

// departed notes that l's client says nothing any more, for that reason. That is told
// of the last of its links. l.mu is held.
func (l *linkEnd) departed(because string) {
	if l.here.Swap(false) && l.use.here.Add(-1) == 0 {
		l.node.tellVisit("client is away", "client", l.client, "because", because)
	}
}

func hostOf(address string) string {
	if at, err := netip.ParseAddrPort(address); err == nil {
		return at.Addr().Unmap().String()
	}
	return ""
}

// forwardedFor is for whom the last relay says that it asks, "" if it says nothing that
// is an address: it may say anything.
func forwardedFor(h http.Header) string {
	list := h.Values("X-Forwarded-For")
	if len(list) == 0 {
		return ""
	}
	last := list[len(list)-1]
	at, err := netip.ParseAddr(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]))
	if err != nil {
		return ""
	}
	return at.Unmap().WithZone("").String()
}
