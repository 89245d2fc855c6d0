package exit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"relaymux/mux/link"
)

// A pipe is an exchange that goes on both ways for as long as its connection lasts:
// records come as the client has something to say, and go as there is news. Where
// the way lets it through, a client needs no other exchange. Nobody but the client
// knows whether it does: so nothing that matters goes by a pipe until the client has
// said something after the first answer.
const (
	// pipeKeep is after how long an answer goes without news, so that whoever is on
	// the way, and the client, knows that the pipe is not dead.
	pipeKeep = 15 * time.Second

	// pipeAck is how long a client waits at most to hear that what it sent has come.
	pipeAck = 100 * time.Millisecond

	// pipeRecords is how many records are taken in at once, if there are as many.
	pipeRecords = 32
)

// A linkPipe is the way up of a pipe; the way down is its exchange.
type linkPipe struct {
	*linkExchange
	l     *linkEnd
	in    *link.PipeReader
	grown bool // in has taken memory
}

// pipeHead reads what a pipe's request begins with, and reports whether it leads to
// a link. If not, r is as it was.
func (n *Node) pipeHead(r *http.Request) (l *linkEnd, exchange uint64, ok bool) {
	head := make([]byte, link.RequestHead)
	k, _ := io.ReadFull(r.Body, head) // what is wrong with it shows when it is read on
	if id, exchange, _, err := link.ParsePipeHead(head[:k]); err == nil {
		if l := n.links.find(id); l != nil {
			return l, exchange, true
		}
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head[:k]), r.Body), r.Body}
	return nil, 0, false
}

// servePipe serves a pipe until either end ends it.
func (n *Node) servePipe(w http.ResponseWriter, r *http.Request, l *linkEnd, exchange uint64) {
	now := time.Now()
	x := &linkExchange{id: exchange, hold: hold{until: now.Add(pipeKeep)}, at: now, pipe: true, wake: make(chan struct{}, 1)}
	p := &linkPipe{linkExchange: x, l: l}
	p.in = link.NewPipeReader(r.Body, p.grow, l.keys.Opener(link.Up), exchange)
	defer p.shrink()
	if !p.take() { // a stranger, or somebody who repeats what he has heard
		if req, err := n.receive(w, r); err == nil {
			req.release()
		}
		n.tellRefused(r, errNoLink)
		n.refuse(w, errNoLink)
		return
	}
	n.arrived(l, r, "pipe")
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer l.leave(x)
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex()           // HTTP/1.1 has to be told
	_ = rc.SetReadDeadline(time.Time{}) // the next word may come in a minute
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer cancel()
		for p.take() {
		}
	}()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
	if r.ProtoMajor == 1 {
		h.Set("Connection", "close") // what comes after it is no request
	}
	for loss := lossOf(r.Context(), l); l.await(ctx, x) && n.pour(w, l, x); {
		if loss.yields() {
			cancel() // await says goodbye to x
		}
	}
	_ = rc.SetReadDeadline(time.Unix(1, 0)) // whoever reads does not wait any more,
	r.Body.Close()                          // if nobody has deadlines neither
	<-read
}

// pour writes an answer of the pipe, and has it wait for the next news.
func (n *Node) pour(w http.ResponseWriter, l *linkEnd, x *linkExchange) bool {
	body, cost, err := l.makeAnswer(x)
	defer n.bodies.Return(cost)
	if err != nil {
		return false
	}
	defer body.Release()
	began := time.Now()
	if err := send(w, body.B); err != nil {
		return false
	}
	x.lot.Wrote(len(body.B), time.Since(began))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.closing || x.bare {
		return false
	}
	x.at, x.due = time.Now(), false
	if x.until = x.asked; x.asked.IsZero() {
		x.until = x.at.Add(pipeKeep)
	}
	l.parked = append(l.parked, x)
	l.schedule()
	return true
}

// grow charges the memory for large records, of which pipes leave half to others.
func (p *linkPipe) grow() bool {
	g := p.l.node.bodies
	p.grown = g.Free()-link.ReaderSize >= g.Limit()/2 && g.Try(link.ReaderSize)
	return p.grown
}

func (p *linkPipe) shrink() {
	if p.grown {
		p.l.node.bodies.Return(link.ReaderSize)
	}
}

// take takes in the records that have come, one at least.
func (p *linkPipe) take() bool {
	records, _, err := p.in.Take(pipeRecords)
	defer link.Release(records)
	if errors.Is(err, link.ErrForged) {
		p.l.node.links.count.forged.Add(1)
		return false
	}
	return len(records) > 0 && p.l.takePipe(p.linkExchange, records)
}

// takePipe takes in records of a pipe, which it borrows. The first of them make it
// the link's one pipe.
func (l *linkEnd) takePipe(x *linkExchange, records []link.Record) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := x.room == 0
	fresh, ask, ok := l.accept(x, records)
	switch {
	case !ok, first && (!fresh || ask == nil):
		return false
	case first:
		l.endPipe()
		l.pipe = x
		l.use.exchanges.Add(1)
		l.parked = append(l.parked, x)
	default:
		x.stands = true
	}
	now := time.Now()
	due := now.Add(pipeAck)
	if ask != nil {
		x.at = now
		l.obey(x, ask)
		x.room = max(x.room, linkLeast)
		if ask.Hold == 0 {
			due = now
		}
	}
	if x.asked.IsZero() || due.Before(x.asked) {
		x.asked = due
	}
	x.until = x.asked
	l.freshen()
	l.schedule()
	return true
}

// endPipe ends the link's pipe, if there is one.
func (l *linkEnd) endPipe() {
	if l.pipe != nil {
		l.pipe.bare, l.pipe.until = true, time.Now()
		l.schedule()
	}
}

// leave forgets a pipe that has ended.
func (l *linkEnd) leave(x *linkExchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pipe == x {
		l.pipe = nil
	}
}
