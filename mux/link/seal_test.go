package link

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

var bothCiphers = map[string]byte{"AES-256-GCM": cipherAES, "ChaCha20-Poly1305": cipherChaCha}

// keysOf returns keys for either end.
func keysOf(t testing.TB, c byte) *Keys {
	t.Helper()
	k, err := newKeys(c, testID, [32]byte{1}, [32]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	return &k
}

func randomBytes(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	return p
}

// seal appends one record to body.
func seal(t testing.TB, s *Sealer, body, plain []byte, exchange uint64, index uint32, number uint64) []byte {
	t.Helper()
	start := len(body)
	body = append(append(body, make([]byte, RecordHead)...), plain...)
	body, err := s.Seal(body, start, exchange, index, number)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestSealRoundTrip(t *testing.T) {
	for name, c := range bothCiphers {
		k := keysOf(t, c)
		up, open := k.Sealer(Up), k.Opener(Up)
		plains := [][]byte{nil, {1}, randomBytes(15), randomBytes(16), randomBytes(1000), randomBytes(MaxPlain - 1), randomBytes(MaxPlain)}
		body := AppendRequestHead(nil, k.ID(), 9)
		for i, plain := range plains {
			before := bytes.Clone(body)
			body = seal(t, up, body, plain, 9, uint32(i), uint64(100+i))
			if !bytes.Equal(body[:len(before)], before) {
				t.Fatal("Seal has changed what stood before")
			}
			if want := len(before) + RecordHead + len(plain) + RecordTag; len(body) != want {
				t.Fatalf("%d bytes, want %d", len(body), want)
			}
		}
		for _, inPlace := range []bool{false, true} {
			body := bytes.Clone(body)
			id, exchange, rest, err := ParseRequestHead(body)
			if err != nil || id != k.ID() || exchange != 9 {
				t.Fatal(id, exchange, err)
			}
			for i, want := range plains {
				var record, dst []byte
				if record, rest, err = NextRecord(rest); err != nil {
					t.Fatal(err)
				}
				if !inPlace {
					dst = make([]byte, 3, len(record))
				}
				after := bytes.Clone(rest)
				number, plain, err := open.Open(dst, record, exchange, uint32(i))
				if err != nil || number != uint64(100+i) || !bytes.Equal(plain, want) {
					t.Fatalf("%s, record %d: number %d, %d bytes, %v", name, i, number, len(plain), err)
				}
				if !bytes.Equal(rest, after) {
					t.Fatal("Open has changed what stands behind")
				}
				if len(plain) > 0 && inPlace != (&plain[0] == &record[recordNumber]) {
					t.Error("written elsewhere than asked")
				}
				if !inPlace && len(plain) > 0 && &plain[0] != &dst[0] {
					t.Error("allocated, though there was room")
				}
			}
			if len(rest) != 0 {
				t.Error(len(rest), "bytes are left")
			}
		}
	}
}

// A body without room for the tag moves, and is whole.
func TestSealMoves(t *testing.T) {
	k := keysOf(t, cipherAES)
	body := append([]byte("head0123456789"), "plain"...)
	body, err := k.Sealer(Up).Seal(body[:len(body):len(body)], 4, 1, 2, 3)
	if err != nil || string(body[:4]) != "head" {
		t.Fatal(body, err)
	}
	record, _, err := NextRecord(body[4:])
	if err != nil {
		t.Fatal(err)
	}
	if n, plain, err := k.Opener(Up).Open(nil, record, 1, 2); n != 3 || string(plain) != "plain" || err != nil {
		t.Error(n, plain, err)
	}
}

// What a record is bound to. Anything else than the place it was sealed for
// does not open it.
func TestSealBound(t *testing.T) {
	for name, c := range bothCiphers {
		k := keysOf(t, c)
		body := seal(t, k.Sealer(Up), nil, []byte("plain"), 7, 3, 42)
		record, _, err := NextRecord(body)
		if err != nil {
			t.Fatal(err)
		}
		otherLink := keysOf(t, c)
		otherLink.id[15]++
		sameKey := keysOf(t, c) // as if both directions had one key
		sameKey.down = sameKey.up
		otherKey := keysOf(t, c)
		otherKey.up = otherKey.down
		for what, try := range map[string]struct {
			o        *Opener
			exchange uint64
			index    uint32
			ok       bool
		}{
			"where it belongs":     {k.Opener(Up), 7, 3, true},
			"another exchange":     {k.Opener(Up), 8, 3, false},
			"a far exchange":       {k.Opener(Up), 7 + 1<<63, 3, false},
			"another index":        {k.Opener(Up), 7, 2, false},
			"a far index":          {k.Opener(Up), 7, 3 + 1<<31, false},
			"another link":         {otherLink.Opener(Up), 7, 3, false},
			"the other direction":  {k.Opener(Down), 7, 3, false},
			"turned round":         {sameKey.Opener(Down), 7, 3, false},
			"another link's key":   {otherKey.Opener(Up), 7, 3, false},
			"where it belongs too": {sameKey.Opener(Up), 7, 3, true},
		} {
			_, _, err := try.o.Open(make([]byte, 0, 64), record, try.exchange, try.index)
			if try.ok && err != nil || !try.ok && err != ErrForged {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		for i := range body {
			for bit := range 8 {
				bad := bytes.Clone(body)
				bad[i] ^= 1 << bit
				record, _, err := NextRecord(bad)
				if err == nil {
					_, _, err = k.Opener(Up).Open(nil, record, 7, 3)
				}
				if err != ErrForged && !(i < 2 && err == ErrTruncated) {
					t.Errorf("%s, byte %d, bit %d: %v", name, i, bit, err)
				}
			}
		}
	}
}

// Records that have changed places in a message, or of two messages.
func TestSealSwapped(t *testing.T) {
	k := keysOf(t, cipherAES)
	s, o := k.Sealer(Down), k.Opener(Down)
	var records [2][]byte
	for i := range records {
		records[i], _, _ = NextRecord(seal(t, s, nil, []byte("same size"), 5, uint32(i), uint64(i)))
	}
	for i := range records {
		if _, _, err := o.Open(make([]byte, 64), records[1-i], 5, uint32(i)); err != ErrForged {
			t.Error("swapped:", err)
		}
		if _, _, err := o.Open(make([]byte, 64), records[i], 5, uint32(i)); err != nil {
			t.Error("in place:", err)
		}
	}
}

func TestSealLimits(t *testing.T) {
	k := keysOf(t, cipherChaCha)
	s, o := k.Sealer(Up), k.Opener(Up)
	body := make([]byte, RecordHead+MaxPlain+1)
	if got, err := s.Seal(body, 0, 1, 0, 0); err != ErrTooLarge || len(got) != len(body) {
		t.Error(len(got), err)
	}
	body = make([]byte, RecordHead)
	for _, n := range []uint64{MaxRecords, 1<<64 - 1} {
		if got, err := s.Seal(body, 0, 1, 0, n); err != ErrExhausted || !bytes.Equal(got, body) {
			t.Error(n, got, err)
		}
	}
	last := seal(t, s, nil, nil, 1, 0, MaxRecords-1)
	record, _, _ := NextRecord(last)
	if n, _, err := o.Open(nil, record, 1, 0); n != MaxRecords-1 || err != nil {
		t.Error(n, err)
	}
	// Sealed by somebody who has the key and does not keep to it.
	s.put(1, 0, MaxRecords)
	beyond := (*s.aead).Seal([]byte{0, 0, 0, 1, 0, 0, 0, 0}, s.nonce[:], nil, s.place[:])
	if _, _, err := o.Open(nil, beyond, 1, 0); err != ErrForged {
		t.Error(err)
	}
}

func TestRecordsTruncated(t *testing.T) {
	k := keysOf(t, cipherAES)
	body := seal(t, k.Sealer(Down), nil, randomBytes(50), 1, 0, 0)
	for n := range body {
		if _, _, err := NextRecord(body[:n]); err != ErrTruncated {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	if _, _, err := k.Opener(Down).Open(nil, body[2:2+recordNumber+RecordTag-1], 1, 0); err != ErrForged {
		t.Error("shorter than a tag:", err)
	}
	for n, want := range map[byte]error{15: ErrForged, 16: nil} {
		record := make([]byte, RecordHead+int(n))
		record[1] = n
		if _, _, err := NextRecord(record); err != want {
			t.Errorf("length %d: %v", n, err)
		}
	}
}

func TestMessageHeads(t *testing.T) {
	body := AppendRequestHead([]byte{9}, testID, 1<<63+5)[1:]
	body = append(body, "records"...)
	id, exchange, records, err := ParseRequestHead(body)
	if id != testID || exchange != 1<<63+5 || string(records) != "records" || err != nil {
		t.Error(id, exchange, records, err)
	}
	for n := range body {
		want := ErrTruncated
		if n == 0 {
			want = ErrKind
		}
		if _, _, _, err := ParseRequestHead(body[:n]); n < RequestHead && err != want || n >= RequestHead && err != nil {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	records, err = ParseAnswerHead(append(AppendAnswerHead(nil), "records"...))
	if string(records) != "records" || err != nil {
		t.Error(records, err)
	}
	for _, kind := range []byte{0, KindHello, KindRecords, KindHelloAnswer, KindAnswer, KindUnknown, 0xff} {
		body[0] = kind
		if KindOf(body) != kind {
			t.Error(KindOf(body))
		}
		if _, _, _, err := ParseRequestHead(body); (err == nil) != (kind == KindRecords) {
			t.Errorf("request of kind %#x: %v", kind, err)
		}
		if _, err := ParseAnswerHead(body); (err == nil) != (kind == KindAnswer) {
			t.Errorf("answer of kind %#x: %v", kind, err)
		}
	}
	if _, err := ParseAnswerHead(nil); err != ErrKind {
		t.Error(err)
	}
}

func TestSealAllocs(t *testing.T) {
	for name, c := range bothCiphers {
		k := keysOf(t, c)
		s, o := k.Sealer(Up), k.Opener(Up)
		var replay Replay
		replay.Fresh(0)
		buffer, dst := make([]byte, RecordHead+8192+RecordTag), make([]byte, 0, 8192)
		var number uint64
		if n := testing.AllocsPerRun(100, func() {
			number++
			body, err := s.Seal(buffer[:RecordHead+8192], 0, number, 1, number)
			if err != nil {
				t.Fatal(err)
			}
			record, _, err := NextRecord(body)
			if err != nil {
				t.Fatal(err)
			}
			if number%2 == 0 {
				dst = nil
			}
			if n, _, err := o.Open(dst, record, number, 1); err != nil || !replay.Fresh(n) {
				t.Fatal(n, err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// FuzzRecords: whatever comes, nothing panics, nothing opens that was not sealed for its
// place, and a stream of records, in whatever pieces it comes, has the same in it as a
// message.
func FuzzRecords(f *testing.F) {
	k, err := newKeys(cipherChaCha, testID, [32]byte{1}, [32]byte{2})
	if err != nil {
		f.Fatal(err)
	}
	const exchange = 3
	one := seal(f, k.Sealer(Up), AppendRequestHead(nil, testID, exchange), []byte("one"), exchange, 0, 0)
	two := seal(f, k.Sealer(Up), one, []byte("two"), exchange, 1, 1)
	f.Add(one, uint16(1))
	f.Add(two, uint16(9))
	f.Add(append(AppendPipeHead(nil, testID, exchange), two[RequestHead:]...), uint16(30))
	f.Add(append(slices.Clone(one), 0xff, 0xff, 1), uint16(2))
	f.Add([]byte{KindRecords}, uint16(0))
	f.Fuzz(func(t *testing.T, body []byte, step uint16) {
		_, at, rest, err := ParseRequestHead(body)
		if err != nil {
			_, at, rest, err = ParsePipeHead(body)
		}
		if err != nil {
			return
		}
		stream := bytes.Clone(rest)
		o := k.Opener(Up)
		var opened []string
		for i := uint32(0); len(rest) > 0; i++ {
			before := len(rest)
			var record []byte
			if record, rest, err = NextRecord(rest); err != nil {
				break
			}
			if len(record)+2+len(rest) != before {
				t.Fatal("bytes are lost")
			}
			var plain []byte
			if _, plain, err = o.Open(make([]byte, 0, len(record)), record, at, i); err != nil {
				break
			}
			opened = append(opened, string(plain))
		}
		if want := []string{"one", "two"}; len(opened) > 2 || !slices.Equal(opened, want[:len(opened)]) || len(opened) > 0 && at != exchange {
			t.Errorf("opened %q", opened)
		}
		asked := 0
		p := NewPipeReader(pieces{bytes.NewReader(stream), int(step) + 1}, func() bool { asked++; return true }, k.Opener(Up), at)
		var piped []string
		for pipeErr := error(nil); pipeErr == nil; {
			var list []Record
			list, _, pipeErr = p.Take(2)
			for _, r := range list {
				piped = append(piped, string(r.B.B))
			}
			Release(list)
			if pipeErr != nil && ((err == nil) != (pipeErr == io.EOF) || errors.Is(err, ErrTruncated) != errors.Is(pipeErr, io.ErrUnexpectedEOF)) {
				t.Errorf("a message: %v; a stream: %v", err, pipeErr)
			}
		}
		if !slices.Equal(piped, opened) || asked > 1 {
			t.Errorf("a message: %q; a stream: %q, which asked for memory %d times", opened, piped, asked)
		}
	})
}

// pieces is a stream that comes in pieces of n bytes.
type pieces struct {
	r io.Reader
	n int
}

func (p pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.n)]) }

func BenchmarkSealOpen(b *testing.B) {
	for name, c := range bothCiphers {
		for _, size := range []int{64, 1200, MaxPlain} {
			b.Run(fmt.Sprint(name, "/", size), func(b *testing.B) {
				k := keysOf(b, c)
				s, o := k.Sealer(Down), k.Opener(Down)
				buffer := make([]byte, RecordHead+size+RecordTag)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				var number uint64
				for b.Loop() {
					number++
					body, err := s.Seal(buffer[:RecordHead+size], 0, 1, 0, number)
					if err != nil {
						b.Fatal(err)
					}
					if _, _, err := o.Open(nil, body[2:], 1, 0); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
