// Command soak runs the program for hours as it is used, as processes on the loopback
// interface, under faults that change all the time:
//
//	go run ./relay/relaytest/cmd/soak [-time 1h] [-seed N]
//
// A node and six proxies, one for each way to it, carry downloads, uploads, pages, words
// that come late, and datagrams, through emulated relays and lines that fail by chance; the
// node is killed and started again, configs are read again. Each byte is compared. It
// fails if one was wrong, if a connection was lost that should not be, if a process grows, or
// if more exchanges were made than are told. It needs Linux's /proc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"relaymux/relay/relaytest/proc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// quietTime is enough for what pools keep to go: for two collections, which the runtime
// makes every two minutes if nothing else asks for them.
const quietTime = 5 * time.Minute

// options are what the flags say.
type options struct {
	bin   string
	logs  string
	time  time.Duration
	quiet time.Duration
	load  int
	seed  uint64
}

// Exit codes: 0 ok, 1 failed, 2 usage.
func command(ctx context.Context, args []string, out, errs io.Writer) int {
	var o options
	fs := flag.NewFlagSet("soak", flag.ContinueOnError)
	fs.SetOutput(errs)
	fs.StringVar(&o.bin, "bin", "", "`path` of a relaymux; default is to build one")
	fs.StringVar(&o.logs, "logs", "", "`directory` for the logs of the processes; default is none")
	fs.DurationVar(&o.time, "time", time.Hour, "how long traffic goes on; a quiet time follows")
	fs.DurationVar(&o.quiet, "quiet", quietTime, "how long nothing happens at the end")
	fs.IntVar(&o.load, "load", 3, "how many of each kind of traffic each proxy carries at once")
	fs.Uint64Var(&o.seed, "seed", 0, "of all chance; 0 takes another one each time")
	if fs.Parse(args) != nil || fs.NArg() > 0 {
		return 2
	}
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	if err := o.run(ctx, out); err != nil {
		fmt.Fprintln(errs, "soak:", err)
		return 1
	}
	return 0
}

// run is a whole soak.
func (o *options) run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.bin == "" {
		o.bin = filepath.Join(dir, "relaymux.exe")
		err = proc.Build(ctx, o.bin, "relaymux")
	} else {
		o.bin, err = filepath.Abs(o.bin) // processes run elsewhere
	}
	if err != nil {
		return err
	}
	if o.logs != "" {
		if err := os.MkdirAll(o.logs, 0o755); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "seed %d, %v\n", o.seed, o.time)
	w := &world{dir: dir, bin: o.bin, logs: o.logs, rnd: rand.New(rand.NewPCG(o.seed, 0))}
	defer w.close()
	if err := w.open(ctx); err != nil {
		return err
	}
	w.work(ctx, o.time, o.quiet, o.load, out)
	return errors.Join(w.report(out), ctx.Err())
}
