package relaytest

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"time"
)

// echoLost is how long an echo may take.
const echoLost = 5 * time.Second

// EchoPackets keeps so many datagrams of a size on their way to an echo and back,
// for as long as more allows. It returns how many came back, each counted once,
// and how many were sent.
func EchoPackets(c net.PacketConn, to net.Addr, outstanding, size int, more func(sent int) bool) (came, sent int, err error) {
	e := echoes{c: c, to: to, outstanding: outstanding, size: size}
	got, err := e.keep(more)
	return len(got.seen), len(e.sent), err
}

// echoes keeps so many datagrams on their way to an echo and back.
type echoes struct {
	c           net.PacketConn
	to          net.Addr
	outstanding int
	size        int

	sent []time.Time // when each was
}

// keep echoes for as long as more allows. What has not come back echoLost after the
// others is lost; an error is one of sending.
func (e *echoes) keep(more func(sent int) bool) (got tally, err error) {
	got, last := tally{seen: make(map[int]int)}, -1
	next := func() {
		if !more(len(e.sent)) {
			return
		}
		p := nth(len(e.sent), e.size)
		e.sent = append(e.sent, time.Now())
		if _, failed := e.c.WriteTo(p, e.to); failed != nil {
			err = failed
		}
	}
	for range e.outstanding {
		next()
	}
	p := make([]byte, e.size+300) // and a header
	for len(got.seen) < len(e.sent) {
		_ = e.c.SetReadDeadline(time.Now().Add(echoLost))
		n, _, failed := e.c.ReadFrom(p)
		if failed != nil {
			break
		}
		got.add(numberOf(p[:n]), &last, func(i int) time.Time { return e.sent[i] })
		next()
	}
	return got, err
}

// nth is a datagram of at least 8 bytes that carries a number.
func nth(i, size int) []byte {
	p := make([]byte, size)
	binary.BigEndian.PutUint64(p, uint64(i))
	_, _ = io.ReadFull(noise(uint64(i), int64(size)), p[8:])
	return p
}

// numberOf is the number of nth's datagram, -1 if p is another.
func numberOf(p []byte) int {
	if len(p) < 8 {
		return -1
	}
	if i := binary.BigEndian.Uint64(p); i < 1<<31 && bytes.Equal(p, nth(int(i), len(p))) {
		return int(i)
	}
	return -1
}

// A tally is what came of numbered datagrams.
type tally struct {
	took       []time.Duration // of each, in the order of arrival
	seen       map[int]int     // how often each number came
	overtaking int             // how many came after a later one
	foreign    int             // are none of those that were sent
}

func (y *tally) add(i int, last *int, sent func(i int) time.Time) {
	if i < 0 {
		y.foreign++
		return
	}
	y.seen[i]++
	y.took = append(y.took, time.Since(sent(i)))
	if i < *last {
		y.overtaking++
	}
	*last = max(*last, i)
}

// quantile is the time that so many of the datagrams took at most.
func (y *tally) quantile(part float64) time.Duration { return Quantile(y.took, part) }
