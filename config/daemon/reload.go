package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"relaymux/config"
	"relaymux/mux"
	"relaymux/relay/exit"
	"relaymux/socks"
)

// What a running daemon takes over of a config that it reads again: keys, and sections
// by the dot at their end. All others need a restart.
var (
	proxyTakes = [...]string{"proxy.", "limits.connections", "batch.", "udp.block_quic", "udp.block_stun", "route.", "deployment.", "account."}
	nodeTakes  = [...]string{"node.client.", "node.egress.", "node.limits.streams", "node.limits.dials_per_second",
		"node.limits.client_streams", "node.limits.client_dials_per_second"}
)

// split parts keys of config.Diff into those that are taken over and those that need
// a restart.
func split(keys, takes []string) (now, later []string) {
	for _, key := range keys {
		name := strings.TrimLeft(key, "+-")
		if slices.ContainsFunc(takes, func(t string) bool { return name == t || strings.HasSuffix(t, ".") && strings.HasPrefix(name, t) }) {
			now = append(now, key)
		} else {
			later = append(later, key)
		}
	}
	return now, later
}

// Reload has the proxy go by cfg from now on, as far as it can be changed while it
// runs; the log tells what has changed, and what needs a restart. After an error
// everything is as it was. Connections go on in any case.
func (p *Proxy) Reload(cfg *config.Config) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch old := p.cfg; {
	case p.stopping:
		return errors.New("the proxy is stopping")
	case old.Embedded || cfg.Embedded:
		return errors.New("whether the node is in this process needs a restart")
	case len(cfg.Deployments) == 0:
		return errNoDeployment
	case old.Link.Secret.IsSet() != cfg.Link.Secret.IsSet():
		return errors.New("whether link.secret is set needs a restart, as it decides what every deployment speaks")
	}
	keys := slices.DeleteFunc(config.Diff(p.cfg, cfg), func(key string) bool { return strings.HasPrefix(strings.TrimLeft(key, "+-"), "node.") })
	now, later := split(keys, proxyTakes[:])
	next := p.takeOver(cfg)
	f, err := newFleet(next, p.fleet, p.log, p.quic)
	if err != nil {
		return err
	}
	if _, err := routes(next, nil); err != nil {
		f.close(p.fleet)
		return err
	}
	stay, left, err := p.relisten(next.Proxy.Listen)
	if err != nil {
		f.close(p.fleet)
		return err
	}
	p.adopt(next, f, stay, left)
	tellReload(p, now, later)
	return nil
}

// Refuse notes why the config that was read again last is not in effect, nil if it is,
// for who looks at the proxy's state.
func (p *Proxy) Refuse(why error) {
	if why == nil {
		p.refused.Store(nil)
		return
	}
	text, rest, more := strings.Cut(why.Error(), "\n")
	if more {
		text += fmt.Sprintf(" (and %d more)", 1+strings.Count(rest, "\n"))
	}
	p.refused.Store(&text)
}

// tellReload tells what a reload has changed.
func tellReload(p *Proxy, now, later []string) {
	p.log.Info("config read again", "changed", now, "deployments", p.names())
	if len(later) > 0 {
		p.log.Warn("what else has changed needs a restart", "keys", later)
	}
}

// takeOver is cfg with the values that are in effect where they need a restart.
func (p *Proxy) takeOver(cfg *config.Config) *config.Config {
	next := *p.cfg
	next.Proxy, next.Batch, next.Deployments, next.Accounts = cfg.Proxy, cfg.Batch, cfg.Deployments, cfg.Accounts
	next.Limits.Connections = cfg.Limits.Connections
	next.UDP.BlockQUIC, next.UDP.BlockSTUN = cfg.UDP.BlockQUIC, cfg.UDP.BlockSTUN
	next.Route = cfg.Route
	return &next
}

// adopt makes next what is in effect. It cannot fail. Who may not come in any more is
// shut out before a rule falls that kept him out.
func (p *Proxy) adopt(next *config.Config, f *fleet, stay, left []port) {
	for _, ln := range left {
		p.front.Retire(ln.Listener)
	}
	f.count(p.ledger)
	p.cfg, p.fleet = next, f
	p.mux.SetBatching(mux.Batching{
		MaxOps: next.Batch.MaxOps, MaxBytes: int(next.Batch.MaxBytes),
		CoalesceStep: time.Duration(next.Batch.CoalesceStep), CoalesceMax: time.Duration(next.Batch.CoalesceMax),
	})
	p.mux.SetDeployments(f.ds, func(d mux.Deployment) { d.Transport.Close() })
	if rules, err := p.rules(next, stay); err == nil { // they have been checked
		p.routes.SetRules(rules)
		p.front.ForgetOrigins() // which were connected to by the rules of before
	}
	p.front.SetUsers(users(next))
	p.front.SetMaxConns(next.Limits.Connections)
	p.front.SetBlocks(next.UDP.BlockQUIC != config.Off, next.UDP.BlockSTUN)
	p.confirmed.Store(next.Proxy.Connect == config.Confirmed)
	before := p.listeners
	p.listeners = stay
	p.admin.SetProxy(p.proxies(), len(next.Proxy.Users) > 0)
	for _, ln := range stay {
		if p.group != nil && !slices.Contains(before, ln) {
			p.serve(ln)
		}
	}
}

// serve serves ln until the proxy stops, or a reload has closed it. p.mu is held.
func (p *Proxy) serve(ln port) {
	p.group.Go(func() error {
		err := p.front.Serve(ln.Listener)
		if errors.Is(err, net.ErrClosed) && !p.listensOn(ln) {
			return nil
		}
		return err
	})
}

func (p *Proxy) listensOn(ln port) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.listeners, ln)
}

// A port is a listener, with the address that the config has for it.
type port struct {
	at string
	net.Listener
}

// relisten opens those of addresses that are not open yet, and returns what is then to
// be served, and what to be closed. An address may take the place of others of the same
// port number, which have to be closed first. After an error what was open still is.
func (p *Proxy) relisten(addresses []string) (stay, left []port, err error) {
	left = slices.Clone(p.listeners)
	for _, at := range addresses {
		if i := slices.IndexFunc(left, func(l port) bool { return l.at == at }); i >= 0 {
			stay = append(stay, left[i])
			left = slices.Delete(left, i, i+1)
		}
	}
	var opened []port
	var closed []port
	for _, at := range addresses {
		if slices.ContainsFunc(stay, func(l port) bool { return l.at == at }) {
			continue
		}
		ln, failed := listen(at)
		if failed != nil {
			n := len(closed)
			for _, l := range left {
				if portOf(l.Addr().String()) == portOf(at) && !slices.Contains(closed, l) {
					closed = append(closed, l)
					l.Close()
				}
			}
			if len(closed) > n {
				ln, failed = listen(at)
			}
		}
		if failed != nil {
			p.undo(opened, closed)
			return nil, nil, failed
		}
		opened = append(opened, port{at, ln})
	}
	return append(stay, opened...), left, nil
}

// undo closes what was opened, and opens again what was closed for it.
func (p *Proxy) undo(opened, closed []port) {
	for _, l := range opened {
		l.Close()
	}
	for _, l := range closed {
		i := slices.Index(p.listeners, l)
		ln, err := listen(l.Addr().String())
		if err != nil {
			p.log.Error("an address that was listened on is lost", "address", l.at, "err", err)
			p.listeners = slices.Delete(p.listeners, i, i+1)
			continue
		}
		p.listeners[i] = port{l.at, ln}
		if p.group != nil {
			p.serve(p.listeners[i])
		}
	}
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// users are those of cfg.
func users(cfg *config.Config) (list []socks.User) {
	for _, u := range cfg.Proxy.Users {
		list = append(list, socks.User{Name: u.Name, Password: u.Password.Reveal()})
	}
	return list
}

// proxies are where the proxy listens.
func (p *Proxy) proxies() (list []netip.AddrPort) {
	for _, ln := range p.listeners {
		if at, err := netip.ParseAddrPort(ln.Addr().String()); err == nil {
			list = append(list, at)
		}
	}
	return list
}

// Reload takes what cfg has of clients, whose links end at once if they are not there
// any more, of what may be connected to, and of limits; the log tells what else needs a
// restart. A certificate in files is read again by itself. After an error everything is
// as it was.
func (n *Node) Reload(cfg *config.Config) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	keys := slices.DeleteFunc(config.Diff(n.cfg, cfg), func(key string) bool { return !strings.HasPrefix(strings.TrimLeft(key, "+-"), "node.") })
	now, later := split(keys, nodeTakes[:])
	next := *n.cfg
	next.Node.Clients, next.Node.Egress = cfg.Node.Clients, cfg.Node.Egress
	read, kept := &cfg.Node.Limits, &next.Node.Limits
	kept.Streams, kept.DialsPerSecond = read.Streams, read.DialsPerSecond
	kept.ClientStreams, kept.ClientDialsPerSecond = read.ClientStreams, read.ClientDialsPerSecond
	if err := n.node.SetPolicy(policyOf(&next.Node, n.ln)); err != nil {
		return err
	}
	n.node.SetLimits(limitsOf(&next.Node.Limits))
	n.node.SetClients(clients(next.Node.Clients))
	n.cfg = &next
	n.log.Info("config read again", "changed", now, "clients", len(next.Node.Clients))
	if len(later) > 0 {
		n.log.Warn("what else has changed needs a restart", "keys", later)
	}
	return nil
}

// limitsOf are what may be open at the node, and how soon.
func limitsOf(c *config.NodeLimits) exit.Limits {
	return exit.Limits{
		Streams: c.Streams, ClientStreams: c.ClientStreams,
		DialsPerSecond: float64(c.DialsPerSecond), ClientDialsPerSecond: float64(c.ClientDialsPerSecond),
	}
}

// policyOf is what the node that listens on ln may connect to.
func policyOf(c *config.ExitNode, ln net.Listener) exit.Policy {
	policy := exit.Policy{AllowPrivate: c.Egress.AllowPrivate, Allow: c.Egress.Allow, Deny: c.Egress.Deny}
	if addr, err := netip.ParseAddrPort(ln.Addr().String()); err == nil {
		policy.Listen = append(policy.Listen, addr)
	}
	return policy
}
