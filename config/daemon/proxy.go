package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"relaymux/config"
	"relaymux/mux"
	"relaymux/mux/stats"
	"relaymux/relay/account"
	"relaymux/socks"
	"relaymux/socks/dash"
	"relaymux/socks/route"
)

// drainTime is how long connections may go on after the first signal. A second
// signal ends the program at once.
const drainTime = 5 * time.Second

// A Proxy is the client side: listeners, the protocols on them, the mux; and the
// embedded node, if there is one.
type Proxy struct {
	log       *slog.Logger
	version   string
	pages     []net.Listener // of admin
	admin     *dash.Server
	lines     *dash.Log // that have gone to log
	ledger    *account.Ledger
	front     *socks.Server
	routes    *route.Router
	dns       *dnsListener // nil: there is none
	mux       *mux.Mux
	stats     *stats.Mux
	udp       *stats.UDP
	route     *stats.Route
	quic      *stats.UDP             // of HTTP/3
	node      *Node                  // nil: it is elsewhere
	confirmed atomic.Bool            // applications hear of success once there is one
	refused   atomic.Pointer[string] // why the config that was read again last is not in effect; nil: it is

	mu        sync.Mutex     // guards what follows, which Reload changes
	cfg       *config.Config // what is in effect
	fleet     *fleet
	listeners []port
	group     *errgroup.Group // of Run; nil before
	stopping  bool
}

// Process is what a daemon has of the process that it is.
type Process struct {
	Environ []string // as os.Environ returns it
	Version string
	Log     *slog.Logger
}

// NewProxy opens the ports of the proxy that cfg describes. It takes over cfg.
func NewProxy(cfg *config.Config, in Process) (*Proxy, error) {
	lines := new(dash.Log)
	in.Log = slog.New(lines.Keep(in.Log.Handler()))
	p := &Proxy{
		cfg: cfg, log: in.Log, lines: lines, version: in.Version,
		stats: new(stats.Mux), udp: new(stats.UDP), quic: new(stats.UDP), route: new(stats.Route),
	}
	err := p.open(cfg, in)
	if err != nil {
		p.closeAll()
		return nil, err
	}
	return p, nil
}

// Log is where the proxy's log goes, of which its admin page shows the latest lines.
func (p *Proxy) Log() *slog.Logger { return p.log }

// open makes everything, from the node on. What is there when it fails is closed by
// closeAll.
func (p *Proxy) open(cfg *config.Config, in Process) (err error) {
	stateDir := config.StateDir(cfg, in.Environ)
	switch {
	case cfg.Embedded:
		boundHeap(int64(cfg.Limits.Memory + cfg.Node.Limits.Memory))
		if p.node, err = embed(cfg, in.Log); err != nil {
			return err
		}
		stateDir = "" // what an embedded node serves uses up no quota
	case len(cfg.Deployments) == 0:
		return errNoDeployment
	default:
		boundHeap(int64(cfg.Limits.Memory))
		leaveOne()
	}
	if err = config.CheckStateDir(stateDir); err != nil {
		return err
	}
	if p.fleet, err = newFleet(cfg, nil, in.Log, p.quic); err != nil {
		return err
	}
	p.ledger = account.Open(stateDir, in.Log)
	p.fleet.count(p.ledger)
	for _, at := range cfg.Proxy.Listen {
		ln, err := listen(at)
		if err != nil {
			return err
		}
		p.listeners = append(p.listeners, port{at, ln})
	}
	p.mux = newMux(cfg, p)
	p.pages = listenAdmin(cfg.Admin.Listen, config.AdminSocket(cfg, in.Environ), p.log)
	if p.dns, err = listenDNS(cfg, p); err != nil {
		return err
	}
	if p.routes, err = newRouter(cfg, p); err != nil {
		return err
	}
	p.front = newFront(cfg, p)
	p.admin, err = newAdmin(cfg, p)
	return err
}

var errNoDeployment = errors.New("the config has no [[deployment]]: nothing to carry connections through")

func newMux(cfg *config.Config, p *Proxy) *mux.Mux {
	c := muxConfig(cfg)
	c.Deployments, c.Log, c.Stats, c.UDP = p.fleet.ds, p.log, p.stats, p.udp
	return mux.New(c)
}

func newFront(cfg *config.Config, p *Proxy) *socks.Server {
	sockets := trains(&cfg.UDP, p.udp)
	sockets.Buffer = 1 << 20
	return socks.New(socks.Config{
		Users: users(cfg), Handle: p.routes.Request, Dial: p.routes.Connect,
		MaxConns: cfg.Limits.Connections, Self: p.others(), Log: p.log,
		UDP: &socks.UDP{
			Open:      p.routes.Open,
			BlockQUIC: cfg.UDP.BlockQUIC != config.Off,
			BlockSTUN: cfg.UDP.BlockSTUN,
			Options:   sockets,
		},
	})
}

// newAdmin makes the admin page.
func newAdmin(cfg *config.Config, p *Proxy) (*dash.Server, error) {
	return dash.New(dash.Config{
		Clients: func() dash.Clients { return dash.Clients(p.front.Stats()) },
		Look:    p.mux.Snapshot, EndFlow: p.mux.EndFlow, Stats: p.stats, UDP: p.udp, QUIC: p.quic, Routed: p.route,
		Refused: func() string {
			if why := p.refused.Load(); why != nil {
				return *why
			}
			return ""
		},
		Unkept: func() string {
			if err := p.ledger.Kept(); err != nil {
				return err.Error()
			}
			return ""
		},
		Version: p.version, Token: cfg.Admin.Token,
		Hosts: dash.HostsOf(cfg.Admin.Listen), Log: p.log, Lines: p.lines,
		Route: func(target string) (verdict, rule string, err error) {
			v, err := p.routes.DecideText(target)
			return v.Way.String(), v.Rule, err
		},
	}, dash.Proxy{Listen: p.proxies(), Password: len(cfg.Proxy.Users) > 0})
}

// closeAll ends what open has made.
func (p *Proxy) closeAll() {
	for _, ln := range p.listeners {
		ln.Close()
	}
	for _, ln := range p.pages {
		ln.Close()
	}
	p.dns.close()
	if p.mux != nil {
		p.mux.Close(context.Background())
	}
	if p.ledger != nil {
		p.ledger.Close()
	}
	if p.node != nil {
		p.node.close()
	}
}

// Addrs are where the proxy listens.
func (p *Proxy) Addrs() (list []net.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ln := range p.listeners {
		list = append(list, ln.Addr())
	}
	return list
}

// Pages are where the admin page listens; a Unix socket is among them.
func (p *Proxy) Pages() (list []net.Addr) {
	for _, ln := range p.pages {
		list = append(list, ln.Addr())
	}
	return list
}

// Names are those of the deployments.
func (p *Proxy) Names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.names()
}

func (p *Proxy) names() (names []string) {
	for _, d := range p.fleet.ds {
		names = append(names, d.Name)
	}
	return names
}

// Run serves until ctx ends, then lets connections go on for drainTime. An
// embedded node outlives them.
func (p *Proxy) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	nodeCtx, stopNode := context.WithCancel(context.Background())
	defer stopNode()
	if p.node != nil {
		group.Go(func() error { return p.node.serve(nodeCtx) })
	}
	p.mu.Lock()
	p.group = group
	for _, ln := range p.listeners {
		p.serve(ln)
	}
	p.mu.Unlock()
	defer supervise(ctx, p.log, p.mux.Alive, p.status)()
	for _, ln := range p.pages {
		group.Go(func() error { p.admin.Serve(ln); return nil })
	}
	p.dns.serve(group)
	group.Go(func() error {
		<-ctx.Done()
		defer stopNode()
		p.stop()
		return nil
	})
	return group.Wait()
}

func (p *Proxy) stop() {
	p.mu.Lock()
	p.stopping = true // nothing is reloaded any more
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	p.dns.close()
	p.front.Shutdown(ctx)
	p.mux.Drain(ctx)
	p.routes.Close(ctx)
	ctx, cancel = context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	p.mux.Close(ctx)
	p.fleet.close(nil)
	p.ledger.Close()
	p.admin.Close()
	s := p.stats
	attrs := []any{"flows", s.Flows.Load(), "udp_flows", p.udp.Flows.Load(), "exchanges", s.Exchanges.Load(),
		"of_which_polls", s.Polls.Load(), "ops", s.Ops.Load(), "up_bytes", s.Up.Load(), "down_bytes", s.Down.Load()}
	if n, blocked := p.route.Direct.Load(), p.route.Blocked.Load(); n+blocked > 0 {
		attrs = append(attrs, "flows_direct", n, "flows_blocked", blocked)
	}
	attrs = append(attrs, dropped(p.udp)...)
	p.log.Info("stopped", append(attrs, quicAttrs(p.quic)...)...)
}

// status is what the proxy does, in a line.
func (p *Proxy) status() string {
	s := p.mux.Snapshot(0)
	work := 0
	for _, d := range s.Deployments {
		if d.Until.IsZero() {
			work++
		}
	}
	return fmt.Sprintf("%d connections and %d UDP flows are open, %d of %d deployments work",
		p.stats.FlowsOpen.Load(), p.udp.FlowsOpen.Load(), work, len(s.Deployments))
}

// dropped are the counts of datagrams that were not carried, by reason.
func dropped(u *stats.UDP) (attrs []any) {
	for why := range stats.Drops {
		if n := u.Dropped[why].Load(); n > 0 {
			attrs = append(attrs, "dropped_"+why.String(), n)
		}
	}
	return attrs
}

// quicAttrs are the datagrams of HTTP/3 and the trains that they went in, if there
// were any.
func quicAttrs(u *stats.UDP) (attrs []any) {
	for _, way := range []struct {
		name string
		t    *stats.Trains
	}{{"sent", &u.Sent}, {"received", &u.Received}} {
		if n := way.t.Datagrams.Load(); n > 0 {
			attrs = append(attrs, "quic_"+way.name, n, "quic_"+way.name+"_trains", way.t.Trains.Load())
		}
	}
	return attrs
}
