package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"testing"
)

// parseAll reads all frames of a record.
func parseAll(p []byte) (all []frame, err error) {
	r := reader{p: p}
	for {
		var f frame
		more, err := r.next(&f)
		if err != nil || !more {
			return all, err
		}
		all = append(all, f)
	}
}

func one(t *testing.T, p []byte) frame {
	t.Helper()
	all, err := parseAll(p)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d frames, %v", len(all), err)
	}
	return all[0]
}

func TestFramesComeBack(t *testing.T) {
	ask := Ask{Hold: 25_000, Keep: 3, Room: 16 << 20, Path: 1500, Reorder: 1000, Tag: 1 << 63, Floor: 77, Streams: 5, Next: 1<<40 + 1, Awaited: []uint64{0, 1, 9, 1 << 40}}
	if got := one(t, appendAsk(nil, &ask)).ask; !reflect.DeepEqual(got, ask) {
		t.Errorf("ask: %+v", got)
	}
	answer := Answer{Held: 1, Pending: 1 << 30, Floor: 3}
	if got := one(t, appendAnswer(nil, &answer)).answer; got != answer {
		t.Errorf("answer: %+v", got)
	}
	c := NewConn(Config{Client: true}, nil)
	s := c.Open("example.org", 443, true, true, 4711)
	if f := one(t, appendOpen(nil, s)); string(f.host) != "example.org" || f.port != 443 || f.flags != flagUDP|flagTell || f.off != 4711 {
		t.Errorf("open: %+v", f)
	}
	for _, a := range []netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")} {
		s.addr = a
		if f := one(t, appendOpened(nil, s)); !bytes.Equal(f.addr, a.AsSlice()) {
			t.Errorf("opened: %+v", f)
		}
	}
	s.out.code, s.out.detail, s.out.sent = 6, "name not found", 12
	if f := one(t, appendReset(nil, s)); f.code != 6 || string(f.detail) != "name not found" || f.off != 12 {
		t.Errorf("reset: %+v", f)
	}
}

func TestAckSpans(t *testing.T) {
	for _, got := range []ranges{
		{{0, 1}}, {{5, 6}}, {{0, 3}, {4, 5}}, {{0, 3}, {10, 20}, {22, 23}, {1 << 40, 1<<40 + 9}}, {{0, math.MaxUint64}},
	} {
		f := one(t, appendAck(nil, got))
		slices.Reverse(f.spans)
		if !slices.Equal(f.spans, got) {
			t.Errorf("%v came back as %v", got, f.spans)
		}
	}
	// As many spans as there may be, and one more: the oldest is left out.
	var many ranges
	for i := range uint64(maxAckSpans + 1) {
		many = append(many, span{3 * i, 3*i + 1})
	}
	if f := one(t, appendAck(nil, many)); len(f.spans) != maxAckSpans || f.spans[len(f.spans)-1].lo != 3 {
		t.Errorf("%d spans, the last %v", len(f.spans), f.spans[len(f.spans)-1])
	}
}

func TestBadFrames(t *testing.T) {
	for name, p := range map[string][]byte{
		"unknown kind":           {99},
		"no end of a number":     {byte(kindCredit), 0x80},
		"a number above 64 bits": {byte(kindCredit), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"data cut":               {byte(kindData), 0, 0, 5, 'a'},
		"data beyond the offset": append([]byte{byte(kindData), 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 1, 'x'),
		"ack below zero":         {byte(kindAck), 2, 3, 0, 3, 0},
		"ack of too much":        {byte(kindAck), 1, 3, 4},
		"address of 5 bytes":     {byte(kindOpened), 0, 5, 1, 2, 3, 4, 5},
		"host too long":          {byte(kindOpen), 0, 0, 0, 80, 0x80, 0x02},
	} {
		if _, err := parseAll(p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if all, err := parseAll([]byte{byte(kindPad), 99, 99}); err != nil || len(all) != 0 {
		t.Errorf("padding: %v, %v", all, err)
	}
}

// FuzzFrames: what is taken lies inside and within its limits, and is what its encoder
// makes of it. The same of the payloads of the handshake.
func FuzzFrames(f *testing.F) {
	f.Add(appendAsk(nil, &Ask{Awaited: []uint64{1, 2}}))
	f.Add(appendAck(nil, ranges{{0, 3}, {5, 6}}))
	f.Add([]byte{byte(kindEnd), 0, 0, 0, 2, 'h', 'i', byte(kindReset), 1, 2, 3, 0})
	f.Add(new(HelloParams).Append(nil))
	f.Add((&AnswerParams{Known: true, Age: 1 << 40, Window: 1 << 30}).Append(nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		all, _ := parseAll(p)
		for _, x := range all {
			if len(x.payload) > len(p) || len(x.host) > maxHost || len(x.detail) > maxDetail || x.stream > maxStream || len(x.ask.Awaited) > maxAwaited {
				t.Fatalf("%+v", x)
			}
			var back frame
			r := reader{p: encode(&x)}
			if more, err := r.next(&back); !more || err != nil || len(r.p) != 0 || fmt.Sprintf("%+v", back) != fmt.Sprintf("%+v", x) {
				t.Fatalf("%+v\nhas become %+v (%v), %d bytes left", x, back, err, len(r.p))
			}
			for d := x.payload; x.kind == kindDatagrams && len(d) > 0; {
				one, rest, err := nextDatagram(d)
				if err != nil {
					break
				}
				if len(one)+datagramHead+len(rest) != len(d) {
					t.Fatal("bytes are lost")
				}
				d = rest
			}
		}
		if h, err := ParseHelloParams(p); err == nil {
			if again, err := ParseHelloParams(h.Append(nil)); again != h || err != nil {
				t.Errorf("%+v has become %+v (%v)", h, again, err)
			}
		}
		if a, err := ParseAnswerParams(p); err == nil {
			if again, err := ParseAnswerParams(a.Append(nil)); again != a || err != nil {
				t.Errorf("%+v has become %+v (%v)", a, again, err)
			}
		}
	})
}

// encode writes a frame, as those do who send it.
func encode(x *frame) []byte {
	s := &Stream{id: x.stream, flags: x.flags, port: x.port, host: string(x.host)}
	s.in.limit, s.out.sent, s.out.code, s.out.detail = x.off, x.off, x.code, string(x.detail)
	s.addr, _ = netip.AddrFromSlice(x.addr)
	dst := []byte{byte(x.kind)}
	switch x.kind {
	case kindAsk:
		dst = appendAsk(nil, &x.ask)
		binary.BigEndian.PutUint16(dst[1:], x.ask.Records)
	case kindAnswer:
		dst = appendAnswer(nil, &x.answer)
		binary.BigEndian.PutUint16(dst[1:], x.answer.Records)
	case kindAck:
		got := slices.Clone(x.spans)
		slices.Reverse(got)
		dst = appendAck(nil, got)
	case kindCredit:
		dst = binary.AppendUvarint(dst, x.off)
	case kindOpen:
		dst = appendOpen(nil, s)
	case kindOpened:
		dst = appendOpened(nil, s)
	case kindData, kindEnd:
		dst = append(appendData(nil, s, x.off, len(x.payload), x.kind == kindEnd), x.payload...)
	case kindReset:
		dst = appendReset(nil, s)
	case kindWindow:
		dst = appendWindow(nil, s)
	case kindDatagrams:
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, x.stream), uint64(len(x.payload)))
		dst = append(dst, x.payload...)
	case kindUsage:
		dst = binary.AppendUvarint(binary.BigEndian.AppendUint64(dst, x.tag), x.count)
	}
	return dst
}

// Whatever authentic records a mad other end sends, a Conn does not panic, keeps
// to its memory, and its work is bounded by the record (HOSTILE 79).
func FuzzReceive(f *testing.F) {
	f.Add(true, []byte{byte(kindOpen), 0, 0, 0, 80, 1, 'h', 9, byte(kindData), 0, 0, 1, 'x'})
	f.Add(false, []byte{byte(kindOpen), 0, 0, 0, 80, 1, 'h', 9, byte(kindData), 0, 3, 1, 'x', byte(kindEnd), 0, 4, 0, 0})
	f.Add(false, []byte{byte(kindReset), 3, 0, 5, 0, byte(kindOpen), 3, 0, 0, 80, 1, 'h', 9})
	f.Fuzz(func(t *testing.T, client bool, p []byte) {
		m := newSim(func(int) int { return 0 })
		d := m.node
		if client {
			d = m.client
			for range 3 {
				s := d.c.Open("h", 1, false, false, 1000)
				d.apps[s.ID()] = &app{s: s}
			}
		}
		d.loose = true
		for n := uint64(0); len(p) > 0; n++ {
			k := min(len(p), 64)
			b := bufOf(p[:k])
			_, err := d.c.Receive(m.now, n, b)
			b.Release()
			if err != nil {
				break
			}
			p = p[k:]
		}
		plain(d.c.Plan(m.now, 1, head(client), Limits{Bytes: 1 << 20}))
		d.c.Close()
		if n := d.early.Used(); n != 0 {
			t.Fatalf("%d bytes are still charged", n)
		}
	})
}
