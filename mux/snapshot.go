package mux

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"relaymux/mux/stats"
	"relaymux/mux/wire"
	"relaymux/relay"
	"relaymux/relay/account"
)

// A Snapshot is what a Mux does at one moment, for whoever looks. It is a copy.
type Snapshot struct {
	At          time.Time
	Flows       []FlowSnapshot // the newest first
	MoreFlows   int            // that there are beside these
	Deployments []DeploymentSnapshot
	Accounts    []AccountSnapshot
	Link        LinkSnapshot
	Exchanges   []ExchangeSnapshot // that have ended of late, the newest first
}

// A FlowSnapshot is a flow that is not over for its application.
type FlowSnapshot struct {
	ID        uint64 // of this flow and no other of the Mux
	Host      string
	Port      uint16
	UDP       bool
	Link      bool // goes by the link, not the JSON wire
	Connected bool // the node has reached the target; always of UDP
	Since     time.Time
	Dial      time.Duration // from then on until it was; 0 if it is not, and of UDP
	Up, Down  uint64        // bytes of payload

	// Exchanges is about in how many it had a part. Others may have shared them; those
	// that only listened, and pipes, do not count.
	Exchanges uint64
}

// A DeploymentSnapshot is a deployment.
type DeploymentSnapshot struct {
	Name, Account string
	Link, Script  bool
	HTTP          string // the version that it speaks now, "" if that is not known
	Losses        uint64 // times that TCP has taken over from HTTP/3
	NoUDP         bool   // HTTP/3 is wanted, and does not get through now
	InFlight      int    // exchanges

	Outcome  [stats.Outcomes]uint64 // exchanges that ended, by relay.Kind; 0: a good answer
	Up, Down uint64                 // bytes of bodies

	Measured int           // exchanges of late that the next two are of,
	P50, P95 time.Duration // without what the node held them

	Until time.Time  // it rests until then; zero: it does not rest
	Why   relay.Kind // for that; 0 also where the rest is over and it has proven itself
	Said  string     // the latest failure, in words; "" if there was none
	Last  time.Time  // when that was
	Good  time.Time  // when the latest good answer came; zero: there was none

	MaxBody int           // bytes of a body that it takes; 0: it has refused none
	Hold    time.Duration // how long the node may hold an exchange; 0: not known
}

// An AccountSnapshot is an account. Without a Quota it has a name and slots.
type AccountSnapshot struct {
	account.Snapshot
	InFlight int // exchanges
}

// A LinkSnapshot is the native link.
type LinkSnapshot struct {
	Wanted  bool          // a deployment carries it
	Made    time.Time     // when it was made; zero: there is none yet
	Failing time.Time     // since when no exchange has worked; zero: the latest did
	Resting bool          // no deployment of it may be used now
	Streams int           // at the node, as far as is known
	Pipe    time.Time     // since when a pipe carries it; zero: exchanges do
	PipeBy  string        // the deployment of that
	Lag     time.Duration // of the pipe: how long the word took of late that something arrived
}

// Snapshot returns what m does now, and so many of its flows. The loops stop for as
// long as it takes to copy a line for each deployment.
func (m *Mux) Snapshot(flows int) Snapshot {
	s := Snapshot{At: time.Now()}
	s.Flows, s.MoreFlows = m.lookAtFlows(flows)
	accounts := map[*Account]bool{}
	var looks []deploymentLook
	if l := m.link; l != nil {
		l.lane.ask(func() {
			looks = append(looks, look(l.ds)...)
			s.Link = l.snapshot()
			s.Exchanges = append(s.Exchanges, l.trace.all()...)
		})
	}
	m.loop.lane.ask(func() {
		looks = append(looks, look(m.loop.ds)...)
		s.Exchanges = append(s.Exchanges, m.loop.trace.all()...)
	})
	newestFirst(s.Exchanges)
	for _, d := range looks {
		a := d.of.Account
		s.Deployments = append(s.Deployments, d.snapshot(s.At))
		if !accounts[a] {
			accounts[a] = true
			s.Accounts = append(s.Accounts, a.snapshot(d.of.Name, s.At))
		}
	}
	return s
}

// ask has look called while the loop stands still, or once it has ended: nobody changes
// anything any more then.
func (ln *lane) ask(look func()) {
	if !ln.tell(look) {
		look()
	}
}

// lookAtFlows returns the newest so many flows that are live, and how many are left.
func (m *Mux) lookAtFlows(most int) (list []FlowSnapshot, more int) {
	m.mu.Lock()
	all := make([]*flow, 0, len(m.flows))
	for f := range m.flows {
		all = append(all, f)
	}
	m.mu.Unlock()
	slices.SortFunc(all, func(a, b *flow) int { return cmp.Compare(b.id, a.id) })
	for _, f := range all {
		over, connected, reached := f.side.progress()
		switch {
		case over:
		case len(list) >= most:
			more++
		default:
			one := FlowSnapshot{
				ID: f.id, Host: f.host, Port: f.port, UDP: f.kind == wire.UDPData,
				Link: m.link != nil && f.lane == m.link.lane, Connected: connected, Since: f.born,
				Up: f.moved.up.Load(), Down: f.moved.down.Load(), Exchanges: f.moved.exchanges.Load(),
			}
			if !reached.IsZero() {
				one.Dial = reached.Sub(f.born)
			}
			list = append(list, one)
		}
	}
	return list, more
}

// progress implements side.
func (s *Stream) progress() (over, connected bool, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil, s.opened, s.reached
}

// progress implements side.
func (u *UDP) progress() (over, connected bool, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.over, true, time.Time{}
}

// errByHand ends a flow that somebody wants to be over.
var errByHand = errors.New("ended by hand")

// EndFlow ends the flow of that ID as if its target had reset it, and reports whether
// there is one.
func (m *Mux) EndFlow(id uint64) bool {
	f := m.byID(id)
	if f == nil {
		return false
	}
	if over, _, _ := f.side.progress(); over {
		return false
	}
	switch side := f.side.(type) {
	case *Stream:
		side.end(errByHand, true) // nothing if it has just ended by itself
	case *UDP:
		side.fail(errByHand)
		f.wake()
	}
	return true
}

func (m *Mux) byID(id uint64) *flow {
	m.mu.Lock()
	defer m.mu.Unlock()
	for f := range m.flows {
		if f.id == id {
			return f
		}
	}
	return nil
}

// A deploymentLook is what a loop is asked of a deployment: it copies, and whoever
// asked makes sense of it.
type deploymentLook struct {
	of       *Deployment
	inFlight int
	recent   []time.Duration
	until    time.Time
	why      relay.Kind
	words    string
	failed   time.Time
	good     time.Time
	maxBody  int
	hold     time.Duration
}

func look(ds []*deployment) (list []deploymentLook) {
	for _, d := range ds {
		list = append(list, deploymentLook{
			of: &d.Deployment, inFlight: d.inFlight, recent: d.recent.list(), until: d.until, why: d.parkedFor,
			words: d.lastWords, failed: d.failed, good: d.good, maxBody: d.body.learned, hold: d.line.hold,
		})
	}
	return list
}

func (d *deploymentLook) snapshot(now time.Time) DeploymentSnapshot {
	slices.Sort(d.recent)
	s := DeploymentSnapshot{
		Name: d.of.Name, Account: d.of.Account.name(d.of.Name), Link: d.of.Link, Script: d.of.Script, InFlight: d.inFlight,
		Measured: len(d.recent), P50: quantile(d.recent, 50), P95: quantile(d.recent, 95),
		Why: d.why, Said: d.words, Last: d.failed, Good: d.good, MaxBody: d.maxBody, Hold: d.hold,
	}
	for kind := range s.Outcome {
		s.Outcome[kind] = d.of.Stats.Outcome[kind].Load()
	}
	s.Up, s.Down = d.of.Stats.Up.Load(), d.of.Stats.Down.Load()
	if now.Before(d.until) {
		s.Until = d.until
	}
	if t, ok := d.of.Transport.(interface{ HTTP() string }); ok {
		s.HTTP = t.HTTP()
	}
	if t, ok := d.of.Transport.(interface{ Losses() uint64 }); ok {
		s.Losses = t.Losses()
	}
	if t, ok := d.of.Transport.(interface{ OverUDP() bool }); ok {
		s.NoUDP = !t.OverUDP()
	}
	return s
}

// name is what the account is called; one without a Quota, as its deployment.
func (a *Account) name(deployment string) string {
	if a.Quota == nil {
		return deployment
	}
	return a.Quota.Name()
}

func (a *Account) snapshot(deployment string, now time.Time) AccountSnapshot {
	s := AccountSnapshot{InFlight: int(a.inFlight.Load())}
	if a.Quota != nil {
		s.Snapshot = a.Quota.Snapshot(now)
		return s
	}
	s.Name, s.Slots, s.MostSlots = deployment, a.slots, a.slots
	return s
}

func (l *linkLoop) snapshot() LinkSnapshot {
	s := LinkSnapshot{Wanted: len(l.ds) > 0, Failing: l.failing, Resting: l.resting.Load()}
	if l.conn != nil {
		s.Made, s.Streams = l.made, l.conn.Streams()
	}
	if p := l.pipe; p.carries() {
		s.Pipe, s.PipeBy, s.Lag = p.began, p.d.Name, p.lag
	}
	return s
}
