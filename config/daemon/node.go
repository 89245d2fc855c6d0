package daemon

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"relaymux/config"
	"relaymux/mux/gso"
	"relaymux/mux/link"
	"relaymux/mux/stats"
	"relaymux/relay/exit"
)

// NewNode opens the port of the exit node that cfg describes.
func NewNode(cfg *config.Config, in Process) (*Node, error) {
	boundHeap(int64(cfg.Node.Limits.Memory))
	leaveOne()
	var identity config.Secret
	dir := config.StateDir(cfg, in.Environ)
	if err := config.CheckStateDir(dir); err != nil {
		return nil, err
	}
	if !cfg.Node.Key.IsSet() && dir != "" {
		var err error
		if identity, err = exit.LoadIdentity(dir); err != nil {
			return nil, err
		}
	}
	n, err := newNode(cfg, dir, identity, in.Log)
	if err != nil {
		return nil, err
	}
	attrs := []any{"address", n.ln.Addr().String()}
	if pin := n.server.Fingerprint(); pin != "" {
		attrs = append(attrs, "certificate_sha256", pin)
	}
	n.log.Info("node listens", attrs...)
	return n, nil
}

// A Node is an exit node with its listener.
type Node struct {
	ln     net.Listener
	node   *exit.Node
	server *exit.Server
	udp    *stats.UDP
	quic   *stats.UDP // of HTTP/3
	log    *slog.Logger

	mu  sync.Mutex
	cfg *config.Config // what is in effect
}

// newNode opens the node's port. What it keeps is in dir; identity is what a node
// without a key is known by.
func newNode(cfg *config.Config, dir string, identity config.Secret, log *slog.Logger) (*Node, error) {
	c := &cfg.Node
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("opening the node's port: %w (another address: listen under [node], or RELAYMUX_NODE_LISTEN)", err)
	}
	s := &Node{cfg: cfg, ln: ln, udp: new(stats.UDP), quic: new(stats.UDP), log: log}
	limits := limitsOf(&c.Limits)
	s.node, err = exit.New(exit.Config{
		Key: c.Key, Clients: clients(c.Clients), Identity: identity, Diagnostics: c.Diagnostics, Policy: policyOf(c, ln),
		Memory: int64(c.Limits.Memory), Streams: limits.Streams, DialsPerSecond: limits.DialsPerSecond,
		ClientStreams: limits.ClientStreams, ClientDialsPerSecond: limits.ClientDialsPerSecond, Reap: time.Duration(c.Limits.Reap), Log: log,
		UDP: exit.UDP{
			GSO: c.UDP.GSO != config.Off, Stale: time.Duration(c.UDP.Stale), Stats: s.udp, BlockSTUN: c.UDP.BlockSTUN,
			BlockQUIC: map[string]exit.Block{config.Auto: exit.BlockAuto, config.On: exit.BlockOn, config.Off: exit.BlockOff}[c.UDP.BlockQUIC],
		},
	})
	var t exit.TLS
	if err == nil {
		t, err = tlsOf(c, dir)
	}
	if err == nil {
		s.server, err = exit.NewServer(s.node, t)
	}
	if err != nil {
		closeACME(t)
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
func (n *Node) listenQUIC(c *config.ExitNode) {
	err := n.server.ListenQUIC(n.ln.Addr(), exit.QUIC{UDP: trains(&c.UDP, n.quic), Yield: gso.BBR()})
	if err != nil {
		n.log.Warn("no HTTP/3", "err", err)
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

// Run serves until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	defer supervise(ctx, n.log, n.node.Alive, n.status)()
	return n.serve(ctx)
}

// status is what the node does, in a line.
func (n *Node) status() string {
	s := n.node.Stats()
	return fmt.Sprintf("%d links with %d streams, %d sessions of the JSON wire", s.Links, s.LinkStreams, s.Sessions)
}

func (n *Node) serve(ctx context.Context) error {
	err := n.server.Serve(ctx, n.ln)
	n.node.Close()
	attrs := []any{"dials", n.node.Stats().Dials, "udp_sessions", n.udp.Flows.Load()}
	attrs = append(attrs, dropped(n.udp)...)
	n.log.Info("node stopped", append(attrs, quicAttrs(n.quic)...)...)
	return err
}

// embed starts a node in this process and points the config's only deployment
// at it, through the same HTTPS that leads to a node elsewhere.
func embed(cfg *config.Config, log *slog.Logger) (*Node, error) {
	s, err := newNode(cfg, "", config.Secret{}, log)
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

// close ends a node that has not run.
func (n *Node) close() {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_ = n.server.Serve(over, n.ln)
	n.node.Close()
}
