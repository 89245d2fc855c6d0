package link

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"relaymux/mux/buf"
)

// quiet is a relay, or an application, that does nothing by itself.
func quiet(int) int { return 0 }

// taken is what a side says to a record that has not come before.
func (d *side) taken(number uint64, frames ...[]byte) error {
	b := buf.Get(buf.Max)
	defer b.Release()
	b.B = append(b.B, slices.Concat(frames...)...)
	_, err := d.c.Receive(d.now, number, b)
	return err
}

// strange is a node to which the tests speak by hand.
func strange() *side {
	d := newSim(quiet).node
	d.loose = true
	return d
}

// Frames by hand.
func numbers(n ...uint64) (p []byte) {
	for _, x := range n {
		p = binary.AppendUvarint(p, x)
	}
	return p
}

func openFrame(id uint64, flags byte, window uint64) []byte {
	return slices.Concat([]byte{byte(kindOpen)}, numbers(id), []byte{flags, 0, 80, 1, 'h'}, numbers(window))
}

func dataFrame(id, off uint64, p string) []byte {
	return slices.Concat([]byte{byte(kindData)}, numbers(id, off, uint64(len(p))), []byte(p))
}

func endFrame(id, off uint64, p string) []byte {
	return slices.Concat([]byte{byte(kindEnd)}, numbers(id, off), []byte{0}, numbers(uint64(len(p))), []byte(p))
}

func resetFrame(id, final uint64) []byte {
	return slices.Concat([]byte{byte(kindReset)}, numbers(id), []byte{0}, numbers(final, 0))
}

// Bytes that came again after the end had been told gave the credit back for all
// that its owner still held.
func TestHostile79_BytesAgainAfterTheEnd(t *testing.T) {
	d := strange()
	for n, f := range [][]byte{openFrame(0, 0, 0), endFrame(0, 0, "hello"), dataFrame(0, 0, "he"), endFrame(0, 0, "hello")} {
		if err := d.taken(uint64(n), f); err != nil {
			t.Fatal(err)
		}
		if d.c.consumed != 0 || n > 0 && d.c.Held() != 5 {
			t.Fatalf("record %d: %d bytes count as consumed, %d as held", n, d.c.consumed, d.c.Held())
		}
	}
	d.apps[0].s.Consumed(5)
	if d.c.Held() != 0 {
		t.Errorf("%d bytes are held in the end", d.c.Held())
	}
}

// Resets of streams that were never opened, and opens that were refused, were kept
// without a bound, until a client acknowledged what it never would.
func TestHostile79_DeadStreams(t *testing.T) {
	for name, frame := range map[string]func(id uint64) []byte{
		"reset": func(id uint64) []byte { return resetFrame(id, 0) },
		"open":  func(id uint64) []byte { return openFrame(id, 0, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			d := strange()
			for n := range uint64(maxDead) {
				if err := d.taken(n, frame(n)); err != nil {
					t.Fatalf("%d: %v", n, err)
				}
				if a := d.apps[n]; a != nil {
					a.s.Reset(Limited, "")
				}
			}
			for n := range uint64(10) {
				if err := d.taken(maxDead+n, frame(maxDead+n)); !errors.Is(err, ErrRefused) {
					t.Fatalf("one too many: %v", err)
				}
			}
			if n := d.c.Streams(); n != maxDead || len(d.c.known) > maxDead {
				t.Errorf("%d streams, %d gaps", n, len(d.c.known))
			}
			// Once the client knows, and says so, there is room.
			plain(d.c.Plan(d.now, 1, &Answer{}, Limits{Bytes: 1 << 20}))
			var resets [][]byte
			for id := range d.c.streams {
				resets = append(resets, resetFrame(id, 0))
			}
			ack := appendAck(nil, ranges{{0, d.c.number}})
			if err := d.taken(2*maxDead, ack, slices.Concat(resets...)); err != nil {
				t.Fatal(err)
			}
			if d.c.Streams() != 0 || d.c.dead != 0 {
				t.Fatalf("%d streams are left, %d of them dead", d.c.Streams(), d.c.dead)
			}
			if err := d.taken(2*maxDead+1, frame(maxDead)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Ids with gaps are bounded, whether they are opened or reset.
func TestHostile79_GapsOfStreams(t *testing.T) {
	d := strange()
	for n := range uint64(maxSpans + 1) {
		err := d.taken(n, openFrame(2*n, 0, 0))
		if want := n == maxSpans; errors.Is(err, ErrProtocol) != want {
			t.Fatalf("after %d gaps: %v", n, err)
		}
	}
}

// The same of records.
func TestHostile79_GapsOfRecords(t *testing.T) {
	d := strange()
	for n := range uint64(maxSpans + 1) {
		err := d.taken(2*n, nil)
		if want := n == maxSpans; errors.Is(err, ErrProtocol) != want {
			t.Fatalf("after %d gaps: %v", n, err)
		}
	}
}

// A relay that brought one request again and again had the node remember an answer
// for each, while the client slept.
func TestHostile59_AnswersThatNobodyAcknowledges(t *testing.T) {
	d := strange()
	for range ReplayWindow + 100 {
		d.c.Plan(d.now, 1, &Answer{}, Limits{}).Release()
	}
	if n := d.c.Flying(); n != ReplayWindow {
		t.Errorf("%d records are remembered, %d may be", n, ReplayWindow)
	}
	if err := d.taken(0, appendAck(nil, ranges{{0, d.c.number}})); err != nil {
		t.Error(err)
	}
	if n := d.c.Flying(); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// What is given up for being so old goes again.
func TestHostile59_OldestGoesAgain(t *testing.T) {
	d := strange()
	if err := d.taken(0, openFrame(0, 0, 100)); err != nil {
		t.Fatal(err)
	}
	d.write(d.apps[0], 10)
	for range ReplayWindow {
		plain(d.c.Plan(d.now, 1, &Answer{}, Limits{Bytes: 1000}))
	}
	if d.c.Counts.Lost != 0 {
		t.Error("given up too early")
	}
	if m := d.c.Plan(d.now, 1, &Answer{}, Limits{Bytes: 1000}); d.c.Counts.Lost != 1 || m.Payload != 10 {
		t.Errorf("%d records given up, %d bytes sent", d.c.Counts.Lost, m.Payload)
	}
}

// A datagram that no record had room for, beside a large stream id, filled an
// answer with empty records.
func TestHostile79_LargestStream(t *testing.T) {
	d := strange()
	if err := d.taken(0, openFrame(maxStream+1, flagUDP, 0)); !errors.Is(err, ErrProtocol) {
		t.Errorf("the first id that is too large: %v", err)
	}
	if err := d.taken(1, openFrame(maxStream, flagUDP, 0)); err != nil {
		t.Fatal(err)
	}
	a := d.apps[maxStream]
	a.pkts = append(a.pkts, make([]byte, 65_507))
	a.s.Offer()
	if m := d.c.Plan(d.now, 1, &Answer{}, Limits{Bytes: 1 << 20}); m.Payload != 65_509 || len(m.records) > 3 {
		t.Errorf("%d bytes in %d records", m.Payload, len(m.records))
	}
}

// An answer to a request that came again took news of credit and of quotas along,
// though hardly anybody gets it.
func TestBareAnswerTakesNothing(t *testing.T) {
	d := strange()
	d.c.Report(1, 2)
	d.c.SetCredit(10_000_000)
	if err := d.taken(0, nil); err != nil {
		t.Fatal(err)
	}
	r := plain(d.c.Plan(d.now, 1, &Answer{}, Limits{}))
	if all, err := parseAll(r[0].plain); len(r) != 1 || err != nil || len(all) != 2 || all[0].kind != kindAnswer || all[1].kind != kindAck {
		t.Errorf("%d records, %+v, %v", len(r), all, err)
	}
	r = plain(d.c.Plan(d.now, 2, &Answer{}, Limits{Bytes: 1000}))
	if all, err := parseAll(r[0].plain); err != nil || len(all) != 4 || all[2].off != 10_000_000 || all[3].count != 2 {
		t.Errorf("the next one: %+v, %v", all, err)
	}
}

// Usages of more accounts than a record holds made it too large to be sealed, which
// ended the link.
func TestUsagesOfManyAccounts(t *testing.T) {
	d := strange()
	const n = 5000
	for tag := range uint64(n) {
		d.c.Report(tag, 1<<40)
	}
	var got []frame
	for _, limit := range []int{5_000, 1 << 20} {
		m := d.c.Plan(d.now, 1, &Answer{}, Limits{Bytes: limit})
		if m.SealedLen() > limit {
			t.Errorf("%d bytes, %d may be", m.SealedLen(), limit)
		}
		for _, r := range plain(m) {
			all, err := parseAll(r.plain)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, all...)
		}
	}
	if len(got) != n+2 {
		t.Errorf("%d of %d were told", len(got)-2, n)
	}
}

// Pieces of a byte each, the last one first, took minutes of work for a MiB.
func TestHostile67_EarlyPieces(t *testing.T) {
	d := strange()
	d.c.c.Early = buf.NewBudget(1 << 30)
	if err := d.taken(0, openFrame(0, 0, 0)); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(maxEarly + 1) {
		err := d.taken(1+n, dataFrame(0, maxEarly+1-n, "x"))
		if want := n == maxEarly; errors.Is(err, ErrRefused) != want {
			t.Fatalf("%d pieces: %v", n, err)
		}
	}
	for n, off := range []uint64{0, 1} {
		if err := d.taken(maxEarly+2+uint64(n), dataFrame(0, off, "x")); err != nil {
			t.Fatal(err)
		}
	}
	if s := d.apps[0].s; s.Received() != maxEarly+2 || d.c.c.Early.Used() != 0 {
		t.Errorf("%d bytes delivered, %d charged", s.Received(), d.c.c.Early.Used())
	}
}

// Of the memory for what came out of order a quarter stays free.
func TestEarlyLeavesAQuarter(t *testing.T) {
	d := strange()
	d.c.c.Early = buf.NewBudget(4096)
	if err := d.taken(0, openFrame(0, 0, 0)); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(8) {
		err := d.taken(1+n, dataFrame(0, 2+2*n, "x")) // 512 bytes each
		if want := n == 7; errors.Is(err, ErrRefused) != want {
			t.Fatalf("%d pieces: %v", n, err)
		}
	}
}

// A final size beyond the window, or with others beyond the credit, was passed
// over, and what it stood for never counted.
func TestHostile79_FinalSizes(t *testing.T) {
	for name, c := range map[string]struct {
		final, credit uint64
		open          bool
		bad           bool
	}{
		"the whole window":                {simWindow, 500_000, true, false},
		"beyond the window":               {simWindow + 1, 500_000, true, true},
		"of a stream that is not open":    {simWindow, 500_000, false, false},
		"beyond the window of such a one": {simWindow + 1, 500_000, false, true},
		"the whole credit":                {1000, 1000, true, false},
		"beyond the credit":               {1001, 1000, true, true},
		"beyond it, of one not open":      {1001, 1000, false, true},
	} {
		d := strange()
		d.c.credit = c.credit
		var open []byte
		if c.open {
			open = openFrame(0, 0, 0)
		}
		if err := d.taken(0, open, resetFrame(0, c.final)); errors.Is(err, ErrProtocol) != c.bad {
			t.Errorf("%s: %v", name, err)
		} else if !c.bad && d.c.received != c.final {
			t.Errorf("%s: %d bytes count", name, d.c.received)
		}
	}
}

// What is written after the end is given back, with its charge.
func TestWriteAfterTheEnd(t *testing.T) {
	d := newSim(quiet).client
	for name, end := range map[string]func(*Stream){
		"FIN":   (*Stream).CloseWrite,
		"reset": func(s *Stream) { s.Reset(Aborted, "") },
	} {
		s := d.c.Open("h", 1, false, false, 0)
		d.apps[s.ID()] = &app{s: s}
		end(s)
		d.write(d.apps[s.ID()], 1000)
		if n := d.unacked.Used(); n != 0 || s.Unsent() != 0 || d.c.unsent != 0 {
			t.Errorf("%s: %d bytes are charged, %d wait", name, n, s.Unsent())
		}
	}
}

// Idle streams are many. A plan took 0.6 ms for 10,000 of them.
func BenchmarkPlanIdle(b *testing.B) {
	for _, name := range []string{"client", "node"} {
		b.Run(name, func(b *testing.B) {
			m := newSim(quiet)
			d := m.node
			if name == "client" {
				d = m.client
			}
			for id := range uint64(10_000) {
				if d == m.node {
					_ = d.taken(id, openFrame(id, 0, 1000))
					continue
				}
				s := d.c.Open("h", 1, false, false, 1000)
				s.openAck, s.due = true, 0
			}
			d.c.control = nil
			for b.Loop() {
				d.c.Plan(d.now, 2, head(name == "client"), Limits{Bytes: 1 << 20}).Release()
				_ = d.c.takeAck(d.now, []span{{d.c.flying.first, d.c.flying.end()}})
			}
		})
	}
}
