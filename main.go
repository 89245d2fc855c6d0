// Command relaymux is a local SOCKS5 and HTTP proxy that carries every
// connection through relays which only answer requests, to an exit node of its
// user's own. README.md says how to set it up.
//
// This file is the life of the program: flags and file become a config, the
// config becomes objects, they run until a signal, and stop.
package main

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/bits"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"relaymux/config"
	"relaymux/mux"
	"relaymux/mux/gso"
	"relaymux/mux/link"
	"relaymux/mux/stats"
	"relaymux/relay"
	"relaymux/relay/account"
	"relaymux/relay/exit"
	"relaymux/relay/fronted"
	"relaymux/relay/h3"
	"relaymux/socks"
)

// version is set by the linker (Makefile).
var version = "dev"

// Exit codes: 0 ok, 1 failed while running, 2 usage or config.
const (
	exitFailed = 1
	exitUsage  = 2
)

// drainTime is how long connections may go on after the first signal. A second
// signal ends the program at once.
const drainTime = 5 * time.Second

func main() {
	// quic-go would print, to where nobody collects it, that the system's buffers
	// are smaller than it likes.
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	a := &app{environ: os.Environ(), out: os.Stdout, err: os.Stderr}
	os.Exit(a.main(os.Args[1:]))
}

// An app is one run of the program, with what it has of the world.
type app struct {
	environ  []string
	out, err io.Writer
}

// A command is what the first argument names.
type command struct {
	name, args, what string
	run              func(a *app, args []string) error
}

func commands() []command {
	return []command{
		{"run", "[--config F] [flags]", "the proxy; without a config file it runs a node of its own", (*app).runProxy},
		{"node", "[--config F]", "the exit node", (*app).runNode},
		{"check", "--config F", "check a config file and stop: exit code 0, or 2 and every mistake in it", (*app).check},
		{"version", "", "print the version", (*app).version},
		{"help", "", "print this", (*app).help},
	}
}

func (a *app) main(args []string) int {
	name := "run"
	if len(args) > 0 {
		switch args[0] {
		case "-h", "-help", "--help":
			args[0] = "help"
		case "-version", "--version":
			args[0] = "version"
		}
	}
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		name, args = args[0], args[1:]
	}
	for _, c := range commands() {
		if c.name == name {
			return a.exitCode(c.run(a, args))
		}
	}
	fmt.Fprintf(a.err, "relaymux: there is no command %q; relaymux help lists them\n", name)
	return exitUsage
}

// errUsage has been told by the flag package already.
var errUsage = errors.New("usage")

func (a *app) exitCode(err error) int {
	var bad *config.Error
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.As(err, &bad):
		for _, p := range bad.Problems() {
			fmt.Fprintln(a.err, p)
		}
		return exitUsage
	}
	fmt.Fprintln(a.err, "relaymux:", err)
	return exitFailed
}

func (a *app) help([]string) error {
	fmt.Fprint(a.out, "relaymux carries your connections through relays to a node of your own.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(a.out, "  relaymux %-8s %-22s %s\n", c.name, c.args, c.what)
	}
	fmt.Fprint(a.out, "\nrelaymux COMMAND -h lists the flags of a command. README.md has the rest.\n")
	return nil
}

func (a *app) version([]string) error {
	v := version
	if info, ok := debug.ReadBuildInfo(); ok && v == "dev" && info.Main.Version != "" {
		v = info.Main.Version
	}
	fmt.Fprintf(a.out, "relaymux %s %s %s/%s\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// ---- flags -> config

// options are what a command's flags say.
type options struct {
	path  string
	level slog.Level
	flags config.Flags
}

// parse reads a command's flags; those that override keys only if it has some.
func (a *app) parse(name string, args []string, overrides bool) (options, error) {
	o := options{flags: config.Flags{}}
	fs := flag.NewFlagSet("relaymux "+name, flag.ContinueOnError)
	fs.SetOutput(a.err)
	fs.StringVar(&o.path, "config", "", "the config `file`; default $RELAYMUX_CONFIG, ~/.config/relaymux/config.toml, /etc/relaymux/config.toml")
	fs.Func("log-level", "debug, info, warn or error; default info", func(text string) error {
		if o.level.UnmarshalText([]byte(text)) != nil {
			return errors.New("must be debug, info, warn or error")
		}
		return nil
	})
	if overrides {
		o.flags.Register(fs)
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errUsage
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(a.err, "relaymux %s: %q is no flag\n", name, fs.Arg(0))
		return o, errUsage
	}
	return o, nil
}

func (a *app) load(role config.Role, o options) (*config.Config, error) {
	cfg, warnings, err := config.Load(config.Source{
		Role: role, Path: config.Find(o.path, a.environ), Environ: a.environ, Flags: o.flags})
	for _, w := range warnings {
		fmt.Fprintln(a.err, "warning:", w)
	}
	return cfg, err
}

// logger writes to stderr: coloured text for a person, JSON for a collector.
func (a *app) logger(level slog.Level) *slog.Logger {
	if f, ok := a.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return slog.New(tint.NewTextHandler(f, &tint.Options{
			Level: level, TimeFormat: time.TimeOnly, NoColor: os.Getenv("NO_COLOR") != ""}))
	}
	return slog.New(slog.NewJSONHandler(a.err, &slog.HandlerOptions{Level: level}))
}

func (a *app) check(args []string) error {
	o, err := a.parse("check", args, false)
	if err != nil {
		return err
	}
	path := config.Find(o.path, a.environ)
	if path == "" {
		fmt.Fprintln(a.err, "relaymux check: there is no config file; name one by --config F")
		return errUsage
	}
	cfg, err := a.load(config.Any, o)
	if err != nil {
		return err
	}
	if _, err := deployments(cfg, slog.New(slog.DiscardHandler), new(stats.UDP)); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s: ok\n", path)
	return nil
}

// ---- run

func (a *app) runProxy(args []string) error {
	o, err := a.parse("run", args, true)
	if err != nil {
		return err
	}
	cfg, err := a.load(config.Run, o)
	if err != nil {
		return err
	}
	log := a.logger(o.level)
	ctx, stop := untilSignal(log)
	defer stop()

	var node *service
	if cfg.Embedded {
		boundHeap(int64(cfg.Limits.Memory + cfg.Node.Limits.Memory))
		if node, err = embed(cfg, log); err != nil {
			return err
		}
	} else if len(cfg.Deployments) == 0 {
		return errors.New("the config has no [[deployment]]: nothing to carry connections through")
	} else {
		boundHeap(int64(cfg.Limits.Memory))
		leaveOne()
	}
	p, err := newProxy(cfg, a.stateDir(cfg), log)
	if err != nil {
		return err
	}
	a.greet(cfg, o, p)
	return p.run(ctx, node)
}

// A proxy is the client side: listeners, the protocols on them, the mux.
type proxy struct {
	log       *slog.Logger
	listeners []net.Listener
	ledger    *account.Ledger
	front     *socks.Server
	mux       *mux.Mux
	ds        []mux.Deployment
	stats     *stats.Mux
	udp       *stats.UDP
	quic      *stats.UDP // of HTTP/3
}

// stateDir is where the ledger of the quotas is kept. What an embedded node
// serves uses up no quota.
func (a *app) stateDir(cfg *config.Config) string {
	if cfg.Embedded {
		return ""
	}
	return config.StateDir(cfg, a.environ)
}

func newProxy(cfg *config.Config, stateDir string, log *slog.Logger) (*proxy, error) {
	p := &proxy{log: log, stats: new(stats.Mux), udp: new(stats.UDP), quic: new(stats.UDP)}
	var err error
	if p.ds, err = deployments(cfg, log, p.quic); err != nil {
		return nil, err
	}
	p.ledger = account.Open(stateDir, log)
	count(cfg, p.ds, p.ledger)
	for _, addr := range cfg.Proxy.Listen {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			p.closeListeners()
			p.ledger.Close()
			return nil, fmt.Errorf("opening the proxy's port: %w (another address: --proxy 127.0.0.1:PORT, or RELAYMUX_PROXY_LISTEN)", err)
		}
		p.listeners = append(p.listeners, ln)
	}
	p.mux = mux.New(mux.Config{
		Deployments: p.ds, MaxOps: cfg.Batch.MaxOps, MaxBytes: int(cfg.Batch.MaxBytes),
		CoalesceStep: time.Duration(cfg.Batch.CoalesceStep), CoalesceMax: time.Duration(cfg.Batch.CoalesceMax),
		Memory: int64(cfg.Limits.Memory), Stale: time.Duration(cfg.UDP.Stale), Log: log, Stats: p.stats, UDP: p.udp,
		Link: linkOf(cfg),
	})
	var users []socks.User
	for _, u := range cfg.Proxy.Users {
		users = append(users, socks.User{Name: u.Name, Password: u.Password.Reveal()})
	}
	sockets := trains(&cfg.UDP, p.udp)
	sockets.Buffer = 1 << 20
	p.front = socks.New(socks.Config{
		Users: users, Handle: socks.Carry(p.mux, cfg.Proxy.Connect == config.Confirmed), Dial: p.mux.Dial,
		MaxConns: cfg.Limits.Connections, Log: log,
		UDP: &socks.UDP{
			Open:      socks.OpenUDP(p.mux),
			BlockQUIC: cfg.UDP.BlockQUIC != config.Off,
			BlockSTUN: cfg.UDP.BlockSTUN,
			Options:   sockets,
		},
	})
	return p, nil
}

func (p *proxy) closeListeners() {
	for _, ln := range p.listeners {
		ln.Close()
	}
}

// run serves until ctx ends, then lets connections go on for drainTime. An
// embedded node outlives them.
func (p *proxy) run(ctx context.Context, node *service) error {
	group, ctx := errgroup.WithContext(ctx)
	nodeCtx, stopNode := context.WithCancel(context.Background())
	defer stopNode()
	if node != nil {
		group.Go(func() error { return node.serve(nodeCtx) })
	}
	for _, ln := range p.listeners {
		group.Go(func() error { return p.front.Serve(ln) })
	}
	group.Go(func() error {
		<-ctx.Done()
		defer stopNode()
		p.stop()
		return nil
	})
	return group.Wait()
}

func (p *proxy) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	p.front.Shutdown(ctx)
	p.mux.Drain(ctx)
	ctx, cancel = context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	p.mux.Close(ctx)
	for _, d := range p.ds {
		d.Transport.Close()
	}
	p.ledger.Close()
	s := p.stats
	attrs := []any{"flows", s.Flows.Load(), "udp_flows", p.udp.Flows.Load(), "exchanges", s.Exchanges.Load(),
		"of_which_polls", s.Polls.Load(), "ops", s.Ops.Load(), "up_bytes", s.Up.Load(), "down_bytes", s.Down.Load()}
	attrs = append(attrs, dropped(p.udp)...)
	p.log.Info("stopped", append(attrs, quicAttrs(p.quic)...)...)
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

// greet tells a person what to do next.
func (a *app) greet(cfg *config.Config, o options, p *proxy) {
	addr, user := p.listeners[0].Addr(), ""
	if len(cfg.Proxy.Users) > 0 {
		user = "NAME:PASSWORD@"
	}
	for _, ln := range p.listeners {
		fmt.Fprintf(a.out, "SOCKS5 and HTTP proxy on %s\n", ln.Addr())
	}
	if cfg.Embedded {
		fmt.Fprintln(a.out, "No config file: the exit node is in this process, to try things out.")
	} else {
		fmt.Fprintf(a.out, "Config %s, deployments:", config.Find(o.path, a.environ))
		for _, d := range p.ds {
			fmt.Fprintf(a.out, " %s", d.Name)
		}
		fmt.Fprintln(a.out)
	}
	fmt.Fprintf(a.out, "  try   curl -x socks5h://%s%s https://example.com/\n", user, addr)
	fmt.Fprintln(a.out, "  stop  Ctrl-C (twice: at once)")
}

// deployments turns the config's deployments into what the mux uses.
func deployments(cfg *config.Config, log *slog.Logger, quic *stats.UDP) ([]mux.Deployment, error) {
	accounts := map[string]*mux.Account{}
	for _, acc := range cfg.Accounts {
		accounts[acc.Name] = mux.NewAccount(acc.Slots, accountLabel(cfg, acc.Name))
	}
	var list []mux.Deployment
	for i := range cfg.Deployments {
		d := &cfg.Deployments[i]
		t, err := transport(d, &cfg.UDP, log, quic)
		if err != nil {
			return nil, err
		}
		list = append(list, mux.Deployment{
			Name: d.Name, Key: d.Key.Reveal(), Script: t.Script(), Link: cfg.Links(d), Limit: time.Duration(d.ExchangeLimit),
			Transport: t, Account: accounts[d.Account], Stats: new(stats.Deployment),
		})
	}
	return list, nil
}

// accountLabel is what an account is called at the node: what other programs that
// share it will call it too. That is its name if the user gave it one, else the
// url of its only deployment.
func accountLabel(cfg *config.Config, name string) string {
	for i := range cfg.Deployments {
		if d := &cfg.Deployments[i]; d.Account == name && d.Name == name {
			return d.URL
		}
	}
	return name
}

// count has the accounts of ds count what they use of their quotas.
func count(cfg *config.Config, ds []mux.Deployment, l *account.Ledger) {
	for _, acc := range cfg.Accounts {
		for i := range ds {
			if cfg.Deployments[i].Account == acc.Name {
				ds[i].Account.Quota = l.Account(acc.Name, acc.Slots, acc.DailyQuota)
			}
		}
	}
}

// linkOf is what the link is made with; nil if there is no secret.
func linkOf(cfg *config.Config) *mux.Link {
	if !cfg.Link.Secret.IsSet() {
		return nil
	}
	return &mux.Link{
		Secret:       link.NewSecret(cfg.Link.Secret.Reveal()),
		HedgePercent: cfg.Link.HedgePercent,
		Grace:        time.Duration(cfg.Link.Grace),
	}
}

// A carrier is a transport of any kind: over TCP, over QUIC, or over what gets through.
type carrier interface {
	relay.Transport
	Script() bool
}

func transport(d *config.Deployment, udp *config.UDP, log *slog.Logger, quic *stats.UDP) (carrier, error) {
	u, err := url.Parse(d.URL)
	if err != nil {
		return nil, fmt.Errorf("deployment %q: %w", d.Name, err)
	}
	var roots *x509.CertPool
	if d.CAFile != "" {
		pem, err := os.ReadFile(d.CAFile)
		if err != nil {
			return nil, fmt.Errorf("deployment %q: reading ca_file: %w", d.Name, err)
		}
		roots = x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
	}
	c := fronted.Config{
		Name: d.Name, URL: u, Key: d.Key.Reveal(), ConnectTo: d.ConnectTo, ServerName: d.ServerName, RootCAs: roots,
		PinSHA256: d.PinSHA256, InsecureSkipVerify: d.InsecureSkipVerify, HTTP: d.HTTP,
		ExchangeLimit: time.Duration(d.ExchangeLimit),
	}
	q := h3.Config{Config: c, UDP: trains(udp, quic), Early: bits.UintSize == 64, Yield: gso.BBR(), Log: log}
	switch {
	case d.HTTP == "3":
		return h3.New(q)
	case d.HTTP == "auto" && u.Scheme == "https" && !c.Script():
		return h3.NewAuto(q)
	}
	return fronted.New(c)
}

// trains is how sockets take and send datagrams.
func trains(c *config.UDP, s *stats.UDP) gso.Options {
	return gso.Options{GSO: c.GSO != config.Off, GRO: c.GRO != config.Off, Stats: s}
}

// ---- node

func (a *app) runNode(args []string) error {
	o, err := a.parse("node", args, false)
	if err != nil {
		return err
	}
	cfg, err := a.load(config.Node, o)
	if err != nil {
		return err
	}
	log := a.logger(o.level)
	boundHeap(int64(cfg.Node.Limits.Memory))
	leaveOne()
	ctx, stop := untilSignal(log)
	defer stop()
	var identity []byte
	if dir := config.StateDir(cfg, a.environ); !cfg.Node.Key.IsSet() && dir != "" {
		if identity, err = exit.LoadIdentity(dir); err != nil {
			return err
		}
	}
	n, err := newService(cfg, identity, log)
	if err != nil {
		return err
	}
	attrs := []any{"address", n.ln.Addr().String()}
	if pin := n.server.Fingerprint(); pin != "" {
		attrs = append(attrs, "certificate_sha256", pin)
	}
	log.Info("node listens", attrs...)
	defer onHangup(func() { a.reloadClients(n.node, o, log) })()
	return n.serve(ctx)
}

// reloadClients reads the file's clients anew: links of those that are not there
// any more end at once. A file with a mistake changes nothing.
func (a *app) reloadClients(n *exit.Node, o options, log *slog.Logger) {
	cfg, err := a.load(config.Node, o)
	if err != nil {
		_ = a.exitCode(err) // which prints every mistake
		log.Error("the config was not read again: it has mistakes, see above")
		return
	}
	n.SetClients(clients(cfg.Node.Clients))
	log.Info("clients read again; other keys need a restart", "clients", len(cfg.Node.Clients))
}

// onHangup calls f at each SIGHUP until it is stopped.
func onHangup(f func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range signals {
			f()
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}

// A service is a node with its listener.
type service struct {
	ln     net.Listener
	node   *exit.Node
	server *exit.Server
	udp    *stats.UDP
	quic   *stats.UDP // of HTTP/3
	log    *slog.Logger
}

// newService opens the node's port. identity is what a node without a key is known
// by.
func newService(cfg *config.Config, identity []byte, log *slog.Logger) (*service, error) {
	c := &cfg.Node
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("opening the node's port: %w (another address: listen under [node], or RELAYMUX_NODE_LISTEN)", err)
	}
	s := &service{ln: ln, udp: new(stats.UDP), quic: new(stats.UDP), log: log}
	policy := exit.Policy{AllowPrivate: c.Egress.AllowPrivate, Allow: c.Egress.Allow, Deny: c.Egress.Deny}
	if addr, err := netip.ParseAddrPort(ln.Addr().String()); err == nil {
		policy.Listen = append(policy.Listen, addr)
	}
	s.node, err = exit.New(exit.Config{
		Key: c.Key.Reveal(), Clients: clients(c.Clients), Identity: identity, Diagnostics: c.Diagnostics, Policy: policy,
		Memory: int64(c.Limits.Memory), Streams: c.Limits.Streams,
		DialsPerSecond: float64(c.Limits.DialsPerSecond), Reap: time.Duration(c.Limits.Reap), Log: log,
		UDP: exit.UDP{
			GSO: c.UDP.GSO != config.Off, Stale: time.Duration(c.UDP.Stale), Stats: s.udp, BlockSTUN: c.UDP.BlockSTUN,
			BlockQUIC: map[string]exit.Block{config.Auto: exit.BlockAuto, config.On: exit.BlockOn, config.Off: exit.BlockOff}[c.UDP.BlockQUIC],
		},
	})
	if err == nil {
		s.server, err = exit.NewServer(s.node, exit.TLS{
			CertFile: c.TLSCert, KeyFile: c.TLSKey, SelfSigned: c.SelfSigned, Plain: c.Plain})
	}
	if err != nil {
		ln.Close()
		return nil, err
	}
	if !c.Plain {
		s.listenQUIC(c)
	}
	return s, nil
}

// listenQUIC has the node speak HTTP/3 too, on the UDP port of the same number.
// Where that cannot be, it speaks HTTP over TCP alone.
func (s *service) listenQUIC(c *config.ExitNode) {
	err := s.server.ListenQUIC(s.ln.Addr(), exit.QUIC{UDP: trains(&c.UDP, s.quic), Yield: gso.BBR()})
	if err != nil {
		s.log.Warn("no HTTP/3", "err", err)
	}
}

// clients are those who may make links.
func clients(list []config.Client) []link.Client {
	var out []link.Client
	for _, c := range list {
		out = append(out, link.Client{Name: c.Name, Secret: link.NewSecret(c.Secret.Reveal())})
	}
	return out
}

// serve serves until ctx ends.
func (s *service) serve(ctx context.Context) error {
	err := s.server.Serve(ctx, s.ln)
	s.node.Close()
	attrs := []any{"dials", s.node.Stats().Dials, "udp_sessions", s.udp.Flows.Load()}
	attrs = append(attrs, dropped(s.udp)...)
	s.log.Info("node stopped", append(attrs, quicAttrs(s.quic)...)...)
	return err
}

// embed starts a node in this process and points the config's only deployment
// at it, through the same HTTPS that leads to a node elsewhere.
func embed(cfg *config.Config, log *slog.Logger) (*service, error) {
	s, err := newService(cfg, nil, log)
	if err != nil {
		return nil, err
	}
	d := &cfg.Deployments[0]
	d.URL = "https://" + s.ln.Addr().String()
	if d.PinSHA256, err = hex.DecodeString(s.server.Fingerprint()); err != nil {
		return nil, fmt.Errorf("the node's own fingerprint: %w", err)
	}
	return s, nil
}

// boundHeap has the garbage collector keep the heap near what is in use, which
// limits.memory bounds, when that is much: by itself it lets it grow to twice as much.
// A quarter is for what it does not bound, such as the libraries' copies. GOMEMLIMIT
// in the environment has its way.
func boundHeap(memory int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory + memory/4 + 64<<20)
	}
}

// leaveOne leaves a processor to the system, unless GOMAXPROCS in the environment says
// otherwise. Bytes go from goroutine to goroutine, each of which would wake another
// thread for a step that takes less than the waking: on two processors that is a third
// of the CPU that a byte takes by HTTP/3 (make bench). A client and a node in one
// process are better off with all.
func leaveOne() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)-1))
	}
}

// untilSignal returns a context that ends with the first SIGINT or SIGTERM. The
// second ends the process.
func untilSignal(log *slog.Logger) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		sig, ok := <-signals
		if !ok {
			return
		}
		log.Info("stopping; once more to stop at once", "signal", sig.String())
		cancel()
		if _, ok := <-signals; ok {
			os.Exit(exitFailed)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel()
	}
}
