package mux

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"relaymux/mux/buf"
)

func body(p []byte) *buf.Buf {
	b := buf.Body()
	b.B = append(b.B[:0], p...)
	return b
}

func (in *inbox) all() (p []byte) {
	for _, piece := range in.take(nil, 1<<30) {
		p = append(p, piece.p...)
		piece.b.Release()
	}
	return p
}

// At least half of the answer's buffer is kept with it; less is copied out, so
// that a small part of a large answer does not pin it.
func TestInboxHandOver(t *testing.T) {
	b := body(make([]byte, 1000))
	half := cap(b.B) / 2
	b.B = b.B[:cap(b.B)]
	for _, c := range []struct {
		n    int
		kept bool
	}{{half - 1, false}, {half, true}} {
		var in inbox
		in.put(0, b.B[:c.n], b)
		if kept := in.pieces[0].b == b; kept != c.kept {
			t.Errorf("%d of %d bytes: kept %v", c.n, cap(b.B), kept)
		}
		in.drop()
	}
	b.Release()
}

// Answers of two exchanges, cut anywhere and swapped, make one stream.
func TestInboxOrder(t *testing.T) {
	for range 300 {
		want := make([]byte, 200)
		for i := range want {
			want[i] = byte(rand.Uint32())
		}
		var cuts []int
		for at := 0; at < len(want); at += 1 + rand.IntN(30) {
			cuts = append(cuts, at)
		}
		var in inbox
		for _, i := range rand.Perm(len(cuts)) {
			end := len(want)
			if i+1 < len(cuts) {
				end = cuts[i+1]
			}
			b := body(want[cuts[i]:end])
			in.put(uint64(cuts[i]), b.B, b)
			if rand.IntN(4) == 0 { // the same once more
				in.put(uint64(cuts[i]), b.B, b)
			}
			b.Release()
		}
		if in.gap() {
			t.Fatal("a gap where none is")
		}
		in.finish(uint64(len(want)))
		if got := in.all(); !bytes.Equal(got, want) || !in.eof() || in.bytes != len(want) {
			t.Fatalf("%d bytes, want %d", len(got), len(want))
		}
	}
}

func TestInboxGap(t *testing.T) {
	var in inbox
	b := body([]byte("later"))
	defer b.Release()
	in.put(10, b.B, b)
	if !in.gap() || len(in.pieces) > 0 {
		t.Error("bytes with a hole before them were handed on")
	}
	if n := in.drop(); n != 5 || in.bytes != 0 {
		t.Errorf("dropped %d, %d are left", n, in.bytes)
	}
	in.finish(3)
	if in.eof() || !in.gap() {
		t.Error("an end before all has arrived")
	}
}

func TestInboxTakeSplits(t *testing.T) {
	var in inbox
	b := body(bytes.Repeat([]byte("x"), 100))
	in.put(0, b.B, b)
	b.Release()
	got := 0
	for got < 100 {
		for _, p := range in.take(nil, 30) {
			if len(p.p) > 30 {
				t.Fatalf("took %d bytes at once", len(p.p))
			}
			got += len(p.p)
			p.b.Release()
		}
	}
	if len(in.pieces) != 0 {
		t.Error("something is left")
	}
}

func TestOutbox(t *testing.T) {
	var o outbox
	for range 10 {
		o.add(buf.Copy([]byte("0123456789")))
	}
	if len(o.bufs) != 1 {
		t.Errorf("ten small writes take %d buffers", len(o.bufs))
	}
	o.add(buf.Copy(make([]byte, buf.Max)))
	if got, all := o.take(nil, 99); len(got) != 0 || all {
		t.Error("took more than there is room for")
	}
	got, all := o.take(nil, 100)
	if len(got) != 1 || all || len(got[0].B) != 100 || o.bytes != buf.Max || o.held != buf.Max+100 {
		t.Errorf("%d buffers, all %v", len(got), all)
	}
	o.split(1000)
	rest, all := o.take(nil, 1000)
	if len(rest) != 1 || len(rest[0].B) != 1000 || all {
		t.Error("a buffer larger than a body is not split")
	}
	o.drop()
	for _, b := range append(got, rest...) {
		b.Release()
	}
}
