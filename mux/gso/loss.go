package gso

import (
	"os"
	"strings"
)

// A Loss finds out whether a connection of QUIC loses more packets than its sender
// brings about itself by trying what the path takes. The only congestion control that
// quic-go has takes every lost packet for a full queue: with 1 in 100 lost on a way of
// 50 ms it sends 0.4 MB/s (RFC 9438 section 5 has the formula), where BBR, which a
// system may have for TCP, fills the path. The zero value has seen nothing.
type Loss struct {
	sent, lost uint64 // when the window began
	windows    int    // that are over
	bad        int    // of them, the last ones in a row
}

const (
	lossWindow = 500 // packets
	lossMost   = 4   // of them that may not be lost: with 1 in 125 BBR is ten times as fast
	lossInARow = 2   // windows; the first of all does not count, the sender starts by filling a queue
)

// Lossy reports whether too many of late, by how many packets were sent and lost so
// far.
func (l *Loss) Lossy(sent, lost uint64) bool {
	if sent < l.sent+lossWindow {
		return false
	}
	share := (float64(lost) - float64(l.lost)) / float64(sent-l.sent) // a packet may turn out not to be lost
	l.sent, l.lost = sent, lost
	l.windows++
	if l.windows == 1 || share < lossMost/float64(lossWindow) {
		l.bad = 0
		return false
	}
	l.bad++
	return l.bad >= lossInARow
}

// BBR reports whether the system's TCP sends by BBR, as far as is known.
func BBR() bool {
	name, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control") // elsewhere there is none
	return strings.HasPrefix(string(name), "bbr")
}
