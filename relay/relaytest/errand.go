package relaytest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Host is the targets of flows that check every byte that they carry, and the
// applications' side of these flows. Both are in one process, so that each knows what the
// other has to send. A Meter counts what becomes of them.
type Host struct {
	Meter
	Patience time.Duration // when a connection is taken for one that hangs
	Once     bool          // no errand and no datagram may arrive twice

	// Excuse reports whether something happened from when on that may end connections;
	// nil is never.
	Excuse func(since time.Time) bool

	tcp, udp string // where the targets listen
	number   atomic.Uint64
	errands  sync.Map // *transit, by number
}

// NewHost serves targets on ln and pc, until both are closed.
func NewHost(ln net.Listener, pc net.PacketConn) *Host {
	h := &Host{Patience: 10 * time.Minute, tcp: ln.Addr().String(), udp: pc.LocalAddr().String()}
	go ServeTCP(ln, h.serve)
	go ServePackets(pc, EchoPacket)
	return h
}

// An App is how applications reach their targets.
type App struct {
	Dial      Dialer
	Associate func(context.Context) (net.PacketConn, error)
}

// An errand is what an application has a target carry on a connection. It is what it says
// first.
type errand struct {
	Number   uint64
	Up, Down int64         // bytes
	Pieces   int64         // in which they come, each way; with After only up
	Pause    time.Duration // between these
	After    bool          // Down begins when Up is whole, and comes at once
}

// The seeds of its bytes.
func (e *errand) upSeed() uint64   { return 2 * e.Number }
func (e *errand) downSeed() uint64 { return 2*e.Number + 1 }

// A transit is an errand under way. A relay that runs a request twice may bring it to two
// connections of the target by the JSON wire, of which the application has either.
type transit struct {
	up, down watch
	begun    atomic.Bool // a target has got it
}

var errWrong = errors.New("other bytes than were sent")

// Visit does errands on one connection, ends it and waits for the target's end. It
// reports whether all was whole. What is not is a connection lost, or a fault.
func (h *Host) Visit(ctx context.Context, app App, errands ...errand) bool {
	h.Flows.Add(1)
	began := time.Now()
	c, err := app.Dial(ctx, h.tcp)
	if err != nil {
		h.Refused.Add(1)
		return false
	}
	defer c.Close()
	for i := range errands {
		if heard, err := h.do(c, &errands[i]); err != nil {
			h.lose(err, began, heard || i > 0, &errands[i])
			reset(c) // a FIN would tell the target that this was all
			return false
		}
	}
	closeWrite(c)
	if n, err := io.Copy(io.Discard, c); n > 0 || err != nil {
		h.lose(err, began, true, &errands[len(errands)-1])
		if n > 0 {
			h.Fault("%d bytes after the end of %+v", n, errands)
		}
		return false
	}
	h.Whole.Add(1)
	return true
}

// lose counts a connection that ended early, by err. Only a reset says so to whoever
// reads: an end before all was there, or none at all, is a fault.
//
// heard says that something had come back: else it was never more than an attempt, which a
// proxy gives up that has no way for so long.
func (h *Host) lose(err error, began time.Time, heard bool, e *errand) {
	switch {
	case h.Excuse != nil && h.Excuse(began):
		h.Ended.Add(1)
	case !heard && time.Since(began) <= attemptMost:
		h.Refused.Add(1)
		h.keep(&h.losses, "%+v, begun %v before, was refused: %v", *e, time.Since(began).Round(time.Millisecond), err)
	default:
		h.Lost.Add(1)
		h.keep(&h.losses, "the app of %+v, begun %v before: %v", *e, time.Since(began).Round(time.Millisecond), err)
	}
	if !isReset(err) && !errors.Is(err, net.ErrClosed) {
		h.Fault("the app of %+v, begun %v before: %v, not a reset", *e, time.Since(began).Round(time.Millisecond), err)
	}
}

// attemptMost is when a connection has been made or has not.
const attemptMost = 31 * time.Second

// do is the application's side of an errand. It says whether anything came back.
func (h *Host) do(c net.Conn, e *errand) (heard bool, err error) {
	e.Number = h.number.Add(1)
	x := new(transit)
	h.errands.Store(e.Number, x)
	defer func() {
		h.errands.Delete(e.Number)
		h.stalled(&x.up, "up of", *e)
		h.stalled(&x.down, "down of", *e)
	}()
	_ = c.SetDeadline(time.Now().Add(h.Patience + time.Duration(e.Pieces)*e.Pause))
	x.up.put(head)
	if err := binary.Write(c, binary.BigEndian, e); err != nil {
		return false, err
	}
	sent, stop := make(chan error, 1), make(chan struct{})
	go func() { sent <- e.send(c, e.upSeed(), e.Up, &x.up, stop) }()
	err = h.compare(c, e.downSeed(), e.Down, &x.down)
	heard = x.down.any()
	if err != nil {
		x.up.end()
		x.down.end()
		close(stop)                   // the other way
		_ = c.SetDeadline(time.Now()) // would last
	}
	return heard, endOf(err, <-sent)
}

// endOf is how a connection ended, by how a read and a write did. A system tells of a
// reset once: whoever reads after a write has heard of it reads an end.
func endOf(read, write error) error {
	if read == nil || errors.Is(read, io.EOF) && isReset(write) {
		return write
	}
	return read
}

// serve is the target's side of a connection.
func (h *Host) serve(c net.Conn) {
	for {
		var e errand
		if err := binary.Read(c, binary.BigEndian, &e); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				h.Fault("a target: a clean end in the middle of a word")
			}
			return
		}
		if !h.answer(c, &e) {
			return
		}
	}
}

// head is what an errand itself counts for on its way.
const head = 1

// answer is the target's side of an errand.
func (h *Host) answer(c net.Conn, e *errand) bool {
	x := new(transit)
	if of, ok := h.errands.Load(e.Number); ok {
		x = of.(*transit)
		if x.begun.Swap(true) && h.Once {
			h.Fault("%+v came twice", *e)
		}
	}
	x.up.came(head)
	sent, stop := make(chan error, 1), make(chan struct{})
	down := *e
	if down.After {
		down.Pieces = 1
	}
	send := func() { sent <- down.send(c, e.downSeed(), e.Down, &x.down, stop) }
	if !e.After {
		go send()
	}
	err := h.compare(c, e.upSeed(), e.Up, &x.up)
	switch {
	case err != nil:
		close(stop)
		reset(c)
		if e.After {
			sent <- nil
		}
	case e.After:
		send()
	}
	err = endOf(err, <-sent)
	if errors.Is(err, io.EOF) {
		h.Fault("the target of %+v: a clean end too early", *e)
	}
	return err == nil
}

// send sends size bytes of noise, in pieces, until stop.
func (e *errand) send(w io.Writer, seed uint64, size int64, to *watch, stop <-chan struct{}) error {
	if size == 0 {
		return nil
	}
	from := noise(seed, size)
	pieces := max(e.Pieces, 1)
	for i := range pieces {
		if i > 0 {
			select {
			case <-stop:
				return nil
			case <-time.After(e.Pause):
			}
		}
		n := size*(i+1)/pieces - size*i/pieces
		to.put(head + size*(i+1)/pieces)
		if _, err := io.CopyN(w, from, n); err != nil {
			return err
		}
	}
	return nil
}

// compare reads size bytes of noise.
func (h *Host) compare(r io.Reader, seed uint64, size int64, at *watch) error {
	from := noise(seed, size)
	var p, want [16 << 10]byte
	for all := size; size > 0; {
		n, err := r.Read(p[:min(size, int64(len(p)))])
		_, _ = io.ReadFull(from, want[:n]) // it has as many
		if !bytes.Equal(p[:n], want[:n]) {
			h.Fault("%d bytes before the end of %d are others than were sent", size, seed)
			return errWrong
		}
		h.Bytes.Add(int64(n))
		size -= int64(n)
		if n > 0 {
			at.came(head + all - size)
		}
		if err != nil && size > 0 {
			return err
		}
	}
	return nil
}

// reset closes c by RST.
func reset(c net.Conn) {
	_ = c.(interface{ SetLinger(sec int) error }).SetLinger(0)
	_ = c.Close()
}

// isReset reports whether err says that the peer ended the connection by RST.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// A watch measures for how long nothing came while there was something to come.
type watch struct {
	mu        sync.Mutex
	since     time.Time // something was there to come, or came
	sent, got int64
	ended     bool
	longest   time.Duration
}

// put says that so many bytes in all are on their way.
func (w *watch) put(all int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sent <= w.got {
		w.since = time.Now()
	}
	w.sent = max(w.sent, all)
}

// end says that nothing more comes.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.look()
	w.ended = true
}

// look measures until now. mu is held.
func (w *watch) look() {
	now := time.Now()
	if w.got < w.sent && !w.ended {
		w.longest = max(w.longest, now.Sub(w.since))
	}
	w.since = now
}

// any reports whether anything came.
func (w *watch) any() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got > 0
}

// came says that so many bytes in all have come. Another connection may have brought them
// before.
func (w *watch) came(all int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if all > w.got {
		w.look()
		w.got = all
	}
}

// A Meter counts flows and what became of them. The zero value is ready to use.
type Meter struct {
	Flows   atomic.Int64 // TCP connections
	Whole   atomic.Int64 // of which all that was to be carried was
	Lost    atomic.Int64 // that were reset
	Ended   atomic.Int64 // that were reset, which is excused
	Refused atomic.Int64 // that were never made
	Bytes   atomic.Int64 // compared
	Said    atomic.Int64 // datagrams
	Heard   atomic.Int64 // of which so many came back

	mu             sync.Mutex
	stall          time.Duration
	worst          string // which stalled so long
	faults, losses []string
}

// mostKept is how many texts of a kind a Meter keeps.
const mostKept = 20

// keep adds to a list of texts.
func (m *Meter) keep(list *[]string, format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(*list) < mostKept {
		*list = append(*list, time.Now().Format(time.TimeOnly)+" "+fmt.Sprintf(format, args...))
	}
}

// Fault notes what must never happen.
func (m *Meter) Fault(format string, args ...any) { m.keep(&m.faults, format, args...) }

// Losses are the first connections that were reset.
func (m *Meter) Losses() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.losses
}

// Faults are what happened that must never happen, the first of it.
func (m *Meter) Faults() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.faults
}

// stalled takes over what a watch has measured, with what it still waits for.
func (m *Meter) stalled(w *watch, of ...any) {
	w.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	if w.longest > m.stall {
		m.stall, m.worst = w.longest, fmt.Sprint(time.Now().Format(time.TimeOnly), " ", of)
	}
}

// Stall is the longest time in which nothing came of a connection though there was
// something to come, and of which.
func (m *Meter) Stall() (long time.Duration, of string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stall, m.worst
}
