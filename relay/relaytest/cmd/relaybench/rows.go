package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"relaymux/relay/relaytest"
)

// A row is a load, and the figures that it yields.
type row struct {
	name    string
	figures []figure
	run     func(t *turn) error
	alone   bool // it wants processes that nothing else has used
}

// A figure is a line of the table.
type figure struct {
	name, unit string
	rate       bool // more is better
	absolute   bool // it has no counterpart at plain loopback
}

func (f figure) label() string { return f.name + ", " + f.unit }

// A turn is one row on one way in one round.
type turn struct {
	*route
	programs *programs
	ctx      context.Context // ends when the row has to
	size     int64           // of bulk, in bytes
	time     time.Duration   // that the row goes on for, at least
	note     func(figure string, value float64)
}

const (
	atOnce      = 64
	manyStreams = 16
	datagram    = 1200 // bytes that fit every path
)

// rows are all, in the order in which they run: memory is read idle before the
// loads, and at its peak after them.
func rows(idle int) []row {
	list := []row{
		{name: "idle memory", run: (*turn).idleMemory, figures: memoryFigures("idle memory")},
		bulkRow("download", 1, relaytest.Pour, relaytest.Pull),
		bulkRow("download", manyStreams, relaytest.Pour, relaytest.Pull),
		bulkRow("upload", 1, relaytest.Count, relaytest.Push),
		bulkRow("upload", manyStreams, relaytest.Count, relaytest.Push),
		askRow("request, open connection", (*turn).ask),
		askRow("request, new connection", (*turn).askAnew),
		rateRow(fmt.Sprintf("new connections, %d at once", atOnce), (*turn).connect),
		rateRow(fmt.Sprintf("UDP echoes, %d on their way", atOnce), (*turn).echo),
		{name: "peak memory", run: (*turn).peakMemory, figures: memoryFigures("peak memory")},
	}
	if idle > 0 {
		list = append(list, idleRow(idle))
	}
	return list
}

func askRow(name string, took func(t *turn, origin string) ([]time.Duration, error)) row {
	return row{name: name, figures: []figure{{name: name, unit: "ms"}}, run: func(t *turn) error {
		origin, stop, err := serve(relaytest.Answer)
		if err != nil {
			return err
		}
		defer stop()
		all, err := took(t, origin)
		t.note(name, relaytest.Quantile(all, 0.5).Seconds()*1e3)
		return err
	}}
}

func (t *turn) ask(origin string) ([]time.Duration, error) {
	c, err := t.dial(t.ctx, origin)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return relaytest.InTurn(t.more(), func() error { return relaytest.Ask(c) })
}

func (t *turn) askAnew(origin string) ([]time.Duration, error) {
	return relaytest.InTurn(t.more(), func() error { return relaytest.AskOnce(t.ctx, t.dial, origin) })
}

func rateRow(name string, perform func(t *turn) (n int64, err error)) row {
	return row{name: name, figures: []figure{{name: name, unit: "/s", rate: true}}, run: func(t *turn) error {
		began := time.Now()
		n, err := perform(t)
		t.note(name, float64(n)/time.Since(began).Seconds())
		return err
	}}
}

func (t *turn) connect() (int64, error) {
	origin, stop, err := serve(relaytest.Answer)
	if err != nil {
		return 0, err
	}
	defer stop()
	return relaytest.Together(atOnce, t.more(), func() error { return relaytest.AskOnce(t.ctx, t.dial, origin) })
}

func (t *turn) echo() (int64, error) {
	echo, err := new(relaytest.Stack).ListenPacket()
	if err != nil {
		return 0, err
	}
	defer echo.Close()
	go relaytest.ServePackets(echo, relaytest.EchoPacket)
	c, err := t.listenPacket(t.ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	defer context.AfterFunc(t.ctx, func() { c.Close() })() // it would hear nothing of the end
	going := t.more()
	came, sent, err := relaytest.EchoPackets(c, echo.LocalAddr(), atOnce, datagram, func(int) bool { return going() })
	if err == nil && came < sent {
		err = fmt.Errorf("%d echoes of %d were lost", sent-came, sent)
	}
	return int64(came), err
}

// more is what a row goes on for, from now.
func (t *turn) more() func() bool {
	until := time.Now().Add(t.time)
	return func() bool { return time.Now().Before(until) }
}

// serve has handle serve an origin, until stop.
func serve(handle func(net.Conn)) (address string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	go relaytest.ServeTCP(ln, handle)
	return ln.Addr().String(), func() { ln.Close() }, nil
}
