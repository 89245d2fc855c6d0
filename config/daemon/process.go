// Package daemon makes the two daemons that a config describes, the proxy and the exit
// node, of the parts that the other packages are, and runs them.
package daemon

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

// boundHeap has the garbage collector keep the heap near what is in use, which
// limits.memory bounds, when that is much: by itself it lets it grow to twice as much.
// A quarter is for what it does not bound, such as the libraries' copies. GOMEMLIMIT
// in the environment has its way.
func boundHeap(memory int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory + memory/4 + 64<<20)
	}
}

// leaveOne leaves a processor to the system, unless GOMAXPROCS in the environment says
// otherwise. Bytes go from goroutine to goroutine, each of which would wake another
// thread for a step that takes less than the waking: on two processors that is a third
// of the CPU that a byte takes by HTTP/3 (make bench). A client and a node in one
// process are better off with all.
func leaveOne() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)-1))
	}
}

// UntilSignal returns a context that ends with the first SIGINT or SIGTERM. The
// second ends the process.
func UntilSignal(log *slog.Logger) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		sig, ok := <-signals
		if !ok {
			return
		}
		log.Info("stopping; once more to stop at once", "signal", sig.String())
		cancel()
		if _, ok := <-signals; ok {
			os.Exit(1)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel()
	}
}

// OnHangup calls f, which reads the config again, at each SIGHUP until it is stopped.
func OnHangup(log *slog.Logger, f func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range signals {
			over := reloading(log)
			f()
			over()
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}
