package relaytest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"

	"relaymux/mux/link"
)

// A meddler changes messages by chance.
type meddler struct {
	mu      sync.Mutex
	rnd     *rand.Rand
	oneIn   int
	whole   bool // what is changed is the body, not the message in it
	change  func(m *meddler, message []byte) []byte
	kept    [][]byte // earlier messages, for change
	touched int
	on      bool
}

// meddle is a hook.
func (m *meddler) meddle(_ string, body []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	message := body
	if !m.whole {
		message = messageOf(body)
	}
	if len(message) == 0 || !m.whole && !isRecords(message) {
		return nil
	}
	message = bytes.Clone(message)
	m.kept = append(m.kept, message)
	if !m.on || !oneIn(m.oneIn, m.rnd) {
		return nil
	}
	changed := m.change(m, bytes.Clone(message))
	if changed == nil || bytes.Equal(changed, message) {
		return nil
	}
	m.touched++
	if m.whole {
		return changed
	}
	return withMessage(body, changed)
}

func isRecords(m []byte) bool {
	k := link.KindOf(m)
	return k == link.KindRecords || k == link.KindAnswer
}

func (m *meddler) set(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on = on
}

// changed is how many it changed.
func (m *meddler) changed() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.touched
}

// flipped flips a bit anywhere.
func flipped(m *meddler, p []byte) []byte {
	p[m.rnd.IntN(len(p))] ^= 1 << m.rnd.IntN(8)
	return p
}

// cutOff ends anywhere.
func cutOff(m *meddler, p []byte) []byte { return p[:m.rnd.IntN(len(p))] }

// older is one that was there before.
func older(m *meddler, _ []byte) []byte {
	return m.kept[m.rnd.IntN(max(1, len(m.kept)-1))]
}

// headOf is how much of a message stands before its records.
func headOf(p []byte) int {
	if link.KindOf(p) == link.KindRecords {
		return link.RequestHead
	}
	return 1
}

// recordsOf splits a message into its head and its records.
func recordsOf(p []byte) (head []byte, records [][]byte) {
	head, p = p[:headOf(p)], p[headOf(p):]
	for len(p) > 2 {
		n := link.RecordHead + int(binary.BigEndian.Uint16(p))
		if n > len(p) {
			break
		}
		records, p = append(records, p[:n]), p[n:]
	}
	return head, records
}

// joined is the other way round.
func joined(head []byte, records [][]byte) []byte {
	return append(bytes.Clone(head), bytes.Join(records, nil)...)
}

// swapped has two records in each other's place.
func swapped(m *meddler, p []byte) []byte {
	head, rs := recordsOf(p)
	if len(rs) < 2 {
		return nil
	}
	i := m.rnd.IntN(len(rs) - 1)
	rs[i], rs[i+1] = rs[i+1], rs[i]
	return joined(head, rs)
}

// doubled has one of the records twice.
func doubled(m *meddler, p []byte) []byte {
	head, rs := recordsOf(p)
	if len(rs) == 0 {
		return nil
	}
	return joined(head, slices.Insert(rs, m.rnd.IntN(len(rs)), rs[m.rnd.IntN(len(rs))]))
}

// without leaves a record out.
func without(m *meddler, p []byte) []byte {
	head, rs := recordsOf(p)
	if len(rs) < 2 {
		return nil
	}
	i := m.rnd.IntN(len(rs))
	return joined(head, slices.Delete(rs, i, i+1))
}

// mixed begins with the records of an earlier message, with its own head.
func mixed(m *meddler, p []byte) []byte {
	head, rs := recordsOf(p)
	_, old := recordsOf(m.kept[m.rnd.IntN(len(m.kept))])
	if len(old) == 0 {
		return nil
	}
	return joined(head, append(slices.Clone(old[:1]), rs...))
}

// moved gives a request another exchange's number.
func moved(m *meddler, p []byte) []byte {
	if link.KindOf(p) != link.KindRecords {
		return nil
	}
	at := p[link.RequestHead-8:]
	binary.BigEndian.PutUint64(at, binary.BigEndian.Uint64(at)+uint64(m.rnd.IntN(20))-10)
	return p
}
