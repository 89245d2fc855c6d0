package dash

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"relaymux/mux"
	"relaymux/mux/stats"
	"relaymux/relay"
)

// Status is what GET /api/status answers with. Times are RFC 3339; a time that is not
// known, and whatever else is zero and marked so, is left out. Fields are added, never
// taken away or given another meaning.
type Status struct {
	Version string    `json:"version"`
	Time    time.Time `json:"time"`
	Uptime  float64   `json:"uptime_s"`

	Refused string `json:"config_refused,omitempty"` // why the config that was read again last is not in effect
	Unkept  string `json:"state_unkept,omitempty"`   // why the counts of exchanges are not written

	Proxy       Proxy        `json:"proxy"`
	Clients     Clients      `json:"clients"`
	Totals      Totals       `json:"totals"`
	Link        Link         `json:"link"`
	Deployments []Deployment `json:"deployments"`
	Accounts    []Account    `json:"accounts"`
	Flows       []Flow       `json:"flows"`      // the newest first, at most ?flows=N, 1000 if that is not said
	FlowsMore   int          `json:"flows_more"` // that there are beside these
	UDP         Datagrams    `json:"udp"`        // of the sockets towards applications
	QUIC        Datagrams    `json:"quic"`       // of HTTP/3
	Exchanges   []Exchange   `json:"recent"`     // that have ended, the newest first, at most ?recent=N, 128 if that is not said
	Advice      []Advice     `json:"advice"`     // why it is slow, the worst first; empty: nothing is wrong
}

// Proxy is where applications find it.
type Proxy struct {
	Listen   []netip.AddrPort `json:"listen"`
	Password bool             `json:"password"` // it asks for one
}

// Clients are those who connect to the proxy's ports, and what they were turned away for
// since the start.
type Clients struct {
	Open      int   `json:"open"`
	Refused   int64 `json:"refused"`    // there were limits.connections of them
	Short     int64 `json:"short"`      // file descriptors were too few
	Garbage   int64 `json:"garbage"`    // spoke nothing known, or broke off
	BadLogins int64 `json:"bad_logins"` // wrong passwords
	Panics    int64 `json:"panics"`     // faults of this program
}

// Totals are counts since the start.
type Totals struct {
	Up      uint64 `json:"up_bytes"` // payload taken from applications,
	Down    uint64 `json:"down_bytes"`
	UpUDP   uint64 `json:"up_udp_bytes"` // of which in datagrams
	DownUDP uint64 `json:"down_udp_bytes"`

	Flows        uint64 `json:"flows"` // TCP
	FlowsOpen    int64  `json:"flows_open"`
	UDPFlows     uint64 `json:"udp_flows"`
	UDPFlowsOpen int64  `json:"udp_flows_open"`

	// By the rules of [route], TCP and UDP, and in no other count.
	Direct     uint64 `json:"flows_direct"`
	DirectOpen int64  `json:"flows_direct_open"`
	Blocked    uint64 `json:"flows_blocked"`

	Exchanges uint64 `json:"exchanges"` // begun
	Polls     uint64 `json:"polls"`     // of which only asked for data
	Ops       uint64 `json:"ops"`
	Resent    uint64 `json:"resent"` // ops; by the link, bytes
	Hedged    uint64 `json:"hedged"`
	Suspected uint64 `json:"suspected"` // given up for being silent
	Forged    uint64 `json:"forged"`    // records of the link that were not the node's
}

// The states of the link.
const (
	LinkNone    = "none"    // the config has no secret
	LinkMaking  = "making"  // it has not been made yet
	LinkUp      = "up"      //
	LinkFailing = "failing" // no exchange of it works
)

// Link is the native link to the node.
type Link struct {
	State   string    `json:"state"`
	Since   time.Time `json:"since,omitzero"` // it was made, or is failing
	Streams int       `json:"streams"`        // open at the node
	Pipe    string    `json:"pipe,omitempty"` // the deployment of which one long exchange carries all
	PipeAt  time.Time `json:"pipe_since,omitzero"`
	Lag     float64   `json:"pipe_lag_ms,omitempty"` // how long the word took of late that something arrived
}

// The states of a deployment.
const (
	DeploymentUntried = "untried" // no exchange of it has ended
	DeploymentWorks   = "works"
	DeploymentFailing = "failing" // its latest exchanges have failed (Deployment.Said)
	DeploymentRests   = "rests"   // likewise, and it is not used for now (Deployment.Rest)
	DeploymentStreams = "streams" // one long exchange of it carries all
)

// Deployment is one relay URL.
type Deployment struct {
	Name     string `json:"name"`
	Account  string `json:"account"`
	Wire     string `json:"wire"` // link or json
	Script   bool   `json:"script"`
	HTTP     string `json:"http,omitempty"`          // the version of the latest answer
	Losses   uint64 `json:"http3_losses,omitempty"`  // times that TCP has taken over from HTTP/3
	NoUDP    bool   `json:"http3_blocked,omitempty"` // HTTP/3 is wanted, and does not get through now
	InFlight int    `json:"in_flight"`
	State    string `json:"state"` // untried, works, failing, rests or streams

	Exchanges map[string]uint64 `json:"exchanges"` // that ended, by outcome: ok, timeout, quota, ...
	Up        uint64            `json:"up_bytes"`  // of bodies
	Down      uint64            `json:"down_bytes"`

	Latency *Latency  `json:"latency,omitempty"`
	Rest    *Rest     `json:"rest,omitempty"` // it is not used for now
	Said    string    `json:"last_failure,omitempty"`
	SaidAt  time.Time `json:"last_failure_at,omitzero"`
	MaxBody int       `json:"max_body,omitempty"` // bytes: it has refused more
	Hold    float64   `json:"hold_s,omitempty"`   // how long the node may hold an exchange of it
	Pipe    bool      `json:"pipe"`               // one long exchange of it carries all
}

// Latency is what the latest exchanges took, without what the node held them.
type Latency struct {
	Measured int     `json:"measured"`
	P50      float64 `json:"p50_ms"`
	P95      float64 `json:"p95_ms"`
}

// Rest is a pause after failures.
type Rest struct {
	Until time.Time `json:"until"`
	Why   string    `json:"why"` // an outcome
}

// Account is what deployments share.
type Account struct {
	Name      string    `json:"name"`
	InFlight  int       `json:"in_flight"` // slots in use
	Slots     int       `json:"slots"`     // exchanges that may be in flight now: others may use the account too
	MostSlots int       `json:"most_slots"`
	Quota     int       `json:"quota"` // exchanges of 24 hours; 0: there is no quota
	Used      int       `json:"used"`
	Left      int       `json:"left"`
	Exhausted bool      `json:"exhausted"` // the relay has said so
	Probe     time.Time `json:"probe,omitzero"`
	Resets    time.Time `json:"resets,omitzero"`
	PerHour   float64   `json:"per_hour"`
	Lasts     float64   `json:"lasts_s"` // at that rate; 24 hours at most
}

// Flow is one TCP connection, or what is exchanged by UDP with one destination.
type Flow struct {
	ID        uint64    `json:"id"`
	Network   string    `json:"network"` // tcp or udp
	Host      string    `json:"host"`
	Port      uint16    `json:"port"`
	Wire      string    `json:"wire"`              // link or json
	Connected bool      `json:"connected"`         // the node has reached the target
	Dial      float64   `json:"dial_ms,omitempty"` // until it was, from since on
	Since     time.Time `json:"since"`
	Age       float64   `json:"age_s"`
	Up        uint64    `json:"up_bytes"`
	Down      uint64    `json:"down_bytes"`
	Exchanges uint64    `json:"exchanges"` // about: in which it had a part, with others
}

// Datagrams are those of one kind of socket.
type Datagrams struct {
	Sent      Trains            `json:"sent"`
	Received  Trains            `json:"received"`
	Fallbacks map[string]uint64 `json:"fallbacks,omitempty"` // trains that went out as single datagrams, by reason
	Dropped   map[string]uint64 `json:"dropped,omitempty"`   // by reason
}

// Trains are datagrams and the system calls' worth that they went in.
type Trains struct {
	Datagrams uint64  `json:"datagrams"`
	Trains    uint64  `json:"trains"`
	Mean      float64 `json:"mean"` // datagrams of a train
}

// flowsMost is how many flows are shown if nobody asks for another number: 200 KB.
const flowsMost = 1000

// lookEvery is the shortest time between two looks at the mux, however many ask.
const lookEvery = 200 * time.Millisecond

// status is the state of not longer than lookEvery ago.
func (s *Server) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() || time.Since(s.at) >= lookEvery {
		s.latest = s.look()
		s.at = time.Now()
	}
	return s.latest
}

func (s *Server) serveStatus(w http.ResponseWriter, r *http.Request) {
	st := s.status()
	if n, err := strconv.Atoi(r.FormValue("flows")); err == nil && n >= 0 && n < len(st.Flows) {
		st.FlowsMore += len(st.Flows) - n
		st.Flows = st.Flows[:n]
	}
	if n, err := strconv.Atoi(r.FormValue("recent")); err == nil && n >= 0 && n < len(st.Exchanges) {
		st.Exchanges = st.Exchanges[:n]
	}
	answer(w, st)
}

// answer answers with v as JSON.
func answer(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer cannot be written", http.StatusInternalServerError)
		return
	}
	text(w, "application/json", string(body))
}

func (s *Server) look() Status {
	snap := s.Look(flowsMost)
	st := Status{
		Version: s.Version, Time: snap.At, Uptime: time.Since(s.began).Seconds(), Refused: s.Refused(), Unkept: s.Unkept(),
		Proxy: *s.proxy.Load(), Clients: s.Clients(), Totals: s.totals(), Link: linkOf(&snap),
		Deployments: []Deployment{}, Accounts: []Account{}, Flows: []Flow{}, FlowsMore: snap.MoreFlows, Exchanges: []Exchange{},
		UDP: datagramsOf(s.UDP), QUIC: datagramsOf(s.QUIC),
	}
	for i := range snap.Deployments {
		st.Deployments = append(st.Deployments, deploymentOf(&snap.Deployments[i], snap.Link.PipeBy))
	}
	for _, a := range snap.Accounts {
		st.Accounts = append(st.Accounts, Account{
			Name: a.Name, InFlight: a.InFlight, Slots: a.Slots, MostSlots: a.MostSlots, Quota: a.Quota, Used: a.Used, Left: a.Left,
			Exhausted: a.Exhausted, Probe: a.Probe, Resets: a.Resets, PerHour: a.PerHour, Lasts: a.Lasts.Seconds(),
		})
	}
	for _, f := range snap.Flows {
		st.Flows = append(st.Flows, Flow{
			ID: f.ID, Network: oneOf(f.UDP, "udp", "tcp"), Host: f.Host, Port: f.Port, Wire: oneOf(f.Link, "link", "json"),
			Connected: f.Connected, Dial: milliseconds(f.Dial), Since: f.Since, Age: snap.At.Sub(f.Since).Seconds(), Up: f.Up, Down: f.Down, Exchanges: f.Exchanges,
		})
	}
	for i := range snap.Exchanges {
		st.Exchanges = append(st.Exchanges, exchangeOf(&snap.Exchanges[i]))
	}
	st.Advice = advise(&st)
	return st
}

func oneOf(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (s *Server) totals() Totals {
	m, u := s.Stats, s.UDP
	return Totals{
		UpUDP: m.UpUDP.Load(), DownUDP: m.DownUDP.Load(), Up: m.Up.Load(), Down: m.Down.Load(),
		Flows: m.Flows.Load(), FlowsOpen: m.FlowsOpen.Load(), UDPFlows: u.Flows.Load(), UDPFlowsOpen: u.FlowsOpen.Load(),
		Direct: s.Routed.Direct.Load(), DirectOpen: s.Routed.DirectOpen.Load(), Blocked: s.Routed.Blocked.Load(),
		Exchanges: m.Exchanges.Load(), Polls: m.Polls.Load(), Ops: m.Ops.Load(), Resent: m.Resent.Load(),
		Hedged: m.Hedged.Load(), Suspected: m.Suspected.Load(), Forged: m.Forged.Load(),
	}
}

func linkOf(snap *mux.Snapshot) Link {
	l := &snap.Link
	link := Link{State: LinkUp, Since: l.Made, Streams: l.Streams, Pipe: l.PipeBy, PipeAt: l.Pipe, Lag: milliseconds(l.Lag)}
	switch {
	case !l.Wanted:
		link.State = LinkNone
	case l.Made.IsZero():
		link.State, link.Since = LinkMaking, l.Failing
	case !l.Failing.IsZero():
		link.State, link.Since = LinkFailing, l.Failing
	}
	return link
}

func deploymentOf(d *mux.DeploymentSnapshot, pipe string) Deployment {
	out := Deployment{
		Name: d.Name, Account: d.Account, Wire: oneOf(d.Link, "link", "json"), Script: d.Script, HTTP: d.HTTP, Losses: d.Losses, NoUDP: d.NoUDP, InFlight: d.InFlight,
		Exchanges: map[string]uint64{"ok": d.Outcome[0]}, Up: d.Up, Down: d.Down,
		Said: d.Said, SaidAt: d.Last, MaxBody: d.MaxBody, Hold: d.Hold.Seconds(), Pipe: d.Name == pipe, State: DeploymentWorks,
	}
	switch {
	case !d.Until.IsZero():
		out.State = DeploymentRests
	case out.Pipe:
		out.State = DeploymentStreams
	case d.Good.IsZero() && d.Last.IsZero():
		out.State = DeploymentUntried
	case d.Last.After(d.Good):
		out.State = DeploymentFailing
	}
	for kind, n := range d.Outcome {
		if kind > 0 && n > 0 {
			out.Exchanges[relay.Kind(kind).String()] = n
		}
	}
	if d.Measured > 0 {
		out.Latency = &Latency{d.Measured, milliseconds(d.P50), milliseconds(d.P95)}
	}
	if !d.Until.IsZero() {
		out.Rest = &Rest{d.Until, d.Why.String()}
	}
	return out
}

func datagramsOf(u *stats.UDP) Datagrams {
	d := Datagrams{Sent: trainsOf(&u.Sent), Received: trainsOf(&u.Received), Fallbacks: map[string]uint64{}, Dropped: map[string]uint64{}}
	for why := range stats.Fallbacks {
		if n := u.Fallback[why].Load(); n > 0 {
			d.Fallbacks[why.String()] = n
		}
	}
	for why := range stats.Drops {
		if n := u.Dropped[why].Load(); n > 0 {
			d.Dropped[why.String()] = n
		}
	}
	return d
}

func trainsOf(t *stats.Trains) Trains {
	out := Trains{Datagrams: t.Datagrams.Load(), Trains: t.Trains.Load()}
	if out.Trains > 0 {
		out.Mean = float64(out.Datagrams) / float64(out.Trains)
	}
	return out
}
