// Command relaybench measures the program as it is used: real processes of client, node
// and emulated relay, on the loopback interface, for each way that there is from one to
// the other. It prints a table of speed, time, CPU and memory, each figure beside its
// ratio to plain loopback in the same run:
//
//	go run ./relay/relaytest/cmd/relaybench [-ways 'h3|h2'] [-rows download] [-markdown]
//
// These ratios depend little on the machine. With -baseline they are compared with those
// of a stored run. It uses only Linux's /proc for CPU and memory; elsewhere these cells
// are blank.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes: 0 ok, 1 failed or worse, 2 usage.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func command(ctx context.Context, args []string, out, errs io.Writer) int {
	if len(args) == 1 && args[0] == originCommand {
		return exitCode(serveOrigin(out), errs)
	}
	o, err := parse(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(errs, "relaybench:", err)
		return exitUsage
	}
	return exitCode(o.measure(ctx, out, errs), errs)
}

func exitCode(err error, errs io.Writer) int {
	if err != nil {
		fmt.Fprintln(errs, "relaybench:", err)
		return exitFailed
	}
	return 0
}

// measure is the run: load, build, run, print, compare.
func (o *options) measure(ctx context.Context, out, errs io.Writer) error {
	var old *report
	if o.baseline != "" { // before what takes minutes
		var err error
		if old, err = loadReport(o.baseline); err != nil {
			return fmt.Errorf("reading the baseline: %w", err)
		}
	}
	dir, err := os.MkdirTemp("", "relaybench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{ways: o.ways, rows: o.rows, rounds: o.rounds, size: o.size * 1e6, time: o.time, idle: o.idle, progress: errs}
	if b.programs, err = build(ctx, dir, o.bin); err != nil {
		return err
	}
	failed := b.run(ctx)
	if ctx.Err() != nil {
		return failed
	}
	return errors.Join(failed, o.tell(out, b.report(), old))
}

// tell prints a report, stores it, and compares it with that of a baseline, if there
// is one.
func (o *options) tell(out io.Writer, now, old *report) error {
	figures := o.figures()
	fmt.Fprintf(out, "%s\nIn brackets what it is to plain loopback, whose CPU is that of both ends together.\n\n", now.head())
	o.print(out, tableOf(now, figures, o.ways))
	if o.save != "" {
		if err := now.save(o.save); err != nil {
			return fmt.Errorf("storing the run: %w", err)
		}
	}
	if old == nil {
		return nil
	}
	changes, worse := compare(now, old, figures, o.ways)
	fmt.Fprintf(out, "\nCompared with %s\nWhat is compared is what stands in brackets, and memory.\n", old.head())
	if now.Seconds != old.Seconds || now.SizeMB != old.SizeMB || now.CPUs != old.CPUs {
		fmt.Fprintln(out, "The settings or the machine differ: this is rough.")
	}
	fmt.Fprintln(out)
	o.print(out, changes)
	if worse == 0 {
		return nil
	}
	err := fmt.Errorf("%d figures are worse than %s by more than %.0f %%", worse, o.baseline, (worseBy-1)*100)
	if !o.strict {
		fmt.Fprintf(out, "\n%v\n", err)
		return nil
	}
	return err
}

func (o *options) print(out io.Writer, t table) {
	if o.markdown {
		t.printMarkdown(out)
		return
	}
	t.print(out)
}
