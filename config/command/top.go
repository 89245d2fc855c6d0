package command

import (
	"context"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"relaymux/config"
	"relaymux/socks/dash"
	"relaymux/socks/dash/top"
)

// topCommand shows the same on a terminal, live.
func (a *app) topCommand() *cobra.Command {
	var o options
	c := &cobra.Command{Use: "top", Short: "what the running proxy does, live on a terminal", Args: noOperands,
		Example: "  relaymux top",
		Long: "Shows throughput, exchanges by outcome, slots, times and quota of the running proxy, and its flows, once a second.\n" +
			"Keys: q quits, p pauses; d, u, t, e, a and h sort the flows, once more the other way round."}
	o.registerAdmin(c.Flags())
	c.RunE = a.does(func() error {
		in, out := a.in, a.terminal()
		if in == nil || out == nil || !term.IsTerminal(int(in.Fd())) {
			return usage("top needs a terminal; relaymux status --watch writes to anything")
		}
		client, err := a.adminClient(o)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return top.Run(ctx, client, in, out, a.environ)
	})
	return c
}

// terminal is the terminal that the output goes to, nil if it is none on which
// something can be drawn.
func (a *app) terminal() *os.File {
	f, ok := a.out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || slices.Contains(a.environ, "TERM=dumb") {
		return nil
	}
	return f
}

// registerAdmin declares --config and --admin.
func (o *options) registerAdmin(fs *pflag.FlagSet) {
	o.registerConfig(fs)
	fs.StringVar(&o.admin, "admin", "", "the `address` of the admin page, instead of that in the config, which alone its token is for")
}

// adminClient finds the running proxy where the config has its admin page, or where the
// user says.
func (a *app) adminClient(o options) (*dash.Client, error) {
	cfg, err := a.load(config.Run, o)
	if err != nil {
		return nil, err
	}
	client := &dash.Client{Proxy: cfg.Proxy.Listen[0], Socket: config.AdminSocket(cfg, a.environ), Listen: cfg.Admin.Listen, Token: cfg.Admin.Token}
	if o.admin == "" {
		return client, nil
	}
	if _, _, err := net.SplitHostPort(o.admin); err != nil {
		return nil, usage("--admin: %q must be host:port", o.admin)
	}
	return client.At(o.admin), nil // and not by the socket, which may be another proxy's
}
