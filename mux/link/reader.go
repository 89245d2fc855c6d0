package link

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Sizes of a Reader's buffer: at first, for what most who only ask ever say, and of
// one that has seen a record that does not fit into that.
const (
	readerFirst = 4 << 10
	ReaderSize  = 128 << 10
)

// ErrRoom is a Reader's, for a record that there is no memory for.
var ErrRoom = errors.New("link: no room for a record")

// A Reader takes the records of a pipe off a stream of bytes.
type Reader struct {
	r     *bufio.Reader
	taken int // bytes of the last record
	room  func() bool
}

// NewReader returns a Reader of r. It calls room, if that is not nil, before it takes
// ReaderSize bytes of memory, once: false is that they are not there.
func NewReader(r io.Reader, room func() bool) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, readerFirst), room: room}
}

// Kind reads the first byte of the pipe.
func (r *Reader) Kind() (byte, error) { return r.r.ReadByte() }

// Next returns the next record, for Opener.Open, without its length. It belongs
// to the Reader, until the next call. The error is the stream's, io.EOF only
// between two records; or ErrForged for a length that nothing sealed has; or ErrRoom.
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
	if RecordHead+n > r.r.Size() {
		if r.room != nil && !r.room() {
			return nil, ErrRoom
		}
		r.r = bufio.NewReaderSize(r.r, ReaderSize)
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
