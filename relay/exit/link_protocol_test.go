package exit

import (
	"encoding/binary"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/link"
)

// raw sends a request of records with that plaintext.
func (c *linkClient) raw(plain ...[]byte) error {
	c.mu.Lock()
	c.exchange++
	exchange := c.exchange
	body := link.AppendRequestHead(nil, c.keys.ID(), exchange)
	for i, p := range plain {
		start := len(body)
		body = append(append(body, make([]byte, link.RecordHead)...), p...)
		var err error
		if body, err = c.keys.Sealer(link.Up).Seal(body, start, exchange, uint32(i), uint64(1000*int(exchange)+i)); err != nil {
			c.t.Fatal(err)
		}
	}
	c.mu.Unlock()
	answer, resp := c.post(c.t.Context(), body)
	switch {
	case answer != nil:
		return nil
	case resp.StatusCode == http.StatusNotFound:
		return errTestUnknown
	}
	return errors.New(resp.Status)
}

// Frames, by the bytes of PROTOCOL.md.
func openOf(id uint64, host string) []byte {
	b := binary.AppendUvarint([]byte{5}, id)
	b = append(b, 0, 0, 80, byte(len(host)))
	return binary.AppendUvarint(append(b, host...), 1<<20)
}

func dataOf(id, off uint64, p []byte) []byte {
	b := binary.AppendUvarint(binary.AppendUvarint([]byte{7}, id), off)
	return append(binary.AppendUvarint(b, uint64(len(p))), p...)
}

// TestHostile79_LinkProtocol: a client that breaks the protocol loses its link, and
// nobody else anything.
func TestHostile79_LinkProtocol(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		innocent := r.link("ann")
		a := innocent.connect("echo.test")
		innocent.until("the dial", func() bool { return a.opened })
		open := openOf(0, "silent.test")
		for name, plain := range map[string][]byte{
			"an unknown frame":        {99},
			"a frame that ends early": {7, 0, 0, 200, 1},
			"a length of 2^64":        {7, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
			"an ack of what was not":  {3, 1, 200, 1, 0},
			"beyond the window":       join(open, dataOf(0, streamWindow, []byte("x"))),
			"an answer's open":        join(open, []byte{5, 1, 0, 0, 0, 0, 0}),
			"bytes for datagrams":     join([]byte{5, 0, 1, 0, 53, 1, 'x', 0}, dataOf(0, 0, []byte("x"))),
		} {
			c := r.link("bob")
			if err := c.raw(open); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if name == "bytes for datagrams" {
				c = r.link("bob")
			}
			synctest.Wait()
			before := r.node.Stats().LinkBroken
			if err := c.raw(plain); !errors.Is(err, errTestUnknown) {
				t.Errorf("%s: %v", name, err)
			}
			if n := r.node.Stats().LinkBroken; n != before+1 {
				t.Errorf("%s: %d links broken, %d before", name, n, before)
			}
			if err := c.raw(nil); !errors.Is(err, errTestUnknown) {
				t.Errorf("%s: the link is still there: %v", name, err)
			}
		}
		innocent.write(a, "hi")
		innocent.until("the echo", func() bool { return string(a.got) == "hi" })
		if s := r.node.Stats(); s.LinkStreams != 2 { // and that of the link which only opened one
			t.Errorf("%+v", s)
		}
	})
}

// TestHostile79_LinkManyRecords: as many records as a body holds, with nothing in
// them, are more than there is memory for, or are taken in.
func TestHostile79_LinkManyRecords(t *testing.T) {
	linked(t, Config{Memory: 4 << 20}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		many := make([][]byte, 20_000)
		if err := c.raw(many...); err == nil || errors.Is(err, errTestUnknown) {
			t.Errorf("20,000 records: %v", err)
		}
		if err := c.raw(many[:500]...); err != nil {
			t.Errorf("500 records: %v", err)
		}
		if s := r.node.Stats(); s.Memory != 0 || s.Overloads != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestHostile67_LinkEarlyBytes: bytes out of order wait for those before them, which may
// come by another exchange.
func TestHostile67_LinkEarlyBytes(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		for _, plain := range [][]byte{
			join(openOf(0, "silent.test"), dataOf(0, 5, []byte("orl"))),
			dataOf(0, 6, []byte("rld!")), dataOf(0, 2, []byte("llo ")), dataOf(0, 0, []byte("he")), dataOf(0, 0, []byte("hello")),
		} {
			if err := c.raw(plain); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		far := r.world.far("silent.test")
		far.in.mu.Lock()
		if got := far.in.data; string(got) != "hello orld!"[:5] && string(got) != "hello rld!" {
			t.Errorf("%q", got)
		}
		far.in.mu.Unlock()
	})
}

// TestLinkUsage: the exchanges of an account are added up over all its clients.
func TestLinkUsage(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		ann, bob := r.link("ann"), r.link("bob")
		tagged := ask(0)
		tagged.Tag = 7
		for range 5 {
			_ = ann.do(tagged)
		}
		_ = bob.do(tagged)
		if ann.usage[7] != 5 || bob.usage[7] != 6 {
			t.Errorf("told %d and %d", ann.usage[7], bob.usage[7])
		}
		other := ask(0)
		other.Tag = 8
		_ = bob.do(other)
		if bob.usage[8] != 1 || len(bob.usage) != 2 || len(ann.usage) != 1 {
			t.Errorf("%v, %v", ann.usage, bob.usage)
		}
		time.Sleep(accountWindow)
		_ = bob.do(tagged)
		if bob.usage[7] != 1 {
			t.Errorf("%d in a new window", bob.usage[7])
		}
	})
}

// TestAccounts is bounded, and who was used last stays.
func TestAccounts(t *testing.T) {
	var a accounts
	now := time.Unix(1e9, 0)
	for tag := range uint64(accountsMost) {
		a.add(tag+1, now)
	}
	if n := a.add(1, now); n != 2 {
		t.Errorf("the first is at %d", n)
	}
	a.add(1e6, now)
	if one, two := a.add(1, now), a.add(2, now); one != 3 || two != 1 || len(a.all) != accountsMost {
		t.Errorf("%d, %d, %d accounts", one, two, len(a.all))
	}
}

// TestReports: what is worth telling.
func TestReports(t *testing.T) {
	told := make(reports)
	for _, c := range []struct {
		count uint64
		want  bool
	}{{1, true}, {2, true}, {99, true}, {100, true}, {101, true}, {102, false}, {103, true}, {5000, true}, {5009, false}, {5010, true}, {3, true}} {
		if got := told.due(1, c.count); got != c.want {
			t.Errorf("%d: %v", c.count, got)
		}
	}
	for tag := range uint64(toldMost + 10) {
		told.due(tag, 1)
	}
	if len(told) > toldMost {
		t.Errorf("%d accounts are remembered", len(told))
	}
}
