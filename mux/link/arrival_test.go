package link

import (
	"errors"
	"slices"
	"testing"
	"time"

	"relaymux/mux/buf"
)

// What a node takes in and what it does not: each limit, and one byte more.
func TestHostile79_LimitsOfBytes(t *testing.T) {
	const window = 10
	for name, c := range map[string]struct {
		credit uint64
		frames [][]byte
		bad    bool
	}{
		"the whole window":            {100, [][]byte{dataFrame(0, 9, "x")}, false},
		"beyond it":                   {100, [][]byte{dataFrame(0, 10, "x")}, true},
		"an end there":                {100, [][]byte{endFrame(0, 10, "")}, false},
		"beyond the end":              {100, [][]byte{endFrame(0, 2, ""), dataFrame(0, 2, "x")}, true},
		"up to the end":               {100, [][]byte{endFrame(0, 2, ""), dataFrame(0, 1, "x")}, false},
		"the same end":                {100, [][]byte{endFrame(0, 1, "x"), endFrame(0, 2, "")}, false},
		"a second end, behind":        {100, [][]byte{endFrame(0, 2, ""), endFrame(0, 3, "")}, true},
		"a second end, before":        {100, [][]byte{endFrame(0, 2, ""), endFrame(0, 1, "")}, true},
		"an end before what has come": {100, [][]byte{dataFrame(0, 1, "xx"), endFrame(0, 2, "")}, true},
		"an end at what has come":     {100, [][]byte{dataFrame(0, 1, "xx"), endFrame(0, 3, "")}, false},
		"the whole credit":            {5, [][]byte{dataFrame(0, 0, "xxx"), openFrame(1, 0, 0), dataFrame(1, 1, "x")}, false},
		"beyond it, with gaps":        {5, [][]byte{dataFrame(0, 0, "xxx"), openFrame(1, 0, 0), dataFrame(1, 2, "x")}, true},
		"the same bytes again":        {3, [][]byte{dataFrame(0, 0, "xxx"), dataFrame(0, 0, "xxx")}, false},
		"bytes for datagrams":         {100, [][]byte{openFrame(1, flagUDP, 0), dataFrame(1, 0, "x")}, true},
		"datagrams for bytes":         {100, [][]byte{{byte(kindDatagrams), 0, 3, 0, 1, 'x'}}, true},
		"a port of 0":                 {100, [][]byte{{byte(kindOpen), 1, 0, 0, 0, 1, 'h', 0}}, true},
		"no host":                     {100, [][]byte{{byte(kindOpen), 1, 0, 0, 80, 0, 0}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := strange()
			d.c.c.Window, d.c.credit = window, c.credit
			err := d.taken(0, append([][]byte{openFrame(0, 0, 0)}, c.frames...)...)
			if errors.Is(err, ErrProtocol) != c.bad || err != nil && !c.bad {
				t.Error(err)
			}
		})
	}
}

// To a client, the node may speak of streams that it has opened.
func TestHostile79_UnknownToClient(t *testing.T) {
	d := newSim(quiet).client
	d.loose = true
	s := d.c.Open("h", 1, false, false, 10)
	d.apps[0] = &app{s: s}
	for name, c := range map[string]struct {
		p   []byte
		bad bool
	}{
		"its own":               {dataFrame(0, 0, "x"), false},
		"one that it never had": {resetFrame(1, 0), true},
		"an open":               {openFrame(1, 0, 0), true},
		"an ask":                {appendAsk(nil, &Ask{}), true},
	} {
		if err := d.taken(uint64(len(name)), c.p); errors.Is(err, ErrProtocol) != c.bad {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// planned sends what there is, in one message.
func (d *side) planned(exchange uint64) []record {
	return plain(d.c.Plan(d.now, exchange, head(d.name == "client"), Limits{Bytes: 1 << 20}))
}

func TestHostile79_AckOfWhatWasNeverSent(t *testing.T) {
	d := strange()
	d.planned(1)
	if err := d.taken(0, appendAck(nil, ranges{{0, 2}})); !errors.Is(err, ErrProtocol) {
		t.Errorf("one too many: %v", err)
	}
	if err := d.taken(1, appendAck(nil, ranges{{0, 1}})); err != nil || d.c.Flying() != 0 {
		t.Errorf("%v, %d records are flying", err, d.c.Flying())
	}
}

// What is lost, by time: the record that is late by more than one that arrived, and
// not what came before or after.
func TestDetectLost(t *testing.T) {
	const late = time.Second
	for name, c := range map[string]struct {
		after time.Duration
		lost  uint64
	}{"not yet": {late - 1, 0}, "just": {late, 1}} {
		d := strange()
		begin := d.now
		d.planned(1)
		d.now = begin.Add(c.after / 2)
		d.planned(2)
		d.now = begin.Add(c.after)
		d.planned(3)
		if err := d.taken(0, appendAck(nil, ranges{{2, 3}})); err != nil {
			t.Fatal(err)
		}
		if err := d.taken(1, appendAck(nil, ranges{{1, 2}})); err != nil { // an older one does not set it back
			t.Fatal(err)
		}
		d.c.DetectLost(late)
		if d.c.Counts.Lost != c.lost {
			t.Errorf("%s: %d records lost", name, d.c.Counts.Lost)
		}
	}
}

// What is lost, by what a client awaits.
func TestAwaited(t *testing.T) {
	d := strange()
	for exchange := range uint64(6) {
		d.planned(exchange)
	}
	flying := func(want ...uint64) {
		t.Helper()
		var got []uint64
		for n := d.c.flying.first; n < d.c.flying.end(); n++ {
			if !d.c.flying.at(n).settled {
				got = append(got, n)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%v are awaited, want %v", got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%v are awaited, want %v", got, want)
			}
		}
	}
	d.c.Awaited(4, []uint64{1, 3})
	flying(1, 3, 4, 5)
	d.c.Awaited(3, nil) // an earlier one, late
	flying(1, 3, 4, 5)
	d.c.Awaited(4, []uint64{3})
	flying(3, 4, 5)
	d.c.Awaited(5, nil)
	flying(5)
}

// A little that waits does not pin the buffer of a whole record.
func TestLittleIsCopied(t *testing.T) {
	d := strange()
	if err := d.taken(0, openFrame(0, 0, 0), dataFrame(0, 1, "x")); err != nil {
		t.Fatal(err)
	}
	if n := d.early.Used(); n != 512 {
		t.Errorf("%d bytes are charged for one", n)
	}
	for size, want := range map[int]int64{buf.Max/2 - 1: buf.Max / 2, buf.Max / 2: buf.Max} {
		d = strange()
		half := dataFrame(0, 1, string(make([]byte, size)))
		if err := errors.Join(d.taken(0, openFrame(0, 0, 0), half), d.taken(1, half)); err != nil {
			t.Fatal(err)
		}
		if n := d.early.Used(); n != want {
			t.Errorf("%d bytes are charged for %d that came twice", n, size)
		}
	}
}

// Who gives a stream up while its bytes are brought gets no more of those that had
// waited.
func TestResetInTheMiddle(t *testing.T) {
	d := newSim(quiet).node // whose applications give up at once
	piece := func(off uint64) []byte {
		return dataFrame(0, off, string(want("client", 0, off, 1)))
	}
	if err := d.taken(0, openFrame(0, 0, 0), piece(2), piece(1), piece(0)); err != nil {
		t.Fatal(err)
	}
	if a := d.apps[0]; a.got != 1 || !a.gaveUp || d.early.Used() != 0 || d.c.Held() != 0 {
		t.Errorf("%d bytes came, %d are charged, %d held", a.got, d.early.Used(), d.c.Held())
	}
}

// A reset that comes when all was said and heard is nothing to tell of.
func TestResetAfterAll(t *testing.T) {
	d := strange()
	if err := d.taken(0, openFrame(0, 0, 100), endFrame(0, 0, "x")); err != nil {
		t.Fatal(err)
	}
	a := d.apps[0]
	a.s.CloseWrite()
	d.planned(1)
	if err := d.taken(1, resetFrame(0, 1), appendAck(nil, ranges{{0, 1}})); err != nil {
		t.Fatal(err)
	}
	if !a.reset || d.c.Streams() != 1 {
		t.Errorf("before it knew that all had come: reset %v, %d streams", a.reset, d.c.Streams())
	}
	d = strange()
	if err := d.taken(0, openFrame(0, 0, 100)); err != nil {
		t.Fatal(err)
	}
	a = d.apps[0]
	a.s.CloseWrite()
	d.planned(1)
	if err := d.taken(1, appendAck(nil, ranges{{0, 1}}), resetFrame(0, 0)); err != nil {
		t.Fatal(err)
	}
	if !a.reset || !a.over || d.c.Streams() != 0 {
		t.Errorf("of the half that was open: reset %v, over %v, %d streams", a.reset, a.over, d.c.Streams())
	}
}

// A window or a credit that got lost is low again, as if it had never been told; one
// that has arrived is not, nor one that an older record told less of.
func TestWindowLowAfterALoss(t *testing.T) {
	const window, much = 100, 1 << 20
	for name, c := range map[string]struct {
		acked, lost []uint64 // of two records
		low         bool
	}{
		"both came":      {[]uint64{0, 1}, nil, false},
		"in wrong order": {[]uint64{1, 0}, nil, false},
		"both lost":      {nil, []uint64{0, 1}, true},
		"the newer lost": {[]uint64{0}, []uint64{1}, true},
		"the older lost": {[]uint64{1}, []uint64{0}, false},
	} {
		for what, credit := range map[string]uint64{"window": much, "credit": window} {
			t.Run(name+", "+what, func(t *testing.T) {
				d := strange()
				d.c.c.Window = much + window - int(credit)
				d.c.credit, d.c.told, d.c.sure, d.c.allow = credit, credit, credit, credit
				if err := d.taken(0, openFrame(0, 0, 0), dataFrame(0, 0, string(make([]byte, window)))); err != nil {
					t.Fatal(err)
				}
				s := d.apps[0].s
				for i, n := range []int{window / 5 * 2, window / 5 * 3} {
					s.Consumed(n)
					if !d.c.WindowLow() {
						t.Fatalf("%d: it is not low", i)
					}
					d.planned(uint64(i))
				}
				for _, n := range c.acked {
					if err := d.taken(1+n, appendAck(nil, ranges{{n, n + 1}})); err != nil {
						t.Fatal(err)
					}
				}
				if i := slices.Max(append([]uint64{0}, c.acked...)); len(c.acked) > 0 {
					at := []uint64{140, 200}[i]
					if d.c.sure != at && what == "credit" || s.in.sure != at && what == "window" {
						t.Errorf("it is sure of %d and %d", d.c.sure, s.in.sure)
					}
				}
				for _, n := range c.lost {
					d.c.ExchangeEnded(n)
				}
				if d.c.WindowLow() != c.low {
					t.Errorf("low is %v", !c.low)
				}
			})
		}
	}
}
