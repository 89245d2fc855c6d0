package dns

import (
	"encoding/binary"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Codes of RFC 1035, section 4.1.1.
const (
	success        = 0
	formatError    = 1
	serverFailure  = 2
	nameError      = 3
	notImplemented = 4
)

// Record types and what else has a number (RFC 1035, 1995, 5936, 6891).
const (
	typeSOA  = 6
	typeOPT  = 41
	typeIXFR = 251
	typeAXFR = 252

	flagResponse  = 1 << 15
	flagTruncated = 1 << 9
	flagRecursion = 1 << 8 // desired
	flagAvailable = 1 << 7 // recursion
	flagAuthentic = 1 << 5
	flagUnchecked = 1 << 4
	opMask        = 0xf << 11

	dnssecOK = 1 << 15 // in the TTL of OPT
)

const (
	headerLen = 12
	optLen    = 11 // without options

	leastSize = 512  // that any program takes by UDP
	ourSize   = 1232 // that we say in OPT (RFC 9715, appendix A)
)

// A query is what a program asks, as far as it is passed on: a question, a few flags,
// and whether it knows EDNS. Options of EDNS are not, for they tell who asks.
type query struct {
	id    uint16
	op    uint16 // the kind of query, where the flags have it
	flags uint16 // of those that the server is told
	raw   []byte // the question as it was written: labels, type, class
	edns  bool
	do    bool // DNSSEC records are wanted
	size  int  // bytes of an answer by UDP
}

// passed are the flags that the server is told.
const passed = flagRecursion | flagAuthentic | flagUnchecked

// parseQuery takes msg apart. What it cannot answer has a code; what nobody may answer,
// for it is no query, reports false. q.raw is a part of msg.
func parseQuery(msg []byte) (q *query, code int, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.Response {
		return nil, 0, false
	}
	flags := binary.BigEndian.Uint16(msg[2:])
	q = &query{id: h.ID, op: flags & opMask, flags: flags & passed, size: leastSize}
	if h.OpCode != 0 {
		return q, notImplemented, true
	}
	asked, err := p.Question()
	if err != nil {
		return q, formatError, true
	}
	if _, err := p.Question(); err != dnsmessage.ErrSectionDone {
		return q, formatError, true
	}
	end, plain := skipName(msg, headerLen)
	if !plain || end+4 > len(msg) { // a pointer has nothing to point to
		return q, formatError, true
	}
	q.raw = msg[headerLen : end+4]
	if asked.Type == typeAXFR || asked.Type == typeIXFR {
		return q, notImplemented, true
	}
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return q, formatError, true
	}
	for {
		r, err := p.AdditionalHeader()
		if err == dnsmessage.ErrSectionDone {
			return q, success, true
		}
		if err != nil || p.SkipAdditional() != nil {
			return q, formatError, true
		}
		if r.Type == typeOPT {
			q.edns, q.do, q.size = true, r.TTL&dnssecOK != 0, max(leastSize, int(r.Class))
		}
	}
}

// key is the same for queries that have the same answer.
func (q *query) key() string {
	tail := []byte{byte(q.flags >> 8), byte(q.flags), 0}
	if q.edns {
		tail[2] |= 1
	}
	if q.do {
		tail[2] |= 2
	}
	return lower(q.raw) + string(tail)
}

// lower is a question in lower case. The lengths of labels are below the letters, and
// type and class stay as they are.
func lower(raw []byte) string {
	b := []byte(string(raw))
	for i := range len(b) - 4 {
		if 'A' <= b[i] && b[i] <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}

// name is for the log.
func (q *query) name() string {
	var labels []string
	for b := q.raw; b[0] != 0; b = b[1+b[0]:] {
		labels = append(labels, string(b[1:1+b[0]]))
	}
	return strings.Join(labels, ".")
}

// request is the message to the server, behind its length (RFC 7766, section 8).
func (q *query) request(id uint16) []byte {
	m := q.message(make([]byte, 2, 2+headerLen+len(q.raw)+optLen), id, q.flags)
	binary.BigEndian.PutUint16(m, uint16(len(m)-2))
	return m
}

// verdict is an answer without records: a code, or that the answer was cut.
func (q *query) verdict(code int, truncated bool) []byte {
	flags := flagResponse | flagAvailable | q.op | q.flags&^flagAuthentic | uint16(code)
	if truncated {
		flags |= flagTruncated
	}
	return q.message(nil, q.id, flags)
}

// message appends a message that has the question, if there is one, and OPT if the
// program has sent it.
func (q *query) message(b []byte, id, flags uint16) []byte {
	var questions, additional uint16
	if q.raw != nil {
		questions = 1
	}
	if q.edns {
		additional = 1
	}
	for _, n := range []uint16{id, flags, questions, 0, 0, additional} {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	b = append(b, q.raw...)
	if !q.edns {
		return b
	}
	var ttl uint32
	if q.do {
		ttl = dnssecOK
	}
	b = binary.BigEndian.AppendUint16(append(b, 0), typeOPT)
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, ourSize), ttl)
	return binary.BigEndian.AppendUint16(b, 0)
}

// answers reports whether a is an answer to q, whole and in order.
func (q *query) answers(a []byte) bool {
	end := headerLen + len(q.raw)
	return len(a) >= end && binary.BigEndian.Uint16(a[2:])&(flagResponse|flagTruncated) == flagResponse &&
		binary.BigEndian.Uint16(a[4:]) == 1 && lower(a[headerLen:end]) == lower(q.raw) &&
		eachRecord(a, end, func(record) {})
}

// own is a copy of a that answers q: with its id, its spelling of the name, which some
// programs vary and compare, and times to live that have become shorter by age.
func (q *query) own(a []byte, age time.Duration) []byte {
	a = append([]byte(nil), a...)
	binary.BigEndian.PutUint16(a, q.id)
	copy(a[headerLen:], q.raw)
	seconds := uint32(age / time.Second)
	if seconds == 0 {
		return a
	}
	eachRecord(a, headerLen+len(q.raw), func(r record) {
		if r.kind != typeOPT {
			binary.BigEndian.PutUint32(a[r.ttlAt:], r.ttl-min(r.ttl, seconds))
		}
	})
	return a
}

// A record is what the cache has to know of one.
type record struct {
	kind    uint16
	ttl     uint32
	ttlAt   int // where that stands
	answer  bool
	content []byte
}

// eachRecord calls f for each record of the message behind its question, which ends at
// at, and reports false as soon as one is not whole.
func eachRecord(msg []byte, at int, f func(record)) bool {
	answers := int(binary.BigEndian.Uint16(msg[6:]))
	all := answers + int(binary.BigEndian.Uint16(msg[8:])) + int(binary.BigEndian.Uint16(msg[10:]))
	for i := range all {
		end, _ := skipName(msg, at)
		if end == 0 || end+10 > len(msg) {
			return false
		}
		r := record{
			kind: binary.BigEndian.Uint16(msg[end:]), ttl: binary.BigEndian.Uint32(msg[end+4:]), ttlAt: end + 4, answer: i < answers,
		}
		size := int(binary.BigEndian.Uint16(msg[end+8:]))
		if at = end + 10 + size; at > len(msg) {
			return false
		}
		r.content = msg[end+10 : at]
		f(r)
	}
	return true
}

// skipName returns where the name ends that begins at at, 0 if it does not, and whether
// it is written in full, without a pointer to another place.
func skipName(msg []byte, at int) (end int, plain bool) {
	for at < len(msg) {
		switch n := int(msg[at]); {
		case n == 0:
			return at + 1, true
		case n >= 0xc0 && at+2 <= len(msg):
			return at + 2, false
		case n > 63:
			return 0, false
		default:
			at += 1 + n
		}
	}
	return 0, false
}

// The longest times that an answer is kept, one that says no for the shorter.
const (
	longest   = time.Hour
	longestNo = 5 * time.Minute
)

// lifetime is how long an answer may be kept: as long as the shortest-lived of its
// records, and one without any as long as the zone has them not be asked for again
// (RFC 2308, section 5). What is a failure is not kept.
func lifetime(a []byte) time.Duration {
	code := a[3] & 0xf
	if code != success && code != nameError {
		return 0
	}
	end, plain := skipName(a, headerLen)
	if !plain {
		return 0
	}
	const never = 1<<32 - 1
	shortest, no := uint32(never), uint32(never)
	has, failed := false, false
	eachRecord(a, end+4, func(r record) {
		if r.kind == typeOPT {
			failed = failed || r.ttl>>24 != 0 // the upper bits of the code
			return
		}
		if r.ttl>>31 != 0 {
			r.ttl = 0 // RFC 2181, section 8
		}
		has = has || r.answer
		shortest = min(shortest, r.ttl)
		if n := len(r.content); r.kind == typeSOA && !r.answer && n >= 4 {
			no = min(r.ttl, binary.BigEndian.Uint32(r.content[n-4:]))
		}
	})
	switch {
	case failed:
		return 0
	case code == success && has:
		return min(longest, time.Duration(shortest)*time.Second)
	case no == never:
		return 0
	}
	return min(longestNo, time.Duration(min(no, shortest))*time.Second)
}
