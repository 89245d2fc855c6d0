package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"relaymux/relay/relaytest"
	"relaymux/relay/relaytest/proc"
)

// A bulk carries n bytes to or from an origin.
type bulk func(ctx context.Context, dial relaytest.Dialer, origin string, n int64) error

// bulkRow is bulk by so many streams. One stream also says what a gigabyte costs.
func bulkRow(what string, streams int, handle func(net.Conn), carry bulk) row {
	name := fmt.Sprintf("%s, %d streams", what, streams)
	if streams == 1 {
		name = what + ", 1 stream"
	}
	r := row{name: name, figures: []figure{{name: name, unit: "MB/s", rate: true}}}
	if streams == 1 {
		for _, process := range []string{"client", "node", "relay"} {
			r.figures = append(r.figures, figure{name: cpuFigure(what, process), unit: "CPU s/GB"})
		}
	}
	r.run = func(t *turn) error {
		before, began := t.cpuTimes(), time.Now()
		bytes, err := t.bulk(streams, handle, carry)
		if err != nil {
			return err
		}
		t.note(name, bytes/1e6/time.Since(began).Seconds())
		if streams == 1 {
			for process, now := range t.cpuTimes() {
				t.note(cpuFigure(what, process), (now-before[process]).Seconds()/(bytes/1e9))
			}
		}
		return nil
	}
	return r
}

func cpuFigure(what, process string) string { return what + ", " + process }

// bulk carries t.size bytes in all, by so many streams at once, again and again.
func (t *turn) bulk(streams int, handle func(net.Conn), carry bulk) (bytes float64, err error) {
	origin, stop, err := serve(handle)
	if err != nil {
		return 0, err
	}
	defer stop()
	each := t.size / int64(streams)
	times, err := relaytest.InTurn(t.more(), func() error {
		_, err := relaytest.Together(streams, relaytest.Times(int64(streams)), func() error {
			return carry(t.ctx, t.dial, origin, each)
		})
		return err
	})
	return float64(len(times)) * float64(each) * float64(streams), err
}

// cpuTimes are what the processes have used. At plain loopback each is this process,
// both ends of what is carried: what the others' are compared with.
func (t *turn) cpuTimes() map[string]time.Duration {
	pids := map[string]int{"client": os.Getpid(), "node": os.Getpid(), "relay": os.Getpid()}
	if t.apps != nil {
		pids = make(map[string]int)
		for name, p := range t.processes() {
			pids[name] = p.PID()
		}
	}
	used := make(map[string]time.Duration)
	for name, pid := range pids {
		if d, ok := proc.CPUTime(pid); ok {
			used[name] = d
		}
	}
	return used
}
