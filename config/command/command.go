// Package command is the commands: what their flags are, and which package does what
// they say. The life of the daemons is in config/daemon.
//
// command.go is what they share; each other file has the commands of its name.
package command

import (
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"relaymux/config"
	"relaymux/config/daemon"
	"relaymux/config/setup"
)

// Exit codes: 0 ok, 1 failed while running, 2 usage or config.
const (
	exitFailed = 1
	exitUsage  = 2
)

// Main does what args say, as the process that this is, and returns the exit code.
// version is what the linker has set.
func Main(version string, args []string) int {
	// quic-go would print, to where nobody collects it, that the system's buffers
	// are smaller than it likes.
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	// net/http would print, in the middle of our log, what an origin or a relay sends
	// unasked. A relay can send the key.
	log.SetOutput(io.Discard)
	a := &app{version: version, environ: os.Environ(), in: os.Stdin, out: os.Stdout, err: os.Stderr}
	return a.main(args)
}

// An app is one run of the program, with what it has of the world.
type app struct {
	version  string
	environ  []string
	in       *os.File // nobody is asked unless it is a terminal
	out, err io.Writer

	runs    bool  // a command does: what fails from then on is no matter of usage
	unknown error // of a command whose help was asked for
}

// main does what args say, and returns the exit code.
func (a *app) main(args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.Execute()
	if err == nil {
		err = a.unknown
	}
	return a.exitCode(err)
}

// root is the command without a name, with all others below it.
func (a *app) root() *cobra.Command {
	cobra.MousetrapHelpText = "" // who starts it from Windows' Explorer wants it to run
	root := a.runCommand()
	root.Use = "relaymux"
	root.Long = "relaymux carries your connections through relays to a node of your own.\n" +
		"Without a command it is the proxy, as by relaymux run. README.md has the rest."
	root.Version = a.programVersion()
	root.SetVersionTemplate(a.versionText())
	root.SilenceErrors, root.SilenceUsage = true, true
	root.AddCommand(a.runCommand(), a.nodeCommand(), a.initCommand(), a.scriptCommand(), a.doctorCommand(), a.tuneCommand(),
		a.statusCommand(), a.topCommand(), a.routeCommand(), a.checkCommand(), a.envCommand(), a.execCommand(), a.versionCommand())
	root.SetHelpCommand(helpCommand())
	guide(root)
	a.guideHelp(root)
	return root
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

func (a *app) versionText() string {
	return fmt.Sprintf("relaymux %s %s %s/%s\n", a.programVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (a *app) programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && a.version == "dev" && info.Main.Version != "" {
		return info.Main.Version
	}
	return a.version
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "print the version", Args: noOperands,
		Example: "  relaymux version", RunE: a.does(func() error {
			fmt.Fprint(a.out, a.versionText())
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
		return "", usage(noFile)
	}
	return path, nil
}

// noFile says what to do without a config file.
const noFile = "there is no config file; name one by --config F, or make one by relaymux init"

// logger writes to stderr: coloured text for a person, JSON for a collector.
func (a *app) logger(level slog.Level) *slog.Logger {
	if f, ok := a.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return slog.New(forTerminal(f, level, os.Getenv("NO_COLOR") == ""))
	}
	return slog.New(slog.NewJSONHandler(a.err, &slog.HandlerOptions{Level: level}))
}

// forTerminal writes coloured text. In colour the library makes escape sequences of values,
// also of those that are written out, what they were meant to be, for programs that colour
// them; here values are what others have said.
func forTerminal(w io.Writer, level slog.Level, coloured bool) slog.Handler {
	escapes := strings.NewReplacer("\x1b", "\u241b", `\x1b`, `\u001b`) // the first is the symbol for it
	return tint.NewTextHandler(w, &tint.Options{
		Level: level, TimeFormat: time.TimeOnly, NoColor: !coloured,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			text := a.Value.Resolve().String()
			if tame := escapes.Replace(text); tame != text {
				a.Value = slog.StringValue(tame)
			}
			return a
		}})
}

func (a *app) process(log *slog.Logger) daemon.Process {
	return daemon.Process{Environ: a.environ, Version: a.programVersion(), Log: log}
}
