package exit

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"relaymux/mux/link"
)

// awayAfter is how long a client must have been silent to be told of as away: it says
// nothing while nothing is open.
const awayAfter = time.Hour

// Lines about clients: who has a secret may make links without end, and must not fill
// a disk by it. Nor must strangers, whom a line each tells of with diagnostics.
const (
	visitEvery = 10 * time.Second
	visitBurst = 50
)

// visits bounds what is told the log of clients that come and go, or of who is refused.
type visits struct {
	limit  *rate.Limiter
	unsaid atomic.Uint64 // lines that were too many
}

func newVisits() visits { return visits{limit: rate.NewLimiter(rate.Every(visitEvery), visitBurst)} }

func (v *visits) tell(log *slog.Logger, level slog.Level, what string, args ...any) {
	if !v.limit.Allow() {
		v.unsaid.Add(1)
		return
	}
	if unsaid := v.unsaid.Swap(0); unsaid > 0 {
		args = append(args, "lines_left_out", unsaid)
	}
	log.Log(context.Background(), level, what, args...)
}

func (n *Node) tellVisit(what string, args ...any) {
	n.visits.tell(n.log, slog.LevelInfo, what, args...)
}

// tellRefused notes why r, which was to make or use a link, is refused. Of strangers
// only diagnostics says so aloud. A link that is not known is what every client has
// after a restart, and that memory is short the counters tell.
func (n *Node) tellRefused(r *http.Request, err error) {
	level := slog.LevelDebug
	switch {
	case errors.Is(err, errMemory), errors.Is(err, errNoLink):
	case n.diagnostics:
		level = slog.LevelWarn
	case errors.Is(err, link.ErrVersion): // a client's, whose user wonders
		level = slog.LevelInfo
	}
	args := append([]any{"because", reasonOf(err)}, whence(r)...)
	if level < slog.LevelInfo {
		n.log.Debug(refusedLine, args...) // without taking lines from those that count
		return
	}
	n.refused.tell(n.log, level, refusedLine, args...)
}

const refusedLine = "a link was refused"

// reasonOf is why, for a person.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, errStranger):
		return "no client has this secret, or a relay changed the message"
	case errors.Is(err, errNoLink):
		return "no such link is known, or its records are forged or repeated"
	}
	return err.Error()
}

// whence is from where r has come.
func whence(r *http.Request) []any {
	args := []any{"address", hostOf(r.RemoteAddr)}
	if behind := forwardedFor(r.Header); behind != "" {
		args = append(args, "forwarded_for", behind)
	}
	return args
}

// arrived notes that r, which is l's client's, has come.
func (n *Node) arrived(l *linkEnd, r *http.Request, carriage string) {
	known(r)
	if l.here.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.here.Swap(true) {
		return
	}
	l.use.here.Add(1)
	args := append([]any{"client", l.client}, whence(r)...)
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
