package link

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"relaymux/mux/buf"
)

// A sim is both ends of a link, with a relay between them that loses, doubles,
// reorders, cuts, changes, swaps and delays exchanges, and applications that write
// what can be recognised. pick decides everything: n choices, one of 0..n-1.
type sim struct {
	pick   func(n int) int
	now    time.Time
	client *side
	node   *side

	window, credit, early int // of both ends; early is the memory for what came out of order

	flying   []*simExchange // requests and answers on their way
	parked   []*simExchange // at the node
	number   uint64
	open     []uint64 // exchanges that the client awaits
	suspects []uint64 // that it has given up, though it takes their answers
	refused  int      // records
	forged   int      // likewise
	restarts int
	before   []byte // a message of an earlier link
	left     []*app // of links that are no more
}

type simExchange struct {
	id   uint64
	body []byte // the sealed records of the request, or of the answer
	back bool
}

type record struct {
	number uint64
	plain  []byte
}

// A side is one end, and the owner of its Conn.
type side struct {
	*sim
	name    string
	c       *Conn
	sealer  *Sealer
	opener  *Opener
	replay  Replay
	early   *buf.Budget
	unacked *buf.Budget
	apps    map[uint64]*app
	loose   bool // what comes is not what an app wrote
}

// An app is what a side knows of one stream.
type app struct {
	s       *Stream
	wrote   uint64 // bytes
	closed  bool
	got     uint64
	owed    int // bytes that it has not consumed
	ended   bool
	rst     bool
	reset   bool // by the other end
	gaveUp  bool // by this
	opened  bool
	over    bool
	acked   int
	pkts    [][]byte
	sawPkts map[byte]bool
}

const simWindow = 200_000

func newSim(pick func(n int) int) *sim {
	m := &sim{pick: pick, now: time.Unix(1e9, 0)}
	m.window = []int{simWindow, 1_500}[pick(2)]
	m.credit = []int{500_000, 70_000, 3_000}[pick(3)]
	m.early = []int{300_000, 6_000, 0}[pick(3)]
	m.link()
	return m
}

// link begins one, with keys of its own.
func (m *sim) link() {
	keys, err := newKeys(cipherAES, testID, [32]byte{1, byte(m.restarts)}, [32]byte{2, byte(m.restarts)})
	if err != nil {
		panic(err)
	}
	m.client, m.node = m.newSide("client", true, &keys), m.newSide("node", false, &keys)
}

func (m *sim) newSide(name string, client bool, keys *Keys) *side {
	d := &side{sim: m, name: name, apps: map[uint64]*app{}, early: buf.NewBudget(int64(m.early)), unacked: buf.NewBudget(1 << 40)}
	if d.sealer, d.opener = keys.Sealer(Down), keys.Opener(Up); client {
		d.sealer, d.opener = keys.Sealer(Up), keys.Opener(Down)
	}
	d.c = NewConn(Config{Client: client, Window: m.window, Credit: uint64(m.credit), Peer: uint64(m.credit), Early: d.early, Unacked: d.unacked}, d)
	return d
}

// restart has one of the ends start again, which both learn: a new link, without
// the streams of the old one, whose owners hear of it one by one.
func (m *sim) restart() {
	m.restarts++
	for _, d := range []*side{m.client, m.node} {
		d.c.Close()
		if d.early.Used() != 0 || d.unacked.Used() != 0 {
			panic(fmt.Sprintf("the %s keeps %d and %d bytes of a link that is no more", d.name, d.early.Used(), d.unacked.Used()))
		}
		for _, a := range d.live() {
			m.left = append(m.left, a)
			d.late(a)
		}
	}
	for _, x := range m.flying {
		m.before = x.body
	}
	m.flying, m.parked, m.open, m.suspects, m.number = nil, nil, nil, nil, 0
	m.link()
}

// late is what an owner may still do to a stream of a link that is no more.
func (d *side) late(a *app) {
	d.write(a, 1000)
	a.s.Consumed(a.owed)
	a.s.SetWindow(1 << 20)
	a.s.Accept(a.s.Addr())
	a.s.Offer()
	a.s.CloseWrite()
	a.s.Reset(Aborted, "")
	if n := d.unacked.Used(); n != 0 {
		panic(fmt.Sprintf("%s: %d bytes were written to a link that is no more", d.name, n))
	}
}

// pending is what a side has left to send, counted anew.
func (d *side) pending() (n uint64) {
	for _, s := range d.c.streams {
		n += s.out.end - s.out.sent + s.out.lost.size()
	}
	return n
}

// plan makes a message, seals it, and checks what is said of it.
func (d *side) plan(exchange uint64, head any) []byte {
	l := d.limits()
	if got, want := d.c.unsent+d.c.again, d.pending(); got != want {
		panic(fmt.Sprintf("%s: %d bytes are said to be pending, %d are", d.name, got, want))
	}
	m := d.c.Plan(d.now, exchange, head, l)
	size := m.SealedLen()
	if size > l.Bytes {
		panic(fmt.Sprintf("%s: a message of %d bytes, %d may be", d.name, size, l.Bytes))
	}
	if l.Ops > 0 && m.Ops > l.Ops {
		panic(fmt.Sprintf("%s: %d ops, %d may be", d.name, m.Ops, l.Ops))
	}
	if d.c.received > d.c.credit {
		panic("more was taken in than the credit")
	}
	if d.early.Used() > d.early.Limit() {
		panic("more waits for what is before it than there is memory")
	}
	body, err := m.AppendSealed(nil, d.sealer)
	if err != nil || len(body) != size {
		panic(fmt.Sprintf("%s: a message of %d bytes, %d were said: %v", d.name, len(body), size, err))
	}
	return body
}

// patternPeriod is how many bytes come before the same ones come again.
const patternPeriod = 1<<20 - 3

// pattern is what streams are made of.
var pattern = sync.OnceValue(func() []byte {
	p := make([]byte, patternPeriod)
	for i := range p {
		p[i] = byte(uint64(i) * 0x9E3779B97F4A7C15 >> 32)
	}
	return append(p, p[:buf.Max]...)
})

// want is the n bytes at an offset of a stream, in one direction.
func want(name string, id, off uint64, n int) []byte {
	at := (off + id*7919 + uint64(len(name))*104729) % patternPeriod
	return pattern()[at:][:n]
}

func (d *side) other() string {
	if d.name == "node" {
		return "client"
	}
	return "node"
}

func (d *side) app(s *Stream) *app {
	a := d.apps[s.ID()]
	if a == nil || a.s != s || a.over {
		panic(fmt.Sprintf("%s: no stream %d", d.name, s.ID()))
	}
	return a
}

func (d *side) Open(s *Stream) {
	if d.apps[s.ID()] != nil {
		panic(fmt.Sprintf("stream %d opened twice", s.ID()))
	}
	d.apps[s.ID()] = &app{s: s}
}
func (d *side) Opened(s *Stream) {
	a := d.app(s)
	if a.opened {
		panic("opened twice")
	}
	a.opened = true
}
func (d *side) Data(s *Stream, b *buf.Buf, p []byte) {
	a := d.app(s)
	if d.loose {
		b.Release()
		return
	}
	if a.ended || a.reset || a.gaveUp {
		panic("bytes after the end")
	}
	defer func() {
		if d.pick(40) == 0 {
			a.gaveUp = true
			s.Reset(Aborted, "in the middle of what it gets")
		}
	}()
	if !bytes.Equal(p, want(d.other(), s.ID(), a.got, len(p))) {
		panic(fmt.Sprintf("%s: stream %d has a wrong byte at %d or soon after it", d.name, s.ID(), a.got))
	}
	a.got += uint64(len(p))
	a.owed += len(p)
	b.Release()
}
func (d *side) End(s *Stream, rst bool) {
	a := d.app(s)
	if a.ended {
		panic("ended twice")
	}
	a.ended, a.rst = true, rst
}
func (d *side) Reset(s *Stream, code Code, detail string) {
	a := d.app(s)
	if a.reset || a.gaveUp {
		panic("reset twice")
	}
	a.reset = true
}
func (d *side) Over(s *Stream)          { d.app(s).over = true }
func (d *side) Acked(s *Stream, n int)  { d.app(s).acked += n }
func (d *side) Usage(tag, count uint64) {}
func (d *side) Datagrams(s *Stream, b *buf.Buf, pkts [][]byte) {
	a := d.app(s)
	if d.loose {
		return
	}
	if a.sawPkts == nil {
		a.sawPkts = map[byte]bool{}
	}
	for _, p := range pkts {
		if len(p) == 0 || len(bytes.TrimRight(p, string(p[:1]))) != 0 || a.sawPkts[p[0]] {
			panic("a datagram is not whole, or came twice")
		}
		a.sawPkts[p[0]] = true
	}
}
func (d *side) Pull(s *Stream, room int) (*buf.Buf, []byte, bool) {
	a := d.app(s)
	if len(a.pkts) == 0 {
		return nil, nil, true
	}
	if len(a.pkts[0]) > room {
		if room >= 65505 {
			panic("the largest room is too small")
		}
		return nil, nil, false
	}
	b := buf.Copy(a.pkts[0])
	a.pkts = a.pkts[1:]
	return b, b.B, true
}

func bufOf(p []byte) *buf.Buf { return buf.Copy(p) }

func head(client bool) any {
	if client {
		return &Ask{}
	}
	return &Answer{}
}

func (d *side) write(a *app, n int) {
	for n > 0 {
		k := min(n, buf.Max)
		b := buf.Copy(want(d.name, a.s.ID(), a.wrote, k))
		d.unacked.Force(cap(b.B))
		a.s.Write(b, b.B)
		a.wrote += uint64(k)
		n -= k
	}
}

// plain is a message's records, as if they had been sealed and opened.
func plain(m *Message) (all []record) {
	arena := m.arena
	for _, r := range m.records {
		var p []byte
		for _, x := range m.parts[r.from:r.to] {
			if x.b == nil {
				p = append(p, arena[:x.n]...)
				arena = arena[x.n:]
			} else {
				p = append(p, x.p...)
			}
		}
		if len(p) > MaxPlain {
			panic("a record is too large")
		}
		all = append(all, record{r.number, p})
	}
	if len(arena) != 0 {
		panic("the arena has more than its parts")
	}
	m.Release()
	return all
}

func (m *sim) limits() Limits {
	return Limits{Bytes: []int{3_000, 20_000, 150_000, 1 << 20}[m.pick(4)], Ops: []int{0, 1, 50}[m.pick(3)]}
}

// ask sends a request.
func (m *sim) ask() {
	m.number++
	body := m.client.plan(m.number, &Ask{Awaited: slices.Clone(m.open), Keep: 2})
	m.open = append(m.open, m.number)
	m.flying = append(m.flying, &simExchange{id: m.number, body: body})
}

// arrive delivers a request to the node, where it waits.
func (m *sim) arrive(x *simExchange) {
	m.node.receive(x)
	m.parked = append(m.parked, x)
}

// receive takes in the records of a message up to one that is cut or does not open,
// as both ends do.
func (d *side) receive(x *simExchange) {
	for i, sealed := uint32(0), x.body; len(sealed) > 0; i++ {
		var r []byte
		var err error
		if r, sealed, err = NextRecord(sealed); err != nil {
			break
		}
		b := buf.Get(max(0, len(r)-(RecordHead-2)-RecordTag))
		number, plain, err := d.opener.Open(b.B, r, x.id, i)
		if err != nil {
			b.Release()
			d.forged++
			break
		}
		b.B = plain
		if !d.replay.Fresh(number) {
			b.Release()
			continue
		}
		got, err := d.c.Receive(d.now, number, b)
		b.Release()
		switch {
		case errors.Is(err, ErrRefused):
			d.refused++
		case err != nil:
			panic(fmt.Sprintf("%s: %v", d.name, err))
		}
		if got.Ask != nil {
			d.c.Awaited(x.id, got.Ask.Awaited)
		}
	}
	d.c.DetectLost(3 * time.Second)
}

// reply answers a request that waits at the node.
func (m *sim) reply(i int) {
	x := m.parked[i]
	m.parked = slices.Delete(m.parked, i, i+1)
	m.flying = append(m.flying, &simExchange{id: x.id, back: true, body: m.node.plan(x.id, &Answer{})})
}

// suspect gives up an exchange whose answer may still come: what it carried goes
// again.
func (m *sim) suspect(id uint64) {
	m.ended(id)
	m.suspects = append(m.suspects, id)
}

// takes reports whether the client takes the answer of an exchange.
func (m *sim) takes(id uint64) bool {
	return slices.Contains(m.open, id) || slices.Contains(m.suspects, id)
}

// ended is the end of an exchange at the client.
func (m *sim) ended(id uint64) {
	m.suspects = slices.DeleteFunc(m.suspects, func(x uint64) bool { return x == id })
	if i := slices.Index(m.open, id); i >= 0 {
		m.open = slices.Delete(m.open, i, i+1)
		m.client.c.ExchangeEnded(id)
	}
}

// step lets one thing happen.
func (m *sim) step() {
	m.now = m.now.Add(time.Duration(m.pick(50)) * 10 * time.Millisecond)
	switch k := m.pick(20); {
	case k == 19 && m.pick(5) == 0 && len(m.open) > 0:
		m.suspect(m.open[m.pick(len(m.open))])
	case k == 19 && m.pick(100) == 0:
		m.restart()
	case k < 3:
		m.appActs(m.client)
	case k < 6:
		m.appActs(m.node)
	case k < 9 && len(m.open) < 8:
		m.ask()
	case k < 15 && len(m.flying) > 0:
		m.travel(m.pick(len(m.flying)))
	case len(m.parked) > 0:
		m.reply(m.pick(len(m.parked)))
	}
}

// travel decides what becomes of a message on its way.
func (m *sim) travel(i int) {
	x := m.flying[i]
	m.flying = slices.Delete(m.flying, i, i+1)
	fate := m.pick(12)
	if fate == 0 { // lost
		m.ended(x.id)
		return
	}
	if fate == 1 && len(x.body) > 0 {
		x = &simExchange{id: x.id, back: x.back, body: m.tamper(x.body)}
	}
	if fate == 2 && !x.back { // run twice
		twin := *x
		m.flying = append(m.flying, &twin)
	}
	if !x.back {
		m.arrive(x)
		return
	}
	if !m.takes(x.id) { // the other run's answer came before, or it was given up for good
		return
	}
	m.client.receive(x)
	m.ended(x.id)
}

// tamper is what somebody on the way makes of a message, of which nothing but its
// beginning may be taken for what it was.
func (m *sim) tamper(body []byte) []byte {
	switch how := m.pick(8); {
	case how == 0:
		body = slices.Clone(body)
		body[m.pick(len(body))] ^= 1 << m.pick(8)
	case how == 1 && len(m.flying) > 0: // another exchange's, or one of the other direction
		body = m.flying[m.pick(len(m.flying))].body
	case how == 2 && m.before != nil:
		body = m.before
	case how == 3: // records in another order
		if first, rest, err := NextRecord(body); err == nil {
			body = slices.Concat(rest, body[:2+len(first)])
		}
	case how == 4: // and records that come twice
		body = slices.Concat(body, body)
	default:
		body = body[:m.pick(len(body))]
	}
	return body
}

func (d *side) live() (all []*app) {
	for _, a := range d.apps {
		if !a.gaveUp && !a.reset {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(x, y *app) int { return int(x.s.ID()) - int(y.s.ID()) })
	return all
}

// appActs lets an application do something.
func (m *sim) appActs(d *side) {
	live := d.live()
	if d == m.client && (len(live) == 0 || m.pick(12) == 0) && len(live) < 6 {
		udp := m.pick(5) == 0
		s := d.c.Open(fmt.Sprintf("host%d.example", m.pick(100)), uint16(1+m.pick(65535)), udp, m.pick(2) == 0, m.window)
		d.apps[s.ID()] = &app{s: s}
		return
	}
	if len(live) == 0 {
		return
	}
	a := live[m.pick(len(live))]
	s := a.s
	k := m.pick(16)
	if s.UDP() {
		switch {
		case k == 0:
			a.gaveUp = true
			s.Reset(Aborted, "")
		case len(a.pkts) < 20:
			if a.wrote < 255 {
				a.wrote++
				a.pkts = append(a.pkts, bytes.Repeat([]byte{byte(a.wrote)}, []int{1, 50, 1200, 9000, 65505}[m.pick(5)]))
			}
			s.Offer()
		}
		return
	}
	switch {
	case k == 0 && d == m.node:
		s.Accept(s.Addr())
	case k == 1 && m.pick(4) == 0:
		a.gaveUp = true
		s.Reset(Aborted, "given up")
	case k == 2:
		a.closed = true
		s.CloseWrite()
	case k == 3 && m.pick(3) == 0:
		a.closed = true
		s.End(Aborted, true)
	case k < 8 && !a.closed && s.Unacked() < 1<<20:
		d.write(a, []int{1, 100, 5_000, 100_000, 400_000}[m.pick(5)])
	case k < 9:
		s.SetWindow([]int{0, 1000, simWindow, 400_000}[m.pick(4)])
	case k < 10:
		d.c.SetCredit([]uint64{0, 100, 3_000, 500_000}[m.pick(4)])
	default:
		n := a.owed
		if m.pick(2) == 0 {
			n = m.pick(n + 1)
		}
		a.owed -= n
		s.Consumed(n)
	}
}

// calm lets everything come to its end over a perfect relay, and checks that it does.
func (m *sim) calm() error {
	for round := range 4000 {
		m.now = m.now.Add(100 * time.Millisecond)
		for len(m.flying) > 0 {
			x := m.flying[0]
			m.flying = m.flying[1:]
			if !x.back {
				m.arrive(x)
			} else if m.takes(x.id) {
				m.client.receive(x)
				m.ended(x.id)
			}
		}
		for _, d := range []*side{m.client, m.node} {
			d.c.SetCredit(uint64(m.credit))
			for _, a := range d.live() {
				if !a.s.UDP() {
					a.s.SetWindow(400_000)
					a.s.Consumed(a.owed)
					a.owed = 0
				}
				if round == 20 && !a.closed {
					if a.closed = true; a.s.UDP() {
						a.gaveUp = true
						a.s.Reset(Aborted, "")
					} else {
						a.s.CloseWrite()
					}
				}
			}
		}
		for len(m.parked) > 0 {
			m.reply(0)
		}
		if round > 30 && m.client.c.Streams() == 0 && m.node.c.Streams() == 0 {
			return m.check()
		}
		if len(m.open) == 0 {
			m.ask()
		}
	}
	return fmt.Errorf("it does not come to an end: client %d streams, node %d: %s", m.client.c.Streams(), m.node.c.Streams(), m.state())
}

func (m *sim) state() (text string) {
	for _, d := range []*side{m.client, m.node} {
		for _, s := range d.c.All() {
			text += fmt.Sprintf("\n%s %d udp=%v out{end %d sent %d limit %d lost %v fin %v/%v/%v reset %v/%v} in{next %d limit %d end %v/%d done %v reset %v} due %b",
				d.name, s.id, s.UDP(), s.out.end, s.out.sent, s.out.limit, s.out.lost, s.out.fin, s.out.finSent, s.out.finAcked, s.out.reset, s.out.resetAck,
				s.in.next, s.in.limit, s.in.ended, s.in.end, s.in.done, s.in.reset, s.due)
		}
		text += fmt.Sprintf("\n%s credit %d received %d consumed %d given %d spent %d", d.name, d.c.credit, d.c.received, d.c.consumed, d.c.given, d.c.spent)
	}
	return text
}

// check compares what was written with what came.
func (m *sim) check() error {
	for _, d := range []*side{m.client, m.node} {
		o := m.node
		if d == m.node {
			o = m.client
		}
		for id, a := range d.apps {
			b := o.apps[id]
			if a.s.UDP() || a.gaveUp || a.reset {
				continue
			}
			if b == nil {
				return fmt.Errorf("stream %d never reached the %s", id, o.name)
			}
			if b.gaveUp || b.reset {
				continue
			}
			if b.got != a.wrote || !b.ended {
				return fmt.Errorf("%s wrote %d bytes into stream %d, %d came, ended %v", d.name, a.wrote, id, b.got, b.ended)
			}
		}
		if n := d.c.Owing(); n != 0 {
			return fmt.Errorf("the %s is said to owe %d streams something", d.name, n)
		}
		if n := d.unacked.Used(); n != 0 {
			return fmt.Errorf("the %s still keeps %d bytes", d.name, n)
		}
		if n := d.early.Used(); n != 0 {
			return fmt.Errorf("the %s keeps %d bytes that came early", d.name, n)
		}
		if d.c.unsent != 0 || d.c.again != 0 || d.c.dead != 0 {
			return fmt.Errorf("the %s counts %d bytes unsent, %d lost, %d dead streams", d.name, d.c.unsent, d.c.again, d.c.dead)
		}
		if d.c.spent != o.c.received || o.c.received != o.c.consumed {
			return fmt.Errorf("credit: the %s spent %d, the other end received %d and consumed %d", d.name, d.c.spent, o.c.received, o.c.consumed)
		}
	}
	return nil
}

// seeded picks by a seed.
func seeded(seed uint64) func(n int) int {
	rnd := rand.New(rand.NewPCG(seed, 4))
	return rnd.IntN
}
