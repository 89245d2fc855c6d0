package command

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"relaymux/config"
	"relaymux/config/daemon"
	"relaymux/socks/dash"
)

func (a *app) runCommand() *cobra.Command {
	var o options
	c := &cobra.Command{Use: "run", Short: "the proxy; without a config file it runs a node of its own", Args: noOperands,
		Example: "  relaymux run\n  relaymux run --config relaymux.toml --proxy 127.0.0.1:1090 --log-level debug"}
	o.register(c.Flags())
	o.flags.Register(c.Flags())
	c.RunE = a.does(func() error {
		o.path = config.Find(o.path, a.environ) // which a reload reads again, also when it is gone
		cfg, err := a.load(config.Run, o)
		if err != nil {
			return err
		}
		log := a.logger(o.level)
		ctx, stop := daemon.UntilSignal(log)
		defer stop()
		p, err := daemon.NewProxy(cfg, a.process(log))
		if err != nil {
			return err
		}
		defer daemon.OnHangup(log, func() { p.Refuse(a.reload(config.Run, o, p.Log(), p.Reload)) })()
		a.greet(cfg, o, p)
		return p.Run(ctx)
	})
	return c
}

// greet tells a person what to do next.
func (a *app) greet(cfg *config.Config, o options, p *daemon.Proxy) {
	user := ""
	if len(cfg.Proxy.Users) > 0 {
		user = "NAME:PASSWORD@"
	}
	for _, addr := range p.Addrs() {
		fmt.Fprintf(a.out, "SOCKS5 and HTTP proxy on %s\n", addr)
	}
	for _, addr := range p.Pages() {
		if addr.Network() == "tcp" {
			fmt.Fprintf(a.out, "Admin page on http://%s/\n", dash.Nearby(addr.String()))
		}
	}
	if addr := p.DNS(); addr != nil {
		fmt.Fprintf(a.out, "DNS on %s, answered by %s through the tunnel\n", addr, cfg.DNS.Server)
	}
	if cfg.Embedded {
		fmt.Fprintln(a.out, "No config file: the exit node is in this process, to try things out.")
	} else {
		fmt.Fprintf(a.out, "Config %s, deployments: %s\n", config.Find(o.path, a.environ), strings.Join(p.Names(), " "))
	}
	fmt.Fprintf(a.out, "  try   curl -x socks5h://%s%s https://example.com/\n", user, dash.Nearby(p.Addrs()[0].String()))
	fmt.Fprintln(a.out, "  stop  Ctrl-C (twice: at once)")
}

func (a *app) nodeCommand() *cobra.Command {
	var o options
	c := &cobra.Command{Use: "node", Short: "the exit node", Args: noOperands,
		Example: "  relaymux node --config /etc/relaymux/node.toml"}
	o.register(c.Flags())
	c.RunE = a.does(func() error {
		o.path = config.Find(o.path, a.environ) // as in runCommand
		cfg, err := a.load(config.Node, o)
		if err != nil {
			if o.path == "" {
				fmt.Fprintln(a.err, "relaymux:", noFile)
			}
			return err
		}
		log := a.logger(o.level)
		ctx, stop := daemon.UntilSignal(log)
		defer stop()
		n, err := daemon.NewNode(cfg, a.process(log))
		if err != nil {
			return err
		}
		defer daemon.OnHangup(log, func() { _ = a.reload(config.Node, o, log, n.Reload) })()
		return n.Run(ctx)
	})
	return c
}

// reload reads the config anew and has take go by it. One with a mistake changes
// nothing; the log tells every mistake, of which the error is.
func (a *app) reload(role config.Role, o options, log *slog.Logger, take func(*config.Config) error) error {
	err := a.hasFile(o)
	if err == nil {
		var cfg *config.Config
		var warnings []config.Problem
		cfg, warnings, err = config.Load(config.Source{Role: role, Path: config.Find(o.path, a.environ), Environ: a.environ, Flags: o.flags})
		for _, w := range warnings {
			log.Warn("the config has something to look at", attrsOf(w)...)
		}
		if err == nil {
			err = take(cfg)
		}
	}
	var bad *config.Error
	switch {
	case errors.As(err, &bad):
		for _, p := range bad.Problems() {
			log.Error("the config has a mistake", attrsOf(p)...)
		}
		log.Error("the config is as it was, for its mistakes", "mistakes", len(bad.Problems()))
	case err != nil:
		log.Error("the config is as it was", "err", err)
	}
	return err
}

// attrsOf is a problem of a reload, for the log.
func attrsOf(p config.Problem) (attrs []any) {
	if p.File != "" {
		attrs = append(attrs, "file", p.File)
	}
	if p.Line > 0 {
		attrs = append(attrs, "line", p.Line)
	}
	if p.Key != "" {
		attrs = append(attrs, "key", p.Key)
	}
	return append(attrs, "text", p.Text)
}

// hasFile returns an error if there is no file to read again, of which o names the one
// that was read at the start.
func (a *app) hasFile(o options) error {
	if o.path == "" && config.Find("", a.environ) == "" {
		return errors.New("there is no config file to read again")
	}
	if _, err := os.Stat(o.path); o.path != "" && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the config file that was read at the start is gone: %s", o.path)
	}
	return nil
}
