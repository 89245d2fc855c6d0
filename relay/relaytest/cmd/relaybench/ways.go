package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"

	"relaymux/relay/relaytest"
	"relaymux/relay/relaytest/proc"
)

// Keys that are worth nothing: all listen on loopback, and only for the run.
const (
	authKey    = relaytest.AuthKey
	tunnelKey  = relaytest.TunnelKey
	linkSecret = relaytest.LinkSecret
)

// loopback is the way without the program, which all others are compared with.
const loopback = "loopback"

// A way is how connections get to their origins.
type way struct {
	name  string
	http  string // version that the client speaks; "" is none: no processes at all
	plain bool   // the node is without TLS
	relay string // path of the deployment's URL at a relay; "" is straight to the node
}

func ways() []way {
	return []way{
		{name: loopback},
		{name: "direct h3", http: "3"},
		{name: "direct h2", http: "2"},
		{name: "direct h1", http: "1.1"},
		{name: "plain h1", http: "1.1", plain: true},
		{name: "worker", http: "1.1", plain: true, relay: "/w/worker"},
		{name: "script", http: "1.1", plain: true, relay: "/macros/s/script/exec"},
	}
}

// A route is a way whose processes run. Without any it is plain loopback.
type route struct {
	apps                *relaytest.Stack // the applications' side; nil is plain loopback
	client, node, relay *proc.Process
}

// open starts the processes of a way, up to a link that has carried something.
// They end with close, or with ctx.
func (w way) open(ctx context.Context, p *programs, idle int) (*route, error) {
	r := new(route)
	if w.http == "" {
		return r, nil
	}
	err := w.start(ctx, r, p, idle)
	if err == nil {
		err = r.warm(ctx)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (w way) start(ctx context.Context, r *route, p *programs, idle int) (err error) {
	config, err := p.write("node.toml", nodeConfig(w.plain, idle))
	if err != nil {
		return err
	}
	var said string
	if r.node, said, err = proc.Start("node", p.command(ctx, p.relaymux, "node", "--config", config), listening, nil); err != nil {
		return err
	}
	var node struct {
		Address string `json:"address"`
		Pin     string `json:"certificate_sha256"`
	}
	if err := json.Unmarshal([]byte(said), &node); err != nil {
		return fmt.Errorf("what the node says: %w", err)
	}
	url := "https://" + node.Address
	if w.plain {
		url = "http://" + node.Address
	}
	if w.relay != "" {
		cmd := p.command(ctx, p.relayemu, "-node", url, "-deployments", "script", "-workers", "worker")
		if r.relay, said, err = proc.Start("relayemu", cmd, proc.After("relay "), nil); err != nil {
			return err
		}
		url = "http://" + said + w.relay
	}
	if config, err = p.write("client.toml", clientConfig(url, node.Pin, w.http, idle)); err != nil {
		return err
	}
	cmd := p.command(ctx, p.relaymux, "run", "--config", config)
	if r.client, said, err = proc.Start("client", cmd, proc.After("proxy on "), nil); err != nil {
		return err
	}
	r.apps = &relaytest.Stack{Proxy: said}
	return nil
}

// listening finds the line, in JSON, by which a node says where it listens.
func listening(line string) (string, bool) {
	var said struct{ Msg string }
	return line, json.Unmarshal([]byte(line), &said) == nil && said.Msg == "node listens"
}

// warm asks once, so that the link is made.
func (r *route) warm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, proc.StartLimit)
	defer cancel()
	defer context.AfterFunc(ctx, r.close)()
	origin, stop, err := serve(relaytest.Answer)
	if err != nil {
		return err
	}
	defer stop()
	if err := relaytest.AskOnce(ctx, r.dial, origin); err != nil {
		return r.explain(fmt.Errorf("the first connection: %w", err))
	}
	return nil
}

// dial is a relaytest.Dialer.
func (r *route) dial(ctx context.Context, address string) (net.Conn, error) {
	if r.apps == nil {
		return relaytest.DialPlain(ctx, address)
	}
	return r.apps.Connect(ctx, address)
}

// listenPacket opens a socket for datagrams to wherever.
func (r *route) listenPacket(ctx context.Context) (net.PacketConn, error) {
	if r.apps == nil {
		return new(relaytest.Stack).ListenPacket()
	}
	return r.apps.Associate(ctx)
}

// processes are those that run, by the names that they have in figures.
func (r *route) processes() map[string]*proc.Process {
	all := map[string]*proc.Process{"client": r.client, "node": r.node, "relay": r.relay}
	maps.DeleteFunc(all, func(_ string, p *proc.Process) bool { return p == nil })
	return all
}

// close ends the processes, and with them every connection through them.
func (r *route) close() {
	for _, p := range r.processes() {
		p.Kill()
	}
}

// explain adds to err what the processes said last.
func (r *route) explain(err error) error {
	for _, p := range r.processes() {
		err = p.Explain(err)
	}
	return err
}
