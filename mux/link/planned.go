package link

import (
	"slices"

	"relaymux/mux/buf"
)

// A Message is what goes into one body: frames with their numbers, and references
// to the payload, so that the bytes are copied and sealed elsewhere, while the
// Conn goes on. It is used once, by AppendSealed or Release.
type Message struct {
	Exchange uint64
	First    uint32 // the place of its first record in the exchange: not 0 where it follows others, in a pipe
	Plain    int    // bytes of its records, not yet sealed
	Payload  int    // of which bytes of streams and datagrams
	Ops      int
	records  []planned
	parts    []part
	arena    []byte
}

// planned is one record.
type planned struct {
	number   uint64
	from, to int // its parts
}

// A part is payload, or if b is nil the next n bytes of the arena.
type part struct {
	b *buf.Buf // owned
	p []byte
	n int
}

// Empty reports whether the message has nothing but its own head.
func (m *Message) Empty() bool { return m.Payload == 0 && m.Ops == 0 }

// Records is how many records it has.
func (m *Message) Records() int { return len(m.records) }

// SealedLen is how many bytes AppendSealed adds.
func (m *Message) SealedLen() int { return m.Plain + len(m.records)*(RecordHead+RecordTag) }

// AppendSealed appends the message's records to body, sealed, and lets go of what
// it refers to. s may be used by nobody else meanwhile.
func (m *Message) AppendSealed(body []byte, s *Sealer) ([]byte, error) {
	defer m.Release()
	body = slices.Grow(body, m.SealedLen())
	arena := m.arena
	for i, r := range m.records {
		start := len(body)
		body = append(body, make([]byte, RecordHead)...)
		for _, p := range m.parts[r.from:r.to] {
			if p.b == nil {
				body = append(body, arena[:p.n]...)
				arena = arena[p.n:]
				continue
			}
			body = append(body, p.p...)
		}
		var err error
		if body, err = s.Seal(body, start, m.Exchange, m.First+uint32(i), r.number); err != nil {
			return body, err
		}
	}
	return body, nil
}

// Release lets go of what the message refers to.
func (m *Message) Release() {
	for i := range m.parts {
		if b := m.parts[i].b; b != nil {
			b.Release()
			m.parts[i].b = nil
		}
	}
	m.parts, m.records, m.arena = nil, nil, nil
}
