package command

import (
	"bufio"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"relaymux/config"
	"relaymux/config/daemon"
	"relaymux/config/setup"
	"relaymux/mux/stats"
)

func (a *app) initCommand() *cobra.Command {
	var o setup.Options
	c := &cobra.Command{Use: "init", Short: "make the config files of both sides, with new secrets", Args: noOperands,
		Long: "Makes every key and secret, the config files of both sides, the filled-in scripts, units of systemd and a PAC\n" +
			"file, and prints the steps that are left. What the flags leave out it asks for, if there is a terminal.",
		Example: "  relaymux init\n  relaymux init --node node.example:8443 --relay direct --relay apps-script\n" +
			"  relaymux init --node node.example:443 --node-tls acme --relay worker"}
	fs := c.Flags()
	fs.StringVar(&o.Dir, "dir", "relaymux-setup", "the `directory` for the files, which is made")
	fs.StringVar(&o.Node, "node", "", "`host:port` at which relays and clients reach the node")
	fs.StringVar(&o.NodeTLS, "node-tls", "", "the node's certificate: self-signed, acme (from Let's Encrypt), files (one that you have), proxy\n"+
		"(of a TLS proxy before the node) or plain (none); default by what the relays accept")
	fs.StringVar(&o.Client, "client", "", "the `name` of this client at the node; default "+setup.DefaultClient)
	fs.StringArrayVar(&o.Relays, "relay", nil, "direct, apps-script, worker or proxy, or `kind=url` (of a script its id does); once for each")
	fs.StringArrayVar(&o.From, "from", nil, "a config or script `file` of an mhrv-rs setup, whose relays are taken over")
	fs.BoolVar(&o.Yes, "yes", false, "ask nothing, take the defaults")
	fs.BoolVar(&o.Force, "force", false, "overwrite files of an earlier run")
	for flag, values := range map[string][]string{"node-tls": setup.NodeTLSWays(), "relay": setup.Kinds()} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	}
	_ = c.MarkFlagDirname("dir") // likewise
	c.RunE = a.does(func() error {
		s := setup.Setup{Console: setup.Console{Out: a.out}}
		if a.in != nil && term.IsTerminal(int(a.in.Fd())) {
			s.In = bufio.NewReader(a.in)
		}
		return s.Run(o)
	})
	return c
}

func (a *app) checkCommand() *cobra.Command {
	var o options
	c := &cobra.Command{Use: "check", Short: "check a config file and stop: exit code 0, or 2 and every mistake in it", Args: noOperands,
		Example: "  relaymux check --config relaymux.toml"}
	o.registerConfig(c.Flags())
	c.RunE = a.does(func() error {
		path, err := a.need(o)
		if err != nil {
			return err
		}
		cfg, err := a.load(config.Any, o)
		if err != nil {
			return err
		}
		if _, err := daemon.Deployments(cfg, slog.New(slog.DiscardHandler), new(stats.UDP)); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s: ok\n", path)
		return nil
	})
	return c
}
