package link

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// sealedRecords are records of these sizes, one after another.
func sealedRecords(t *testing.T, k *Keys, sizes ...int) (all []byte) {
	t.Helper()
	s := k.Sealer(Up)
	for i, size := range sizes {
		all = seal(t, s, all, make([]byte, size), 7, uint32(i), uint64(i))
	}
	return all
}

// A Reader gives records as they were, however their bytes come; a cut one is an
// error, and an end between two is the end.
func TestReader(t *testing.T) {
	k := keysOf(t, cipherAES)
	sizes := []int{0, 1, 100, MaxPlain, 3, MaxPlain, MaxPlain, MaxPlain, MaxPlain, 0}
	all := sealedRecords(t, k, sizes...)
	for name, from := range map[string]func(io.Reader) io.Reader{
		"at once": func(r io.Reader) io.Reader { return r }, "in bytes": iotest.OneByteReader, "in halves": iotest.HalfReader,
	} {
		r, o := NewReader(from(bytes.NewReader(all)), nil), k.Opener(Up)
		for i, size := range sizes {
			record, err := r.Next()
			if err != nil {
				t.Fatalf("%s: record %d: %v", name, i, err)
			}
			if _, plain, err := o.Open(make([]byte, 0, len(record)), record, 7, uint32(i)); err != nil || len(plain) != size {
				t.Fatalf("%s: record %d: %d bytes, %v", name, i, len(plain), err)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("%s: %v at the end", name, err)
		}
	}
	// Memory is asked for at the first that does not fit, and once.
	const fits = readerFirst - RecordHead - RecordTag
	asked := 0
	r := NewReader(bytes.NewReader(sealedRecords(t, k, fits, fits+1, MaxPlain, fits)), func() bool { asked++; return true })
	for i, want := range []int{0, 1, 1, 1} {
		if _, err := r.Next(); err != nil || asked != want {
			t.Errorf("record %d: asked %d times, %v", i, asked, err)
		}
	}
	r = NewReader(bytes.NewReader(sealedRecords(t, k, fits+1)), func() bool { return false })
	if _, err := r.Next(); err != ErrRoom {
		t.Errorf("without room: %v", err)
	}
	for n := 1; n < RecordHead+RecordTag; n++ {
		if _, err := NewReader(bytes.NewReader(all[:n]), nil).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	if _, err := NewReader(bytes.NewReader([]byte{0, RecordTag - 1, 1, 2, 3}), nil).Next(); err != ErrForged {
		t.Errorf("a record too short for a tag: %v", err)
	}
}

// Ready says whether Next would wait.
func TestReaderReady(t *testing.T) {
	k := keysOf(t, cipherAES)
	all := sealedRecords(t, k, 10, 10)
	one := len(all) / 2
	for n := one; n <= len(all); n++ {
		r := NewReader(bytes.NewReader(all[:n]), nil)
		if r.Ready() {
			t.Fatal("ready before anything was read")
		}
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		if r.Ready() != (n == len(all)) {
			t.Errorf("ready is %v with %d bytes of the next record", r.Ready(), n-one)
		}
	}
}
