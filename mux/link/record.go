package link

import (
	"io"

	"relaymux/mux/buf"
)

// A Record is one that has opened: its plaintext in B, which its holder owns.
type Record struct {
	Number uint64
	B      *buf.Buf
}

// Release lets go of all records of list.
func Release(list []Record) {
	for _, r := range list {
		r.B.Release()
	}
}

// A PipeReader opens the records of one direction of a pipe.
type PipeReader struct {
	*Reader
	opener   *Opener
	exchange uint64
	index    uint32 // of the next record
}

// NewPipeReader returns a PipeReader of r, of which room is as for a Reader.
func NewPipeReader(r io.Reader, room func() bool, o *Opener, exchange uint64) *PipeReader {
	return &PipeReader{Reader: NewReader(r, room), opener: o, exchange: exchange}
}

// Take returns the records that are there, one at least, most at most, which the
// caller owns, and how many bytes they were. There may be some beside an error,
// which is Next's, or ErrForged.
func (p *PipeReader) Take(most int) (list []Record, n int, err error) {
	for len(list) == 0 || len(list) < most && p.Ready() {
		sealed, err := p.Next()
		if err != nil {
			return list, n, err
		}
		b := buf.Get(max(0, len(sealed)-(RecordHead-2)-RecordTag))
		number, plain, err := p.opener.Open(b.B, sealed, p.exchange, p.index)
		if err != nil {
			b.Release()
			return list, n, err
		}
		b.B = plain
		p.index++
		n += len(sealed)
		list = append(list, Record{number, b})
	}
	return list, n, nil
}
