package exit

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/link"
	"relaymux/mux/wire"
)

// TestLinkEcho goes there and back, on either carriage.
func TestLinkEcho(t *testing.T) {
	for _, text := range []bool{false, true} {
		linked(t, Config{}, func(t *testing.T, r *rig) {
			c, _ := r.tryLink("ann", text)
			a := c.connect("echo.test")
			c.write(a, "hi")
			if err := c.do(ask(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if string(a.got) != "hi" || !a.opened {
				t.Errorf("got %q, opened %v", a.got, a.opened)
			}
			c.with(a.s.CloseWrite)
			c.until("the end", func() bool { return a.over })
			if !a.ended || a.rst || a.reset {
				t.Errorf("%+v", a)
			}
			c.must()
			r.empty()
		})
	}
}

// TestLinkDialFailures are told by their kind, and in the words of the JSON wire.
func TestLinkDialFailures(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		for host, want := range map[string]wire.Reason{
			"refused.test": wire.Refused, "denied.test": wire.Denied, "nowhere.test": wire.NameNotFound,
			"full.test": wire.Failed, "hang.test": wire.TimedOut,
		} {
			a := c.connect(host)
			c.write(a, "lost")
			c.until(host, func() bool { return a.reset })
			reason, ok := a.code.Reason()
			if !ok || reason != want || a.opened {
				t.Errorf("%s: code %d, %q", host, a.code, a.detail)
			}
			if want != wire.Failed && a.detail != want.String() {
				t.Errorf("%s: %q", host, a.detail)
			}
		}
		c.must()
		r.empty()
	})
}

// TestHostile17_LinkHalfClose: each direction ends alone, and all bytes arrive.
func TestHostile17_LinkHalfClose(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.connect("bye.test") // its target has ended before the first upload
		c.until("the target's end", func() bool { return a.ended })
		if string(a.got) != "bye" || a.rst {
			t.Fatalf("%+v", a)
		}
		got := make(chan string)
		go func() {
			b, _ := io.ReadAll(r.world.far("bye.test"))
			got <- string(b)
		}()
		for _, s := range []string{"a", "b", "c"} {
			c.write(a, s)
			c.must()
		}
		c.with(a.s.CloseWrite)
		c.must()
		if s := <-got; s != "abc" {
			t.Errorf("the target got %q", s)
		}
		c.until("the end", func() bool { return a.over })
		b := c.connect("parrot.test")
		c.write(b, "all of it")
		c.with(b.s.CloseWrite)
		c.until("the parrot's end", func() bool { return b.over })
		if string(b.got) != "all of it" || b.rst || b.reset {
			t.Errorf("%+v", b)
		}
		c.must()
		r.empty()
	})
}

// TestLinkResets: an RST is told from a FIN, behind the bytes before it, both ways.
func TestLinkResets(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.connect("reset.test")
		c.until("the target's reset", func() bool { return a.ended })
		if string(a.got) != "cut" || !a.rst {
			t.Errorf("%+v", a)
		}
		c.with(func() { a.s.Reset(link.Aborted, "") })

		b := c.connect("silent.test")
		c.write(b, "x")
		c.must()
		synctest.Wait()
		c.with(func() { b.s.Reset(link.Aborted, "") })
		c.must()
		if err := r.world.far("silent.test").ended(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after a reset: the target saw %v", err)
		}

		d := c.connect("silent.test")
		c.write(d, "x")
		c.must()
		synctest.Wait()
		c.with(func() { d.s.End(link.Aborted, true) })
		c.must()
		synctest.Wait()
		if err := r.world.far("silent.test").ended(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after an end by reset: the target saw %v", err)
		}
		c.must()
		c.must()
		if !d.over || !b.over || !a.over {
			t.Errorf("over: %v %v %v", a.over, b.over, d.over)
		}
		r.empty()
	})
}

// TestLinkBulk carries 20 MiB each way at once.
func TestLinkBulk(t *testing.T) {
	const size = 20 << 20
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.connect("echo.test")
		data := strings.Repeat("0123456789abcdef", size/16)
		c.write(a, data)
		c.with(a.s.CloseWrite)
		c.until("the end", func() bool { return a.over })
		if !bytes.Equal(a.got, []byte(data)) {
			t.Errorf("%d bytes of %d, or others", len(a.got), size)
		}
		if n := c.unacked.Used(); n != 0 {
			t.Errorf("%d bytes are not acknowledged", n)
		}
		c.must()
		r.empty()
	})
}
