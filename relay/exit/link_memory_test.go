package exit

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/link"
)

// TestHostile82_LinkSlowReaders: of 101 downloads 100 are to programs that do not
// read. The other goes on, and memory stays within the budget.
func TestHostile82_LinkSlowReaders(t *testing.T) {
	const memory, n, size = 64 << 20, 100, 30 << 20
	linked(t, Config{Memory: memory, Dialer: gusher(size)}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		most := int64(0)
		for range n {
			c.connect("x").lazy = true
		}
		for range 30 {
			c.must()
			synctest.Wait()
			most = max(most, r.node.Stats().Memory)
		}
		for _, a := range c.flows {
			if len(a.got) != clientWindow {
				t.Fatalf("a stalled one got %d bytes", len(a.got))
			}
		}
		const answer = 256 << 10 // the last is not acknowledged yet
		kept, end := 0, r.node.links.find(c.keys.ID())
		end.mu.Lock()
		for a := range end.stalled {
			kept += a.kept
		}
		if len(end.stalled) != n || kept > n*(unsentLeast-1+buf.Max)+answer {
			t.Errorf("%d bytes are kept for %d of %d streams that are stalled", kept, len(end.stalled), n)
		}
		end.mu.Unlock()
		// A buffer may be twice what is in it.
		if m := r.node.Stats().Memory; m > 2*int64(kept) {
			t.Errorf("%d bytes charged for %d", m, kept)
		}
		a := c.connect("x")
		start := time.Now()
		c.until("the download", func() bool {
			most = max(most, r.node.Stats().Memory)
			return a.ended
		})
		if len(a.got) != size || time.Since(start) > time.Minute {
			t.Errorf("%d bytes in %v", len(a.got), time.Since(start))
		}
		if most > memory {
			t.Errorf("%d bytes charged of %d", most, memory)
		}
	})
}

// TestLinkFillsThePath: one flow may have 48 MiB on their way, of 256 MiB.
func TestLinkFillsThePath(t *testing.T) {
	linked(t, Config{Dialer: gusher(100 << 20)}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.openStream("x", 80, false, 64<<20)
		var lost []uint64
		for range 8 { // none of these answers arrives for now
			exchange, body := c.request(ask(0))
			_, _ = c.post(t.Context(), body)
			synctest.Wait()
			lost = append(lost, exchange)
		}
		if m := r.node.downloads.Used(); m < 48<<20 || m > 64<<20+buf.Max {
			t.Errorf("%d bytes are kept until they are acknowledged", m)
		}
		c.with(func() { c.awaited = nil })
		c.until("the end", func() bool { return a.ended })
		if len(a.got) != 100<<20 {
			t.Errorf("%d bytes after %d lost answers", len(a.got), len(lost))
		}
	})
}

// TestLinkUploadOfSingleBytes: those that wait do not take a buffer each.
func TestLinkUploadOfSingleBytes(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.connect("hang.test")
		for i := range 2000 {
			c.write(a, "x")
			if i%100 == 0 {
				c.must()
			}
		}
		c.must()
		if m := r.node.uploads.Used(); m > 16<<10 {
			t.Errorf("%d bytes charged for 2000", m)
		}
	})
}

// TestLinkUploadBound: a target that does not read costs its window, and nobody is
// reset for it; one that does read gets a larger one.
func TestLinkUploadBound(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		stuck := c.connect("silent.test")
		c.write(stuck, strings.Repeat("x", 4<<20))
		for range 10 {
			c.must()
			synctest.Wait()
		}
		if got := streamWindow - stuck.s.Room(); got > streamWindow || stuck.reset {
			t.Errorf("%+v", stuck)
		}
		if m := r.node.uploads.Used(); m > streamWindow+buf.Max || m < streamWindow-2*int64(r.worldWindow()) {
			t.Errorf("%d bytes wait", m)
		}
		go func() { _, _ = io.Copy(io.Discard, r.world.far("silent.test")) }()
		c.until("the upload", func() bool { return stuck.s.Unacked() == 0 })

		fast := c.connect("sink.test")
		c.write(fast, strings.Repeat("x", 100<<20))
		start := time.Now()
		for exchanges := 0; fast.s.Unacked() > 0; exchanges++ {
			if exchanges > 60 {
				t.Fatal("the window does not grow")
			}
			time.Sleep(1500 * ms)
			c.must()
		}
		if d := time.Since(start); d > 60*time.Second {
			t.Errorf("100 MiB took %v", d)
		}
		c.must()
		if room := fast.s.Room(); room < 16<<20 || room > link.WindowMost {
			t.Errorf("a window of %d bytes", room)
		}
	})
}

// TestHostile80_LinkStreamLimit is shared with the sessions of the JSON wire.
func TestHostile80_LinkStreamLimit(t *testing.T) {
	linked(t, Config{Streams: 3, DialsPerSecond: 4}, func(t *testing.T, r *rig) {
		sid := r.open("silent.test")
		c := r.link("ann")
		a, b, over := c.connect("silent.test"), c.connect("silent.test"), c.connect("silent.test")
		c.until("the limit", func() bool { return over.reset })
		if over.code != link.Limited || over.detail != errStreams.Error() || a.reset || b.reset {
			t.Errorf("%+v", over)
		}
		late := c.connect("silent.test")
		c.until("the rate", func() bool { return late.reset })
		if late.code != link.Limited || late.detail != errDialRate.Error() {
			t.Errorf("%+v", late)
		}
		time.Sleep(time.Second)
		r.batch(closeOp(sid))
		again := c.connect("silent.test")
		c.until("a place", func() bool { return again.opened })
		if s := r.node.Stats(); s.Refused != 2 || s.LinkStreams != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// TestLinkFlush: what a client has sent before it left goes out to a slow target,
// within its time.
func TestLinkFlush(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		r.world.window = 10
		for _, reads := range []bool{true, false} {
			c := r.link("ann")
			a := c.connect("bye.test")
			c.until("the target's end", func() bool { return a.ended })
			c.write(a, strings.Repeat("0123456789", 100))
			c.with(a.s.CloseWrite)
			c.until("the end", func() bool { return a.over })
			c.must() // the node learns that all has arrived
			if !reads {
				time.Sleep(flushLimit * 2 / 3) // some have gone by
				if s := r.node.Stats(); s.LinkStreams != 1 {
					t.Errorf("%+v", s)
				}
				time.Sleep(flushLimit)
				r.empty()
				continue
			}
			far := r.world.far("bye.test")
			if n := drained(far); n != 1000 {
				t.Errorf("%d bytes", n)
			}
			r.empty()
		}
	})
}

// TestLinkTargetGone: a write that fails after the target's FIN is told as an RST.
func TestLinkTargetGone(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.connect("bye.test")
		c.until("the target's end", func() bool { return a.ended })
		c.must()
		_ = r.world.far("bye.test").Close()
		for range 3 {
			c.write(a, "x")
			c.must()
			synctest.Wait()
		}
		c.must()
		if !a.reset || a.code != link.Aborted {
			t.Errorf("%+v", a)
		}
		c.must()
		r.empty()
	})
}

// TestLinkResetHeardByWriter: an RST that the system told the writer, so that the
// reader saw a mere end, is an RST for the client.
func TestLinkResetHeardByWriter(t *testing.T) {
	dialer := dialFunc(func(context.Context, string, string) (net.Conn, error) {
		return &goneConn{err: io.ErrClosedPipe, failed: make(chan struct{})}, nil
	})
	linked(t, Config{Dialer: dialer}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.connect("x")
		c.write(a, "x")
		c.until("the end", func() bool { return a.ended })
		if !a.rst {
			t.Errorf("%+v", a)
		}
	})
}

// TestLinkCloseFlushes: what was sent before a close arrives, and then a FIN, also
// when the target is still dialled; what the target says is of no use any more.
func TestLinkCloseFlushes(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		r.world.window = 10
		data := strings.Repeat("0123456789", 100)
		for _, host := range []string{"hello.test", "late.test"} {
			c := r.link("ann")
			a := c.connect(host)
			c.write(a, data)
			c.must()
			synctest.Wait()
			c.with(func() { a.s.Reset(link.Closed, "") })
			c.must()
			c.must()
			if !a.over {
				t.Errorf("%s: not over", host)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if host == "hello.test" {
				far := r.world.far(host)
				if got, err := io.ReadAll(far); err != nil || string(got) != data {
					t.Errorf("%s: %d bytes, %v", host, len(got), err)
				}
			}
			r.empty()
		}
		c := r.link("ann")
		a := c.connect("hang.test")
		c.write(a, data)
		c.must()
		c.with(func() { a.s.Reset(link.Closed, "") })
		c.must()
		time.Sleep(dialLimit)
		r.empty()
		if n := r.node.Stats().BytesUp; n != 2*uint64(len(data)) {
			t.Errorf("%d bytes", n)
		}
	})
}
