package link

import (
	"slices"
	"testing"

	"relaymux/mux/buf"
)

// kinds are those of all frames of a message, but for the heads and the bytes.
func kinds(t *testing.T, m *Message) (all []frame) {
	t.Helper()
	for _, r := range plain(m) {
		fs, err := parseAll(r.plain)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fs...)
	}
	return all
}

func only(all []frame, k kind) []frame {
	return slices.DeleteFunc(slices.Clone(all), func(f frame) bool { return f.kind != k })
}

// opened is a stream of a client that knows nothing of its fate.
func (d *side) opened() *app {
	a := &app{s: d.c.Open("h", 1, false, false, simWindow)}
	d.apps[a.s.ID()] = a
	return a
}

// An open goes again before the first bytes of each message, until it is known to
// have come.
func TestOpenGoesBeforeBytes(t *testing.T) {
	d := newSim(quiet).client
	a := d.opened()
	for exchange := range uint64(4) {
		d.write(a, 10)
		all := kinds(t, d.c.Plan(d.now, exchange, &Ask{}, Limits{Bytes: 1 << 20}))
		opens, bytes := only(all, kindOpen), only(all, kindData)
		if want := exchange < 3; len(bytes) != 1 || (len(opens) == 1) != want {
			t.Fatalf("message %d: %d opens, %d frames of bytes", exchange, len(opens), len(bytes))
		}
		if exchange == 2 {
			if err := d.taken(0, appendAck(nil, ranges{{1, 2}})); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Ops are opens, resets and the bytes of one stream up to a MiB.
func TestOpsOfAMessage(t *testing.T) {
	d := newSim(quiet).client
	d.c.given = 1 << 30
	for range 3 {
		a := d.opened()
		a.s.out.limit = 1 << 30
		d.write(a, opBytes+1)
	}
	rest := 3 * (opBytes + 1)
	for _, c := range []struct{ limit, most, least int }{
		{1, opBytes, opBytes}, {3, 3 * opBytes, opBytes + 1}, {0, rest, 1},
	} {
		m := d.c.Plan(d.now, 1, &Ask{}, Limits{Bytes: 16 << 20, Ops: c.limit})
		if c.limit > 0 && m.Ops != c.limit || m.Payload > c.most || m.Payload < c.least || m.Payload > m.Ops*opBytes {
			t.Errorf("limit %d: %d ops, %d bytes", c.limit, m.Ops, m.Payload)
		}
		rest -= m.Payload
		m.Release()
	}
	if rest != 0 {
		t.Errorf("%d bytes are left", rest)
	}
}

// One stream with much to send had as many ops as it took, however few there might
// be; and one that was reset before it was opened took two.
func TestOpsOfOneStream(t *testing.T) {
	d := newSim(quiet).client
	d.c.given = 1 << 30
	a := d.opened()
	a.s.out.limit = 1 << 30
	d.write(a, 3*opBytes)
	for limit := 1; limit < 3; limit++ {
		m := d.c.Plan(d.now, 1, &Ask{}, Limits{Bytes: 16 << 20, Ops: limit})
		if m.Ops != limit || m.Payload != limit*opBytes {
			t.Errorf("limit %d: %d ops, %d bytes", limit, m.Ops, m.Payload)
		}
		m.Release()
	}
	b := d.opened()
	b.s.Reset(Aborted, "")
	m := d.c.Plan(d.now, 1, &Ask{}, Limits{Bytes: 1 << 20, Ops: 1})
	if all := kinds(t, m); m.Ops != 1 || len(only(all, kindOpen)) != 1 || len(only(all, kindReset)) != 1 {
		t.Errorf("%d ops, %d frames", m.Ops, len(all))
	}
}

// What a stream says first goes before bulk, however small the message; but however many
// of them there are, bulk gets half.
func TestNewStreamsGoFirst(t *testing.T) {
	d := newSim(quiet).client
	d.c.given = 1 << 30
	bulk := d.opened()
	bulk.s.out.limit = 1 << 30
	d.write(bulk, 1<<20)
	plan := func() (sent map[uint64]int) {
		sent = make(map[uint64]int)
		m := d.c.Plan(d.now, 1, &Ask{}, Limits{Bytes: 32 << 10})
		for _, f := range only(kinds(t, m), kindData) {
			sent[f.stream] += len(f.payload)
		}
		return sent
	}
	plan()
	word := d.opened()
	d.write(word, 100)
	if sent := plan(); sent[word.s.ID()] != 100 || sent[bulk.s.ID()] < 30<<10 {
		t.Errorf("%v bytes were sent", sent)
	}
	for range 100 {
		d.write(d.opened(), sparse)
	}
	if sent := plan(); sent[bulk.s.ID()] < 14<<10 || len(sent) < 4 {
		t.Errorf("%v bytes were sent", sent)
	}
}

// Half of the ops is for those in line too, and every second one if there is but one a
// message.
func TestNewStreamsLeaveOps(t *testing.T) {
	for _, ops := range []int{1, 2, 3, 10} {
		d := newSim(quiet).client
		d.c.given = 1 << 30
		bulk := d.opened()
		bulk.s.out.limit = 1 << 30
		d.write(bulk, 64<<20)
		talkers := make([]*app, ops)
		for i := range talkers {
			talkers[i] = d.opened()
		}
		d.c.Plan(d.now, 1, &Ask{}, Limits{Bytes: 256 << 10}).Release() // tells of all
		with, words := 0, 0
		for range 20 {
			for _, a := range talkers {
				d.write(a, 100)
			}
			m := d.c.Plan(d.now, 1, &Ask{}, Limits{Bytes: 256 << 10, Ops: ops})
			of := make(map[uint64]bool)
			for _, f := range only(kinds(t, m), kindData) {
				of[f.stream] = true
			}
			if of[bulk.s.ID()] {
				with++
			}
			words += len(of)
			m.Release()
		}
		words -= with
		if with < 9 || words < 20*ops/2 {
			t.Errorf("%d ops: bulk is in %d of 20 messages, beside %d words", ops, with, words)
		}
	}
}

// A reset is an op.
func TestResetsAreOps(t *testing.T) {
	d := newSim(quiet).client
	a, b := d.opened(), d.opened()
	d.planned(1)
	a.s.Reset(Aborted, "")
	b.s.Reset(Aborted, "")
	for want := 1; want >= 0; want-- {
		if m := d.c.Plan(d.now, 2, &Ask{}, Limits{Bytes: 1000, Ops: 1}); m.Ops != 1 || d.c.owes(dueReset) != (want == 1) {
			t.Errorf("%d ops, %d more due", m.Ops, want)
		}
	}
}

// What became of a dial is told again when it got lost, until it has come.
func TestOpenedGoesAgain(t *testing.T) {
	d := strange()
	if err := d.taken(0, openFrame(0, flagTell, 100)); err != nil {
		t.Fatal(err)
	}
	d.apps[0].s.Accept(d.apps[0].s.Addr())
	for exchange := range uint64(3) {
		all := only(kinds(t, d.c.Plan(d.now, exchange, &Answer{}, Limits{Bytes: 1000})), kindOpened)
		if want := exchange < 2; (len(all) == 1) != want {
			t.Fatalf("message %d tells it %d times", exchange, len(all))
		}
		if exchange == 0 {
			d.c.ExchangeEnded(0)
		} else if err := d.taken(exchange, appendAck(nil, ranges{{exchange, exchange + 1}})); err != nil {
			t.Fatal(err)
		}
	}
}

// Of two streams that have much to send, each has its share of a message.
func TestStreamsTakeTurns(t *testing.T) {
	d := newSim(quiet).client
	d.c.given = 1 << 30
	for range 2 {
		a := d.opened()
		a.s.out.limit = 1 << 30
		d.write(a, 4*quantum)
	}
	sent := map[uint64]int{}
	for _, f := range only(kinds(t, d.c.Plan(d.now, 1, &Ask{}, Limits{Bytes: 2*quantum + 1000})), kindData) {
		sent[f.stream] += len(f.payload)
	}
	if sent[0] > quantum+1000 || sent[1] < quantum-1000 {
		t.Errorf("%v bytes were sent", sent)
	}
}

// What is news: a client that waits hears of its dial, a stranger's reset of its own.
func TestNews(t *testing.T) {
	for name, c := range map[string]struct {
		frames [][]byte
		act    func(*app)
		news   bool
	}{
		"nothing":                     {[][]byte{openFrame(0, 0, 100)}, func(*app) {}, false},
		"reached":                     {[][]byte{openFrame(0, 0, 100)}, func(a *app) { a.s.Accept(a.s.Addr()) }, false},
		"reached, and somebody waits": {[][]byte{openFrame(0, flagTell, 100)}, func(a *app) { a.s.Accept(a.s.Addr()) }, true},
		"a reset":                     {[][]byte{openFrame(0, 0, 100)}, func(a *app) { a.s.Reset(Aborted, "") }, true},
		"the answer to one":           {[][]byte{openFrame(0, 0, 100), resetFrame(0, 0)}, func(*app) {}, false},
		"an end":                      {[][]byte{openFrame(0, 0, 100)}, func(a *app) { a.s.CloseWrite() }, true},
		"bytes":                       {[][]byte{openFrame(0, 0, 100)}, func(a *app) { b := buf.Copy([]byte("x")); a.s.Write(b, b.B) }, true},
		"bytes without a window":      {[][]byte{openFrame(0, 0, 0)}, func(a *app) { b := buf.Copy([]byte("x")); a.s.Write(b, b.B) }, false},
	} {
		d := strange()
		if err := d.taken(0, c.frames...); err != nil {
			t.Fatal(err)
		}
		c.act(d.apps[0])
		if d.c.HasNews() != c.news {
			t.Errorf("%s: news is %v", name, !c.news)
		}
	}
}

// A reset that matters little waits for company.
func TestQuietReset(t *testing.T) {
	d := newSim(quiet).client
	a, b := d.opened(), d.opened()
	d.planned(1)
	a.s.ResetQuietly()
	if d.c.HasResets() {
		t.Error("it does not wait")
	}
	b.s.Reset(Aborted, "")
	if !d.c.HasResets() {
		t.Error("another waits too")
	}
	if all := only(kinds(t, d.c.Plan(d.now, 2, &Ask{}, Limits{Bytes: 1000})), kindReset); len(all) != 2 {
		t.Errorf("%d resets", len(all))
	}
}
