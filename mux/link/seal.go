package link

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"slices"
)

// Sizes of a record in bytes.
const (
	RecordHead = 2 + recordNumber // length and number
	RecordTag  = 16               // of either cipher
	// MaxPlain is the most that one record holds, its length being two bytes
	// that count the tag.
	MaxPlain = 1<<16 - 1 - RecordTag

	recordNumber = 8
)

// MaxRecords is how many records one direction of a link may seal: numbers
// are below it. A link ends before that, and a new handshake gives new keys.
//
// SP 800-38D section 8.3 stops at 2^32 where the nonce is random; ours is a
// counter, which needs no such limit, but no more is needed either: 2^32
// records take a year at 136 per second. What an observer may gain is bounded
// by 2(ql)^2/2^128 for q records of l blocks (RFC 9001 appendix B.1): 2^-39
// when each of them has 64 KiB. The 2^-57 that QUIC asks for is reached after
// 2^23 such records, 512 GiB. ChaCha20-Poly1305 has no limit that matters.
const MaxRecords = 1 << 32

// Errors of messages and records. What came from outside and is wrong in any
// way that a relay could bring about is one of the first four.
var (
	ErrKind      = errors.New("link: a message of another kind")
	ErrTruncated = errors.New("link: a message that ends too early")
	ErrForged    = errors.New("link: not sealed by the other end, or not for this place")
	ErrStranger  = errors.New("link: a hello that no known client sealed")
	// ErrVersion is said by the other end itself, sealed with the secret.
	ErrVersion   = errors.New("link: the other end speaks another version")
	ErrTooLarge  = errors.New("link: too large to seal")
	ErrExhausted = errors.New("link: the key has sealed all it may")
)

// Direction is which way a record goes.
type Direction byte

const (
	Up   Direction = 0 // client to node
	Down Direction = 1 // node to client
)

// A binding is what a record is sealed with beyond its key. It is kept from
// record to record, because what an interface is handed must live on the heap.
type binding struct {
	veil
	aead  *cipher.AEAD
	nonce [12]byte                        // four zeros, number
	place [1 + len(LinkID{}) + 8 + 4]byte // direction, link, exchange, index: the additional data
}

func (k *Keys) binding(d Direction) binding {
	b := binding{aead: k.aead(d)}
	b.place[0] = byte(d)
	copy(b.place[1:], k.id[:])
	return b
}

func (b *binding) put(exchange uint64, index uint32, number uint64) {
	binary.BigEndian.PutUint64(b.nonce[4:], number)
	at := b.place[1+len(LinkID{}):]
	binary.BigEndian.PutUint64(at, exchange)
	binary.BigEndian.PutUint32(at[8:], index)
}

// A Sealer seals the records of one direction. It is for one goroutine at a
// time. Several of them may share the keys: it is the caller who counts.
type Sealer struct{ binding }

// Sealer returns a new Sealer of direction d.
func (k *Keys) Sealer(d Direction) *Sealer { return &Sealer{k.binding(d)} }

// Seal makes a record, in place: body[start:start+RecordHead] is room for its
// head, what follows to the end of body is its plaintext. It returns body,
// which is longer by RecordTag; give it the capacity, for otherwise it moves.
//
// number must never come twice for one direction of a link: two records under
// one number give both of them away, and with AES-GCM the means to forge any
// other. index counts the records of the message from 0.
//
// It fails with ErrTooLarge beyond MaxPlain and ErrExhausted from MaxRecords
// on; body is untouched then.
func (s *Sealer) Seal(body []byte, start int, exchange uint64, index uint32, number uint64) ([]byte, error) {
	n := len(body) - start - RecordHead
	if n > MaxPlain {
		return body, ErrTooLarge
	}
	if number >= MaxRecords {
		return body, ErrExhausted
	}
	body = slices.Grow(body, RecordTag)
	s.put(exchange, index, number)
	head, plain := body[start:start+RecordHead], body[start+RecordHead:]
	binary.BigEndian.PutUint16(head, uint16(n+RecordTag))
	binary.BigEndian.PutUint64(head[2:], number)
	(*s.aead).Seal(plain[:0], s.nonce[:], plain, s.place[:])
	return body[:len(body)+RecordTag], nil
}

// An Opener opens the records of one direction. It is for one goroutine at a
// time; several of them may share the keys.
type Opener struct{ binding }

// Opener returns a new Opener of direction d.
func (k *Keys) Opener(d Direction) *Opener { return &Opener{k.binding(d)} }

// Open opens a record as NextRecord gave it, the index-th of its message,
// counted from 0. It does not know which numbers came before: ask a Replay,
// and only after Open, so that no forgery uses up a number.
//
// The plaintext is written over dst's capacity, from its start; it is
// allocated if len(record) does not fit. dst must not overlap record. With a
// nil dst the plaintext is written over the record itself, and is a part of
// it. Where it fails, with ErrForged, what it has written to is worthless.
func (o *Opener) Open(dst, record []byte, exchange uint64, index uint32) (number uint64, plain []byte, err error) {
	if len(record) < recordNumber+RecordTag {
		return 0, nil, ErrForged
	}
	number = binary.BigEndian.Uint64(record)
	if number >= MaxRecords {
		return 0, nil, ErrForged
	}
	sealed := record[recordNumber:]
	if dst == nil {
		dst = sealed
	}
	o.put(exchange, index, number)
	plain, err = (*o.aead).Open(dst[:0], o.nonce[:], sealed, o.place[:])
	if err != nil {
		return 0, nil, ErrForged
	}
	return number, plain, nil
}
