package link

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Sizes of a Reader's buffer: of one that has not been trusted, which holds the
// first record of a pipe, and of one that has, which holds whole ones.
const (
	readerFirst = 4 << 10
	ReaderSize  = 128 << 10
)

// A Reader takes the records of a pipe off a stream of bytes. It takes little memory
// and none that are large until Grow.
type Reader struct {
	r     *bufio.Reader
	taken int // bytes of the last record
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, readerFirst)} }

// Grow has the Reader take ReaderSize bytes of memory, and all records.
func (r *Reader) Grow() { r.r = bufio.NewReaderSize(r.r, ReaderSize) }

// Kind reads the first byte of the pipe.
func (r *Reader) Kind() (byte, error) { return r.r.ReadByte() }

// Next returns the next record, for Opener.Open, without its length. It belongs
// to the Reader, until the next call. The error is the stream's, io.EOF only
// between two records; or ErrForged for a length that nothing sealed has.
func (r *Reader) Next() ([]byte, error) {
	_, _ = r.r.Discard(r.taken) // they are there
	r.taken = 0
	head, err := r.r.Peek(2)
	if err != nil {
		if len(head) > 0 {
			err = cut(err)
		}
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head))
	if n < RecordTag {
		return nil, ErrForged
	}
	record, err := r.r.Peek(RecordHead + n)
	if err != nil {
		return nil, cut(err)
	}
	r.taken = len(record)
	return record[2:], nil
}

// Ready reports whether Next has a whole record, and need not wait for it.
func (r *Reader) Ready() bool {
	if r.r.Buffered() < r.taken+2 {
		return false
	}
	head, _ := r.r.Peek(r.taken + 2)
	return r.r.Buffered() >= r.taken+RecordHead+int(binary.BigEndian.Uint16(head[r.taken:]))
}

func cut(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("in the middle of a record: %w", err)
}
