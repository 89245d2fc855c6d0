package link

import "encoding/binary"

// The first byte of a message says what it is. The high bit is the direction.
const (
	KindHello       byte = 0x01 // up: the first message of a handshake
	KindRecords     byte = 0x02 // up: link id, exchange number, records
	KindPipe        byte = 0x03 // up: likewise, and records go on for as long as the request does
	KindHelloAnswer byte = 0x81 // down: the second message of a handshake
	KindAnswer      byte = 0x82 // down: records
	KindUnknown     byte = 0x83 // down: no such link. Nobody vouches for it: only a hint
	KindPiped       byte = 0x84 // down: records, which go on for as long as the answer does
)

// A LinkID is the name of a link, which the node chose at random. Relays see
// it; it gives them nothing.
type LinkID [16]byte

// RequestHead is the length of the head of a KindRecords or KindPipe message in bytes.
const RequestHead = 1 + len(LinkID{}) + 8

// KindOf is the first byte of a message, 0 of none.
func KindOf(body []byte) byte {
	if len(body) == 0 {
		return 0
	}
	return body[0]
}

// AppendRequestHead appends what stands before the records of one exchange.
func AppendRequestHead(dst []byte, id LinkID, exchange uint64) []byte {
	return appendHead(dst, KindRecords, id, exchange)
}

// AppendPipeHead is AppendRequestHead for a pipe.
func AppendPipeHead(dst []byte, id LinkID, exchange uint64) []byte {
	return appendHead(dst, KindPipe, id, exchange)
}

func appendHead(dst []byte, kind byte, id LinkID, exchange uint64) []byte {
	dst = append(append(dst, kind), id[:]...)
	return binary.BigEndian.AppendUint64(dst, exchange)
}

// ParseRequestHead takes the head off a KindRecords message. The records are
// part of body. It fails with ErrKind or ErrTruncated. That id and exchange
// are true shows only when the first record opens.
func ParseRequestHead(body []byte) (id LinkID, exchange uint64, records []byte, err error) {
	return parseHead(body, KindRecords)
}

// ParsePipeHead is ParseRequestHead for what a pipe begins with.
func ParsePipeHead(body []byte) (id LinkID, exchange uint64, records []byte, err error) {
	return parseHead(body, KindPipe)
}

func parseHead(body []byte, kind byte) (id LinkID, exchange uint64, records []byte, err error) {
	if KindOf(body) != kind {
		return id, 0, nil, ErrKind
	}
	if len(body) < RequestHead {
		return id, 0, nil, ErrTruncated
	}
	copy(id[:], body[1:])
	exchange = binary.BigEndian.Uint64(body[1+len(id):])
	return id, exchange, body[RequestHead:], nil
}

// AppendAnswerHead appends what stands before the records of an answer.
func AppendAnswerHead(dst []byte) []byte { return append(dst, KindAnswer) }

// AppendPipedHead appends what stands before the records that a pipe brings down.
func AppendPipedHead(dst []byte) []byte { return append(dst, KindPiped) }

// ParseAnswerHead takes the head off a KindAnswer message. The records are
// part of body. It fails with ErrKind.
func ParseAnswerHead(body []byte) (records []byte, err error) {
	if KindOf(body) != KindAnswer {
		return nil, ErrKind
	}
	return body[1:], nil
}

// NextRecord splits the first record off records, which is what is left of a
// message: for Open, without its length. Both results are parts of records.
// ErrTruncated means that records ends before the record does: of a message
// that is still coming, read on. ErrForged means a length that nothing sealed
// has; no more will help.
func NextRecord(records []byte) (record, rest []byte, err error) {
	if len(records) < 2 {
		return nil, nil, ErrTruncated
	}
	n := int(binary.BigEndian.Uint16(records))
	if n < RecordTag {
		return nil, nil, ErrForged
	}
	end := RecordHead + n
	if len(records) < end {
		return nil, nil, ErrTruncated
	}
	return records[2:end], records[end:], nil
}
