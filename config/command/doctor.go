package command

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"relaymux/config"
	"relaymux/config/daemon"
	"relaymux/relay/tune"
)

func (a *app) doctorCommand() *cobra.Command {
	var o options
	var target string
	var asJSON bool
	var limit time.Duration
	c := &cobra.Command{Use: "doctor", Short: "try each leg of each deployment, or a node's surroundings", Args: noOperands,
		Long: "Tries each leg of each deployment of a client's config: name, connection, TLS, relay, node, secret, HTTP/3; and of\n" +
			"a node's config what the node stands on. The exit code is 1 if one is broken.",
		Example: "  relaymux doctor\n  relaymux doctor --target example.com:443\n  relaymux doctor --config /etc/relaymux/node.toml"}
	o.registerConfig(c.Flags())
	c.Flags().StringVar(&target, "target", "", "`host:port` to have the node connect to")
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	c.Flags().DurationVar(&limit, "limit", 2*time.Minute, "the longest that it may take")
	c.RunE = a.does(func() error {
		if c.Flags().Changed("target") && !daemon.IsTarget(target) {
			return usage("--target %q is not host:port: write it as example.com:443", target)
		}
		if _, err := a.need(o); err != nil {
			return err
		}
		cfg, err := a.load(config.Any, o)
		if err != nil {
			return err
		}
		ctx, stop := context.WithTimeout(context.Background(), limit)
		defer stop()
		report, err := daemon.Examine(ctx, cfg, a.environ, target)
		if err != nil {
			return err
		}
		write := report.WriteTable
		if asJSON {
			write = report.WriteJSON
		}
		if err := write(a.out); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
		_, broken := report.FirstBroken()
		switch {
		case broken != nil && ctx.Err() != nil:
			return fmt.Errorf("it was cut short: --limit is %v", limit)
		case broken != nil:
			return errBroken
		}
		return nil
	})
	return c
}

func (a *app) tuneCommand() *cobra.Command {
	var o options
	var budget int
	var asJSON bool
	c := &cobra.Command{Use: "tune", Short: "measure the relays, and say which settings suit them", Args: noOperands,
		Long: "Measures, through your own relays and with the running proxy stopped, how many exchanges at once and how large\n" +
			"requests they take, and tries other settings in turns with yours. It prints what is clearly better as sections\n" +
			"of the config file, which it does not touch. Ctrl-C prints what is known by then.",
		Example: "  relaymux tune\n  relaymux tune --budget 100 --json"}
	o.registerConfig(c.Flags())
	c.Flags().IntVar(&budget, "budget", tune.UsualBudget, "the most `exchanges` that it may take of the day's")
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	c.RunE = a.does(func() error {
		if budget < tune.LeastBudget {
			return usage("--budget must be at least %d", tune.LeastBudget)
		}
		if _, err := a.need(o); err != nil {
			return err
		}
		cfg, err := a.load(config.Run, o)
		if err != nil {
			return err
		}
		t, err := daemon.NewTuner(cfg, a.process(a.logger(slog.LevelWarn)), budget)
		if err != nil {
			return err
		}
		defer t.Close()
		fmt.Fprintln(a.err, t.Statement())
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // the second Ctrl-C ends it at once
		progress, done := a.bar(budget)
		report, err := t.Run(ctx, progress)
		done()
		write := report.WriteText
		if asJSON {
			write = report.WriteJSON
		}
		return cmp.Or(write(a.out), err)
	})
	return c
}

// bar is a progress bar of so many steps, where there is a terminal.
func (a *app) bar(steps int) (progress func(int), done func()) {
	f, ok := a.err.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	b := progressbar.NewOptions(steps, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription("exchanges"),
		progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(false), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(40))
	return func(n int) { _ = b.Set(n) }, func() { _ = b.Clear() } // what cannot be drawn is not missed
}
