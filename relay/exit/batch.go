package exit

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"time"

	"relaymux/mux/wire"
)

// An exchange is one request at work: its ops are carried out at once and in
// order, then it waits, looking at what its sessions have, then it drains them.
//
// Only the request's goroutine touches it, but for wake.
type exchange struct {
	node   *Node
	start  time.Time
	single bool // POST /tunnel: one op, whose RESULT is the whole answer
	zc, zr bool // the client understands "zr"; and has shown that it can do without "r"

	ops     []wire.Op
	tasks   []task        // one for each op
	results []wire.Result // likewise

	settle time.Duration // how long news may wait for more
	way    time.Duration // the round trip through the relay

	wake  chan struct{} // cap 1: something changed at one of the sessions
	taken []piece       // drained, released once encoded
	wants []int         // of the drain
}

// A task is what an exchange still has to do with an op.
type task struct {
	s       session   // nil: the RESULT is there already
	connect bool      // a connect, connect_data or udp_open
	barren  bool      // a plain connect, whose RESULT never carries payload or end
	flood   bool      // a connect_data with so much that more must follow
	named   bool      // its RESULT tells the target's address
	write   bool      // uploads, or ends uploading
	polls   bool      // is part of a batch of polls
	shared  bool      // another exchange looks at the session too
	ripe    time.Time // when the session is likely to get no more, zero for now
	bulk    bool      // uploads that much that it must not wait for an echo
	told    bool      // s is nil, and the client should hear so at once
	max     int       // payload that the RESULT may carry

	// relieved: a newer batch polls the session. A client of ours gathers its
	// idle flows in one exchange that way; the older one, when all of its
	// flows have left, is answered, for nobody needs it any more.
	relieved bool

	drained int // bytes in its RESULT
	pkts    int // and datagrams
}

// bulkUpload is where an upload counts as a part of a stream, which waits for no
// echo: two full TLS records, more than any keystroke or request head.
const bulkUpload = 32 << 10

// floodUpload is where the first bytes are surely not all: half of the largest
// op of ours. The client needs the sid for the rest, and no answer is due yet.
const floodUpload = 512 << 10

func (n *Node) newExchange() *exchange {
	x, _ := n.spare.Get().(*exchange)
	if x == nil {
		x = &exchange{node: n, wake: make(chan struct{}, 1)}
	}
	x.start = time.Now()
	return x
}

// release detaches x from its sessions and gives it back for another request.
func (x *exchange) release() {
	for i := range x.tasks {
		if s := x.tasks[i].s; s != nil {
			s.detach(x)
		}
	}
	x.releaseTaken()
	clear(x.tasks)
	for i := range x.results {
		clear(x.results[i].Data)
		clear(x.results[i].Pkts)
		x.results[i].Reset()
	}
	x.tasks, x.results = x.tasks[:0], x.results[:0]
	x.single, x.zc, x.zr = false, false, false
	select {
	case <-x.wake:
	default:
	}
	x.node.spare.Put(x)
}

// signal tells x to look again.
func (x *exchange) signal() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// readBatch reads the ops of a batch, which alias q.
func (x *exchange) readBatch(q *request) error {
	e, err := x.node.open(q.b.B)
	if err != nil {
		return err
	}
	text := e.Ops
	if e.ZOps != nil {
		if text, err = x.node.codec.unpack(e.ZOps); err != nil {
			return err
		}
		q.charge(len(text))
	}
	x.zc, x.zr = e.ZC, e.ZOps != nil
	if x.ops, err = wire.ParseOps(text, x.ops[:0], maxOps); err != nil {
		return errBody
	}
	return nil
}

// readSingle reads the one op of a single request, which aliases q.
func (x *exchange) readSingle(q *request) error {
	if _, err := x.node.open(q.b.B); err != nil {
		return err
	}
	x.single = true
	x.ops = append(x.ops[:0], wire.Op{})
	if err := wire.ParseOp(q.b.B, &x.ops[0]); err != nil {
		return errBody
	}
	return nil
}

// execute starts everything that the ops ask for, and waits for nothing. Of
// what it keeps, nothing aliases the request.
func (x *exchange) execute() {
	x.tasks = slices.Grow(x.tasks[:0], len(x.ops))[:len(x.ops)]
	x.results = slices.Grow(x.results[:0], len(x.ops))[:len(x.ops)]
	for i := range x.ops {
		o, t, r := &x.ops[i], &x.tasks[i], &x.results[i]
		*t = task{max: maxDrain}
		if 0 < o.Max && o.Max < maxDrain {
			t.max = int(o.Max)
		}
		r.Reset()
		r.Seq, r.HasSeq = o.Seq, o.HasSeq
		x.run(o, t, r)
	}
	polling := x.polling()
	var rtt uint64
	for i := range x.ops {
		o, t := &x.ops[i], &x.tasks[i]
		rtt = max(rtt, o.RTT)
		if t.s != nil {
			t.polls = polling
			t.s.attach(x, t.polls)
		}
		clear(o.Data)
		o.Reset()
	}
	x.settle = settleFor(rtt)
	x.way = time.Second // of a client that does not tell
	if rtt > 0 {
		x.way = time.Duration(min(rtt, 1e6)) * time.Millisecond
	}
}

func (x *exchange) run(o *wire.Op, t *task, r *wire.Result) {
	switch o.Kind {
	case wire.Connect, wire.ConnectData:
		x.connect(o, t, r)
	case wire.Data:
		x.data(o, t, r)
	case wire.Close:
		x.close(o, r)
	case wire.UDPOpen:
		x.udpOpen(o, t, r)
	case wire.UDPData:
		x.udpData(o, t, r)
	case wire.Link:
		x.noLink(o, t, r)
	default:
		unknown(o, t, r)
	}
}

// noLink answers a link's op that is none, or that the node has no clients for.
func (x *exchange) noLink(o *wire.Op, t *task, r *wire.Result) {
	switch {
	case !x.node.links.on.Load():
		unknown(o, t, r)
	case o.BadData:
		fail(t, r, badBase64)
	default:
		fail(t, r, errLinkAlone.Error())
	}
}

func unknown(o *wire.Op, t *task, r *wire.Result) {
	fail(t, r, "unknown op: "+opName(o.Name))
	r.Code = []byte(wire.CodeUnsupported)
}

// opName bounds what of an unknown op's name goes into the answer.
func opName(name []byte) string { return string(name[:min(len(name), 64)]) }

// fail settles an op that came to nothing.
func fail(t *task, r *wire.Result, text string) {
	t.told = true
	r.Err = []byte(text)
}

const badBase64 = "bad base64: not RFC 4648 section 4"

// badTarget says what is wrong with an op that opens a session, if anything.
func badTarget(o *wire.Op) string {
	switch {
	case len(o.Host) == 0:
		return "missing host"
	case o.Port == 0:
		return "missing or invalid port"
	case o.BadData:
		return badBase64
	}
	return ""
}

func (x *exchange) connect(o *wire.Op, t *task, r *wire.Result) {
	if text := badTarget(o); text != "" {
		fail(t, r, text)
		return
	}
	t.connect, t.barren, t.flood = true, o.Kind == wire.Connect, o.Len() >= floodUpload
	s, err := x.node.connect(o)
	if err != nil {
		fail(t, r, connectFailed+err.Error())
		return
	}
	t.s = s
}

func (x *exchange) data(o *wire.Op, t *task, r *wire.Result) {
	found, e, remembered := x.node.table.find(o.SID)
	s, ok := found.(*tcpSession)
	switch {
	case !ok:
		x.noSession(o, t, r, e, remembered)
		return
	case o.BadData:
		fail(t, r, badBase64)
		s.name(r)
		return
	}
	t.s = s
	t.write = o.Len() > 0 || o.Fin
	t.bulk = o.Len() >= bulkUpload
	if t.write {
		s.upload(o)
	} else {
		s.touch()
	}
}

// noSession answers an op of a session that has ended, or never was.
func (x *exchange) noSession(o *wire.Op, t *task, r *wire.Result, e ending, remembered bool) {
	t.told = true
	if !remembered {
		if x.single {
			r.Err = []byte("unknown session")
			return
		}
		e.rst = true
	}
	r.SID = bytes.Clone(o.SID)
	r.EOF, r.Rst = true, e.rst
	r.Off, r.HasOff = e.off, true
	if e.failure != "" {
		r.Err = []byte(e.failure)
	}
}

// close ends a session. That there is none is what the client wants anyway.
func (x *exchange) close(o *wire.Op, r *wire.Result) {
	s, e, _ := x.node.table.find(o.SID)
	r.SID, r.EOF = bytes.Clone(o.SID), true
	r.Off, r.HasOff = e.off, true
	if s != nil {
		r.Off = s.close(o)
	}
}

// wait returns when it is time to answer, and false if the client has gone.
func (x *exchange) wait(ctx context.Context) bool {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var p progress
	for {
		now := time.Since(x.start)
		x.look(&p, now)
		left := x.node.timing.left(&p, now)
		if left <= 0 {
			for range settleYields {
				runtime.Gosched()
			}
			return ctx.Err() == nil
		}
		timer.Reset(left)
		select {
		case <-x.wake:
		case <-timer.C:
		case <-ctx.Done():
			return false
		case <-x.node.ctx.Done():
			return true
		}
	}
}

// look brings p up to date with the sessions.
func (x *exchange) look(p *progress, now time.Duration) {
	before := p.news
	*p = progress{polling: x.polling(), settle: x.settle, since: p.since, first: p.first}
	for i := range x.tasks {
		t := &x.tasks[i]
		if t.s == nil {
			if t.told {
				p.told++
			}
			continue
		}
		st := t.s.look(x, t)
		p.count(st, p.polling || t.write || t.connect)
		p.shared = p.shared || st == news && t.shared
		if st == news && !t.ripe.IsZero() {
			p.ripe = max(p.ripe, t.ripe.Sub(x.start))
		}
	}
	if before == 0 {
		p.first = now
	}
	if p.news > before {
		p.since = now
	}
}

// polling reports whether the batch only asks what is new.
func (x *exchange) polling() bool {
	for i := range x.tasks {
		if t := &x.tasks[i]; t.write || t.connect {
			return false
		}
	}
	return true
}
