package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"runtime"
	"time"
)

// options are what the flags say.
type options struct {
	bin, save, baseline string
	ways                []way
	rows                []row
	rounds, idle        int
	size                int64 // MB
	time                time.Duration
	markdown, strict    bool
}

// parse reads the flags. It writes to out what they are, if that is asked for.
func parse(args []string, out io.Writer) (*options, error) {
	var o options
	fs := flag.NewFlagSet("relaybench", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // the caller tells of errors
	fs.StringVar(&o.bin, "bin", "", "`path` of a relaymux to measure; default is to build one")
	waysLike := fs.String("ways", "", "`regexp` of the ways to measure; loopback always is")
	rowsLike := fs.String("rows", "", "`regexp` of the rows to measure")
	fs.IntVar(&o.rounds, "rounds", 3, "rounds, of whose values the medians count")
	fs.Int64Var(&o.size, "size", 128, "`MB` of a bulk transfer, all streams together")
	fs.DurationVar(&o.time, "time", time.Second, "least time of a row; what is shorter is done again")
	fs.IntVar(&o.idle, "idle", 0, "measure the memory of so many idle connections; Linux only")
	fs.BoolVar(&o.markdown, "markdown", false, "print tables in Markdown")
	fs.StringVar(&o.save, "save", "", "`file` to store the run in")
	fs.StringVar(&o.baseline, "baseline", "", "`file` of a stored run to compare with")
	fs.BoolVar(&o.strict, "strict", false, "exit code 1 if a figure is worse than the baseline")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(out)
			fs.PrintDefaults()
		}
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("%q is no flag", fs.Arg(0))
	}
	return &o, o.check(*waysLike, *rowsLike)
}

func (o *options) check(waysLike, rowsLike string) error {
	switch {
	case o.rounds < 1:
		return fmt.Errorf("-rounds %d: at least 1", o.rounds)
	case o.size < 1 || o.size > 1e6:
		return fmt.Errorf("-size %d: 1 to 1000000 MB", o.size)
	case o.time < 0 || o.time > rowLimit/2:
		return fmt.Errorf("-time %v: 0s to %v", o.time, rowLimit/2)
	case o.idle < 0 || o.idle > maxIdle:
		return fmt.Errorf("-idle %d: 0 to %d", o.idle, maxIdle)
	case o.idle > 0 && runtime.GOOS != "linux":
		return fmt.Errorf("-idle: the memory of processes is only known on Linux")
	case o.strict && o.baseline == "":
		return fmt.Errorf("-strict: there is no -baseline to compare with")
	}
	if o.bin != "" { // processes run elsewhere
		path, err := filepath.Abs(o.bin)
		if err != nil {
			return fmt.Errorf("-bin: %w", err)
		}
		o.bin = path
	}
	return o.choose(waysLike, rowsLike)
}

// choose keeps the ways and rows whose names are like that. Loopback stays.
func (o *options) choose(waysLike, rowsLike string) error {
	like, err := regexp.Compile(waysLike)
	if err != nil {
		return fmt.Errorf("-ways: %w", err)
	}
	found := false
	for _, w := range ways() {
		if like.MatchString(w.name) || w.name == loopback {
			o.ways = append(o.ways, w)
		}
		found = found || like.MatchString(w.name)
	}
	if !found {
		return fmt.Errorf("-ways %q: there is no such way", waysLike)
	}
	if like, err = regexp.Compile(rowsLike); err != nil {
		return fmt.Errorf("-rows: %w", err)
	}
	for _, r := range rows(o.idle) {
		if like.MatchString(r.name) {
			o.rows = append(o.rows, r)
		}
	}
	if len(o.rows) == 0 {
		return fmt.Errorf("-rows %q: there is no such row", rowsLike)
	}
	return nil
}

// figures are those of the rows, in the order of the table.
func (o *options) figures() []figure {
	var all []figure
	for _, r := range o.rows {
		all = append(all, r.figures...)
	}
	return all
}
