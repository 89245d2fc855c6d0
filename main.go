// Command relaymux is a local SOCKS5 and HTTP proxy that carries every
// connection through relays which only answer requests, to an exit node of its
// user's own. README.md says how to set it up.
//
// This file is the commands: what their flags are, and which package does what they
// say. The life of the daemons is in config/daemon.
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lmittmann/tint"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"relaymux/config"
	"relaymux/config/daemon"
	"relaymux/config/environ"
	"relaymux/config/setup"
	"relaymux/mux/stats"
	"relaymux/relay/tune"
	"relaymux/socks/dash"
)

// version is set by the linker (Makefile).
var version = "dev"

// Exit codes: 0 ok, 1 failed while running, 2 usage or config.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	// quic-go would print, to where nobody collects it, that the system's buffers
	// are smaller than it likes.
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	a := &app{environ: os.Environ(), in: os.Stdin, out: os.Stdout, err: os.Stderr}
	os.Exit(a.main(os.Args[1:]))
}

// An app is one run of the program, with what it has of the world.
type app struct {
	environ  []string
	in       *os.File // nobody is asked unless it is a terminal
	out, err io.Writer

	runs bool // a command does: what fails from then on is no matter of usage
}

// main does what args say, and returns the exit code.
func (a *app) main(args []string) int {
	cobra.MousetrapHelpText = "" // who starts it from Windows' Explorer wants it to run
	root := a.runCommand()
	root.Use = "relaymux"
	root.Long = "relaymux carries your connections through relays to a node of your own.\n" +
		"Without a command it is the proxy, as by relaymux run. README.md has the rest."
	root.Version = programVersion()
	root.SetVersionTemplate(versionText())
	root.SilenceErrors, root.SilenceUsage = true, true
	root.AddCommand(a.runCommand(), a.nodeCommand(), a.initCommand(), a.scriptCommand(), a.doctorCommand(), a.tuneCommand(),
		a.statusCommand(), a.topCommand(), a.routeCommand(), a.checkCommand(), a.envCommand(), a.execCommand(), a.versionCommand())
	root.SetHelpCommand(helpCommand())
	guide(root)
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	return a.exitCode(root.Execute())
}

func (a *app) exitCode(err error) int {
	var bad *config.Error
	var wrong *setup.UsageError
	var of *exitOf
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errBroken):
		return exitFailed
	case errors.As(err, &of):
		return of.code
	case errors.As(err, &bad):
		for _, p := range bad.Problems() {
			fmt.Fprintln(a.err, p)
		}
		return exitUsage
	}
	fmt.Fprintln(a.err, "relaymux:", err)
	if a.runs && !errors.As(err, &wrong) && !errors.Is(err, errUsage) {
		return exitFailed
	}
	return exitUsage
}

var (
	errUsage  = errors.New("usage")
	errBroken = errors.New("something is broken") // the doctor has told it
)

// exitOf is the exit code of a program that was run.
type exitOf struct{ code int }

func (e *exitOf) Error() string { return fmt.Sprint("exit code ", e.code) }

// usage is an error of how a command was called.
func usage(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

type usageError struct{ error }

func (*usageError) Is(target error) bool { return target == errUsage }

// does is what a command without operands runs.
func (a *app) does(run func() error) func(*cobra.Command, []string) error {
	return func(*cobra.Command, []string) error {
		a.runs = true
		return run()
	}
}

func versionText() string {
	return fmt.Sprintf("relaymux %s %s %s/%s\n", programVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "dev" && info.Main.Version != "" {
		return info.Main.Version
	}
	return version
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "print the version", Args: noOperands, RunE: a.does(func() error {
		fmt.Fprint(a.out, versionText())
		return nil
	})}
}

// ---- flags -> config

// options are what the flags say that most commands have.
type options struct {
	path  string
	level slog.Level
	admin string // --admin of the commands that ask a running proxy
	flags config.Flags
}

// register declares --config and --log-level.
func (o *options) register(fs *pflag.FlagSet) {
	o.registerConfig(fs)
	fs.Func("log-level", "debug, info, warn or error; default info", func(text string) error {
		if o.level.UnmarshalText([]byte(text)) != nil {
			return errors.New("must be debug, info, warn or error")
		}
		return nil
	})
}

func (o *options) registerConfig(fs *pflag.FlagSet) {
	o.flags = config.Flags{}
	fs.StringVar(&o.path, "config", "", "the config `file`; default $RELAYMUX_CONFIG, ~/.config/relaymux/config.toml, /etc/relaymux/config.toml")
}

func (a *app) load(role config.Role, o options) (*config.Config, error) {
	return a.read(config.Source{Role: role, Path: config.Find(o.path, a.environ), Environ: a.environ, Flags: o.flags})
}

// read is config.Load, with the warnings told.
func (a *app) read(src config.Source) (*config.Config, error) {
	cfg, warnings, err := config.Load(src)
	for _, w := range warnings {
		fmt.Fprintln(a.err, "warning:", w)
	}
	return cfg, err
}

// need is the config file's path; without one it is an error of usage.
func (a *app) need(o options) (string, error) {
	path := config.Find(o.path, a.environ)
	if path == "" {
		return "", usage("there is no config file; name one by --config F, or make one by relaymux init")
	}
	return path, nil
}

// logger writes to stderr: coloured text for a person, JSON for a collector.
func (a *app) logger(level slog.Level) *slog.Logger {
	if f, ok := a.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return slog.New(tint.NewTextHandler(f, &tint.Options{
			Level: level, TimeFormat: time.TimeOnly, NoColor: os.Getenv("NO_COLOR") != ""}))
	}
	return slog.New(slog.NewJSONHandler(a.err, &slog.HandlerOptions{Level: level}))
}

func (a *app) process(log *slog.Logger) daemon.Process {
	return daemon.Process{Environ: a.environ, Version: programVersion(), Log: log}
}

// ---- the daemons

func (a *app) runCommand() *cobra.Command {
	var o options
	c := &cobra.Command{Use: "run", Short: "the proxy; without a config file it runs a node of its own", Args: noOperands}
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
		defer daemon.OnHangup(log, func() { a.reload(config.Run, o, p.Log(), p.Reload) })()
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
			fmt.Fprintf(a.out, "Admin page on http://%s/\n", addr)
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
	fmt.Fprintf(a.out, "  try   curl -x socks5h://%s%s https://example.com/\n", user, p.Addrs()[0])
	fmt.Fprintln(a.out, "  stop  Ctrl-C (twice: at once)")
}

func (a *app) nodeCommand() *cobra.Command {
	var o options
	c := &cobra.Command{Use: "node", Short: "the exit node", Args: noOperands}
	o.register(c.Flags())
	c.RunE = a.does(func() error {
		o.path = config.Find(o.path, a.environ) // as in runCommand
		cfg, err := a.load(config.Node, o)
		if err != nil {
			return err
		}
		log := a.logger(o.level)
		ctx, stop := daemon.UntilSignal(log)
		defer stop()
		n, err := daemon.NewNode(cfg, a.process(log))
		if err != nil {
			return err
		}
		defer daemon.OnHangup(log, func() { a.reload(config.Node, o, log, n.Reload) })()
		return n.Run(ctx)
	})
	return c
}

// reload reads the config anew and has take go by it. One with a mistake changes
// nothing, and the log tells every mistake.
func (a *app) reload(role config.Role, o options, log *slog.Logger, take func(*config.Config) error) {
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

// ---- setting up

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

// ---- seeing what is going on

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
		if _, broken := report.FirstBroken(); broken != nil {
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

// statusCommand shows what a running proxy does, which it finds where this config has
// the admin page.
func (a *app) statusCommand() *cobra.Command {
	var o options
	var v dash.View
	c := &cobra.Command{Use: "status", Short: "what the running proxy does", Args: noOperands}
	o.registerAdmin(c.Flags())
	c.Flags().BoolVar(&v.JSON, "json", false, "as JSON")
	c.Flags().BoolVar(&v.Quiet, "quiet", false, "print nothing: the exit code is 0 if a proxy runs, else 1")
	c.Flags().BoolVar(&v.Watch, "watch", false, "again every two seconds, until Ctrl-C")
	c.RunE = a.does(func() error {
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

// ---- programs that use the proxy

// registerProxy declares the flags of which proxy a command is about.
func (o *options) registerProxy(fs *pflag.FlagSet, user *string) {
	o.registerConfig(fs)
	fs.StringVar(user, "user", "", "the `name` of the user in the config whose password is shown to the proxy; default the first")
	fs.Func("proxy", "the `address` of the proxy, instead of that in the config", func(address string) error {
		o.flags["proxy"] = address
		return nil
	})
}

// proxyOf is the proxy that the config describes, with the password of user.
func (a *app) proxyOf(o options, user string) (environ.Proxy, error) {
	cfg, err := a.load(config.Run, o)
	if err != nil {
		return environ.Proxy{}, err
	}
	p, err := environ.Of(cfg, user, a.environ)
	if err != nil {
		return p, usage("%w", err)
	}
	return p, nil
}

func (a *app) envCommand() *cobra.Command {
	var o options
	var user string
	var withPassword bool
	shell := environ.ShellOf(os.Getenv("SHELL"), runtime.GOOS)
	c := &cobra.Command{Use: "env", Short: "print what has a shell's programs use the proxy", Args: noOperands,
		Example: "  eval \"$(relaymux env)\"\n  relaymux env --shell fish | source\n  relaymux env --shell powershell | Out-String | Invoke-Expression"}
	o.registerProxy(c.Flags(), &user)
	c.Flags().StringVar(&shell, "shell", shell, "sh, fish or powershell")
	c.Flags().BoolVar(&withPassword, "with-password", false, "print the password of proxy.users as well, which the shell and all its programs then know")
	_ = c.RegisterFlagCompletionFunc("shell", cobra.FixedCompletions(environ.Shells(), cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	c.RunE = a.does(func() error {
		if !slices.Contains(environ.Shells(), shell) {
			return usage("--shell must be one of %s", strings.Join(environ.Shells(), ", "))
		}
		p, err := a.proxyOf(o, user)
		if err != nil {
			return err
		}
		if p.User != "" && !withPassword {
			return usage("the proxy asks for a password, which all programs of the shell would know: --with-password prints it, " +
				"and relaymux exec tells it to one program only")
		}
		return p.Write(a.out, shell)
	})
	return c
}

func (a *app) execCommand() *cobra.Command {
	var o options
	var user string
	c := &cobra.Command{Use: "exec [flags] [--] COMMAND [ARGUMENT]...", Short: "run a program that uses the proxy",
		Long: "Runs a program with http_proxy, https_proxy, all_proxy and no_proxy, in both cases, in its environment. The password\n" +
			"of proxy.users, if there is one, is in them. The exit code is the program's; 1 if the proxy does not answer.",
		Example: "  relaymux exec curl https://example.com/\n  relaymux exec -- git clone https://example.com/project",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("exec: name a program, as in relaymux exec curl https://example.com/")
			}
			return nil
		}}
	o.registerProxy(c.Flags(), &user)
	c.Flags().SetInterspersed(false) // the flags after the program are the program's
	c.RunE = func(_ *cobra.Command, args []string) error {
		a.runs = true
		p, err := a.proxyOf(o, user)
		if err != nil {
			return err
		}
		if err := p.Answers(); err != nil {
			return err
		}
		code, err := environ.Run(args, p.Over(a.environ))
		if err != nil {
			fmt.Fprintln(a.err, "relaymux:", err)
		}
		if code == 0 {
			return nil
		}
		return &exitOf{code}
	}
	return c
}
