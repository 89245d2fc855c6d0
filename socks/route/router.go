package route

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"relaymux/mux/fd"
	"relaymux/mux/gso"
	"relaymux/mux/stats"
	"relaymux/mux/wire"
	"relaymux/socks"
)

// dialLimit bounds a direct connect, the look-up of the name included: what a node
// takes at most.
const dialLimit = 10 * time.Second

// complaintEvery is the shortest time between two log lines of one kind: about datagrams
// that go nowhere, and about too few descriptors.
const complaintEvery = 10 * time.Second

// Config is what a Router is made of. The fields that are functions lead through the
// tunnel.
type Config struct {
	Rules *Rules

	Handle  func(ctx context.Context, r *socks.Request)
	Dial    func(ctx context.Context, host string, port uint16) (net.Conn, error)
	OpenUDP OpenUDP

	Stats   *stats.Route // may be nil
	Options gso.Options  // of the sockets of direct UDP flows; its Stats count what is dropped
	Log     *slog.Logger // may be nil
}

// OpenUDP is socks.UDP's Open.
type OpenUDP = func(host string, port uint16, deliver Deliver, ended func(error)) socks.Flow

// A Router sends each flow on its way: it has the functions that a socks.Server wants.
type Router struct {
	Config
	rules atomic.Pointer[Rules]

	silent, short rate.Sometimes // sample the log

	ctx  context.Context // of the dials of UDP flows
	stop context.CancelFunc
	work sync.WaitGroup // goroutines of UDP flows

	mu     sync.Mutex
	joined map[*joint]struct{} // direct TCP flows
	quiet  chan struct{}       // not nil once Close waits; closed when joined is empty
	closed bool
}

// New returns a Router.
func New(c Config) *Router {
	if c.Stats == nil {
		c.Stats = new(stats.Route)
	}
	if c.Options.Stats == nil {
		c.Options.Stats = new(stats.UDP)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &Router{
		Config: c, joined: make(map[*joint]struct{}),
		silent: rate.Sometimes{First: 1, Interval: complaintEvery}, short: rate.Sometimes{First: 1, Interval: complaintEvery},
	}
	r.rules.Store(c.Rules)
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// SetRules has new flows go by these rules. What was made by Connect before must not be
// used for what comes after: see socks.Server's ForgetOrigins.
func (r *Router) SetRules(rules *Rules) { r.rules.Store(rules) }

// DecideText is that of the rules.
func (r *Router) DecideText(target string) (Verdict, error) { return r.rules.Load().DecideText(target) }

// Request is socks.Config's Handle.
func (r *Router) Request(ctx context.Context, req *socks.Request) {
	switch v := r.rules.Load().Decide(req.Host, req.Port); v.Way {
	case Tunnel:
		r.Handle(ctx, req)
	case Block:
		r.Stats.Blocked.Add(1)
		r.Log.Debug("blocked", "host", req.Host, "port", req.Port, "rule", v.Rule)
		req.Fail(&socks.BlockedError{Why: v.Rule})
	case Direct:
		r.direct(ctx, req)
	}
}

// Connect is socks.Config's Dial.
func (r *Router) Connect(ctx context.Context, host string, port uint16) (net.Conn, error) {
	switch v := r.rules.Load().Decide(host, port); v.Way {
	case Block:
		r.Stats.Blocked.Add(1)
		r.Log.Debug("blocked", "host", host, "port", port, "rule", v.Rule)
		return nil, &socks.BlockedError{Why: v.Rule}
	case Direct:
		conn, err := r.dial(ctx, "tcp", host, port)
		if err != nil {
			return nil, err
		}
		r.began()
		return &counted{Conn: conn, ended: r.ended}, nil
	default:
		return r.Dial(ctx, host, port)
	}
}

// dial connects from this machine. A name's addresses are tried as net.Dialer does
// (RFC 8305), and each is checked when it is about to be connected to: what a name
// resolves to the second time makes no difference. The error is a *socks.BlockedError
// or carries a *wire.DialError.
func (r *Router) dial(ctx context.Context, network, host string, port uint16) (net.Conn, error) {
	d := net.Dialer{Timeout: dialLimit, Control: func(_, address string, raw syscall.RawConn) error {
		if fd.UsedUpBy(raw) {
			return syscall.EMFILE
		}
		return r.rules.Load().check(address)
	}}
	conn, err := d.DialContext(ctx, network, net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err == nil {
		return conn, nil
	}
	r.Log.Debug("direct connection failed", "network", network, "host", host, "port", port, "err", err)
	if isBlocked(err) {
		r.Stats.Blocked.Add(1)
		return nil, err
	}
	if fd.IsShort(err) {
		r.short.Do(func() {
			r.Log.Warn("too few file descriptors or too little memory for more direct connections", "err", err, "hint", fd.Hint)
		})
	}
	return nil, &wire.DialError{Reason: wire.ReasonOfDial(err)}
}

func (r *Router) began() {
	r.Stats.Direct.Add(1)
	r.Stats.DirectOpen.Add(1)
}

func (r *Router) ended() { r.Stats.DirectOpen.Add(-1) }

// counted is a connection whose end is told once.
type counted struct {
	net.Conn
	once  sync.Once
	ended func()
}

func (c *counted) Close() error {
	c.once.Do(c.ended)
	return c.Conn.Close()
}

// Close lets direct TCP flows go on until ctx ends, resets those that are left, and
// returns when all goroutines have ended. It is for after the proxy has stopped.
func (r *Router) Close(ctx context.Context) {
	r.stop()
	r.mu.Lock()
	r.closed = true
	quiet := make(chan struct{})
	if r.quiet = quiet; len(r.joined) == 0 {
		close(quiet)
		r.quiet = nil
	}
	r.mu.Unlock()
	select {
	case <-quiet:
	case <-ctx.Done():
		r.mu.Lock()
		for j := range r.joined {
			j.abort()
		}
		r.mu.Unlock()
		<-quiet
	}
	r.work.Wait()
}
