package link

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"relaymux/mux/buf"
)

// A sim is both ends of a link, with a relay between them that loses, doubles,
// reorders, cuts and delays exchanges, and applications that write what can be
// recognised. pick decides everything: n choices, one of 0..n-1.
type sim struct {
	pick   func(n int) int
	now    time.Time
	client *side
	node   *side

	flying []*simExchange // requests and answers on their way
	parked []*simExchange // at the node
	number uint64
	open   []uint64 // exchanges that the client awaits
	log    []string
}

type simExchange struct {
	id      uint64
	records []record // of the request, or of the answer
	back    bool
	cut     bool
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
	replay  map[uint64]bool
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
	acked   int
	pkts    [][]byte
	sawPkts map[byte]bool
}

const simWindow = 200_000

func newSim(pick func(n int) int) *sim {
	m := &sim{pick: pick, now: time.Unix(1e9, 0)}
	m.client, m.node = m.newSide("client", true), m.newSide("node", false)
	return m
}

func (m *sim) newSide(name string, client bool) *side {
	d := &side{sim: m, name: name, replay: map[uint64]bool{}, apps: map[uint64]*app{},
		early: buf.NewBudget(300_000), unacked: buf.NewBudget(1 << 40)}
	d.c = NewConn(Config{Client: client, Window: simWindow, Credit: 500_000, Peer: 500_000, Early: d.early, Unacked: d.unacked}, d)
	return d
}

// want is the byte at an offset of a stream, in one direction.
func want(name string, id, off uint64) byte {
	x := off*0x9E3779B97F4A7C15 + id*77 + uint64(len(name))
	return byte(x >> 32)
}

func (d *side) other() string {
	if d.name == "node" {
		return "client"
	}
	return "node"
}

func (d *side) app(s *Stream) *app {
	a := d.apps[s.ID()]
	if a == nil {
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
func (d *side) Opened(s *Stream) { d.app(s) }
func (d *side) Data(s *Stream, b *buf.Buf, p []byte) {
	a := d.app(s)
	if d.loose {
		b.Release()
		return
	}
	if a.ended || a.reset || a.gaveUp {
		panic("bytes after the end")
	}
	for i, x := range p {
		if x != want(d.other(), s.ID(), a.got+uint64(i)) {
			panic(fmt.Sprintf("%s: stream %d has a wrong byte at %d", d.name, s.ID(), a.got+uint64(i)))
		}
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
func (d *side) Over(s *Stream)          { d.app(s) }
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
		b := buf.Get(k)
		for i := range k {
			b.B = append(b.B, want(d.name, a.s.ID(), a.wrote+uint64(i)))
		}
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
	a := &Ask{Awaited: slices.Clone(m.open), Keep: 2}
	l := m.limits()
	msg := m.client.c.Plan(m.now, m.number, a, l)
	if msg.SealedLen() > l.Bytes {
		panic(fmt.Sprintf("a message of %d bytes, %d may be", msg.SealedLen(), l.Bytes))
	}
	m.open = append(m.open, m.number)
	m.flying = append(m.flying, &simExchange{id: m.number, records: plain(msg)})
}

// arrive delivers a request to the node, where it waits.
func (m *sim) arrive(x *simExchange) {
	m.node.receive(x)
	m.parked = append(m.parked, x)
}

func (d *side) receive(x *simExchange) {
	for _, r := range x.records {
		if d.replay[r.number] {
			continue
		}
		d.replay[r.number] = true
		b := buf.Copy(r.plain)
		got, err := d.c.Receive(d.now, r.number, b)
		b.Release()
		if err != nil && !errors.Is(err, ErrRefused) {
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
	l := m.limits()
	msg := m.node.c.Plan(m.now, x.id, &Answer{}, l)
	if msg.SealedLen() > l.Bytes {
		panic("an answer is too large")
	}
	m.flying = append(m.flying, &simExchange{id: x.id, back: true, records: plain(msg)})
}

// ended is the end of an exchange at the client.
func (m *sim) ended(id uint64) {
	if i := slices.Index(m.open, id); i >= 0 {
		m.open = slices.Delete(m.open, i, i+1)
		m.client.c.ExchangeEnded(id)
	}
}

// step lets one thing happen.
func (m *sim) step() {
	m.now = m.now.Add(time.Duration(m.pick(50)) * 10 * time.Millisecond)
	switch k := m.pick(20); {
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
	if fate == 1 && len(x.records) > 0 { // cut
		x = &simExchange{id: x.id, back: x.back, records: x.records[:m.pick(len(x.records))]}
	}
	if fate == 2 && !x.back { // run twice
		twin := *x
		m.flying = append(m.flying, &twin)
	}
	if !x.back {
		m.arrive(x)
		return
	}
	if !slices.Contains(m.open, x.id) { // the other run's answer came before, or it was given up
		return
	}
	m.client.receive(x)
	m.ended(x.id)
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
		s := d.c.Open(fmt.Sprintf("host%d.example", m.pick(100)), uint16(1+m.pick(65535)), udp, m.pick(2) == 0, simWindow)
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
	case k < 10:
		s.SetWindow([]int{1000, simWindow, 400_000}[m.pick(3)])
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
	for _, d := range []*side{m.client, m.node} {
		d.early = buf.NewBudget(1 << 40)
	}
	for round := range 4000 {
		m.now = m.now.Add(100 * time.Millisecond)
		for len(m.flying) > 0 {
			x := m.flying[0]
			m.flying = m.flying[1:]
			if !x.back {
				m.arrive(x)
			} else if slices.Contains(m.open, x.id) {
				m.client.receive(x)
				m.ended(x.id)
			}
		}
		for _, d := range []*side{m.client, m.node} {
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
