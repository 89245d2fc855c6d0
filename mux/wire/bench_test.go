package wire

import "testing"

// 512 KiB of payload in 32 ops, as a busy batch has it.
func benchOps() (ops []Op, payload int64) {
	for range 32 {
		ops = append(ops, Op{Kind: Data, SID: []byte("0123456789ABCDEFGHIJKLMNOP"), Data: [][]byte{random(16 << 10)}, HasWSeq: true})
		payload += 16 << 10
	}
	return ops, payload
}

func BenchmarkEncodeBatch(b *testing.B) {
	ops, n := benchOps()
	body := AppendBatch(nil, "key", true, ops)
	b.SetBytes(n)
	b.ReportAllocs()
	for b.Loop() {
		body = AppendBatch(body[:0], "key", true, ops)
	}
}

func BenchmarkDecodeBatch(b *testing.B) {
	ops, n := benchOps()
	body := AppendBatch(nil, "key", false, ops)
	text := make([]byte, len(body))
	b.SetBytes(n)
	b.ReportAllocs()
	for b.Loop() {
		copy(text, body) // decoding in place destroys it
		e, err := ParseEnvelope(text)
		if err != nil {
			b.Fatal(err)
		}
		if ops, err = ParseOps(e.Ops, ops, 50); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeAnswer(b *testing.B) {
	ops, n := benchOps()
	results := make([]Result, len(ops))
	for i := range ops {
		results[i] = Result{SID: ops[i].SID, Data: ops[i].Data, HasOff: true, Off: 1 << 30}
	}
	body := AppendAnswer(nil, results)
	text := make([]byte, len(body))
	var a Answer
	b.SetBytes(n)
	b.ReportAllocs()
	for b.Loop() {
		copy(text, body)
		if err := ParseAnswer(text, &a, 50); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNoAllocs(t *testing.T) {
	ops, _ := benchOps()
	body := AppendBatch(nil, "key", true, ops)
	text := make([]byte, len(body))
	parsed := make([]Op, 0, 50)
	if n := testing.AllocsPerRun(20, func() { body = AppendBatch(body[:0], "key", true, ops) }); n != 0 {
		t.Errorf("encode: %v allocations", n)
	}
	if n := testing.AllocsPerRun(20, func() {
		copy(text, body)
		e, err := ParseEnvelope(text)
		if err == nil {
			parsed, err = ParseOps(e.Ops, parsed, 50)
		}
		if err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("decode: %v allocations", n)
	}
}
