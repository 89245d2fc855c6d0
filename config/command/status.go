package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"relaymux/config"
	"relaymux/config/daemon"
	"relaymux/socks/dash"
)

// statusCommand shows what a running proxy does, which it finds where this config has
// the admin page.
func (a *app) statusCommand() *cobra.Command {
	var o options
	var v dash.View
	c := &cobra.Command{Use: "status", Short: "what the running proxy does", Args: noOperands,
		Example: "  relaymux status\n  relaymux status --watch\n  relaymux status --json | jq .accounts"}
	o.registerAdmin(c.Flags())
	c.Flags().BoolVar(&v.JSON, "json", false, "as JSON")
	c.Flags().BoolVar(&v.Quiet, "quiet", false, "print nothing, no error either: the exit code is 0 if a proxy runs, else 1")
	c.Flags().BoolVar(&v.Watch, "watch", false, "again every two seconds, until Ctrl-C")
	c.RunE = a.does(func() error {
		if v.Quiet {
			a.err = io.Discard
		}
		client, err := a.adminClient(o)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return client.Show(ctx, a.out, v)
	})
	return c
}

// routeCommand says which way a connection would go, and opens none.
func (a *app) routeCommand() *cobra.Command {
	var o options
	var asJSON bool
	c := &cobra.Command{Use: "route HOST:PORT", Short: "which way a connection goes: direct, block or tunnel, and by which rule",
		Example: "  relaymux route example.org:443\n  relaymux route '[2001:db8::1]:22' --json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("route: name one HOST:PORT")
			}
			return nil
		}}
	o.registerConfig(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	c.RunE = func(_ *cobra.Command, args []string) error {
		cfg, err := a.load(config.Run, o)
		if err != nil {
			return err
		}
		verdict, rule, err := daemon.Route(cfg, args[0])
		switch {
		case err != nil:
			return usage("route: %w", err)
		case asJSON:
			err = dash.RouteAnswer{To: args[0], Verdict: verdict, Rule: rule}.Write(a.out)
		default:
			_, err = fmt.Fprintf(a.out, "%s\t%s\n", verdict, rule)
		}
		a.runs = true
		return err
	}
	return c
}
