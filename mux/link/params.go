package link

import "encoding/binary"

// An ID names a node, or one run of it.
type ID [16]byte

// HelloParams is what a client says in its first message.
type HelloParams struct {
	// Prev is the link it had before, zero if none: is it still known?
	Prev LinkID

	// Credit is how many bytes of all streams together it takes in at first.
	Credit uint64
}

// AnswerParams is what the node says to that.
type AnswerParams struct {
	Node   ID     // the same as long as the node has the same key
	Epoch  ID     // of this run of it: with another one, all streams of before are gone
	Known  bool   // it knows HelloParams.Prev
	Age    uint64 // of this run, in ms: what was opened since was opened by no run before
	Window uint64
	Credit uint64
}

// Append appends the payload of a hello.
func (p *HelloParams) Append(dst []byte) []byte {
	dst = append(dst, p.Prev[:]...)
	return binary.AppendUvarint(dst, p.Credit)
}

// ParseHelloParams reads the payload of a hello.
func ParseHelloParams(b []byte) (p HelloParams, err error) {
	r := reader{p: b}
	copy(p.Prev[:], r.bytes(uint64(len(p.Prev))))
	p.Credit = r.number()
	if r.bad {
		return p, errFrame
	}
	return p, nil
}

// Append appends the payload of a hello's answer.
func (p *AnswerParams) Append(dst []byte) []byte {
	dst = append(dst, p.Node[:]...)
	dst = append(dst, p.Epoch[:]...)
	known := byte(0)
	if p.Known {
		known = 1
	}
	dst = append(dst, known)
	dst = binary.AppendUvarint(dst, p.Age)
	dst = binary.AppendUvarint(dst, p.Window)
	return binary.AppendUvarint(dst, p.Credit)
}

// ParseAnswerParams reads the payload of a hello's answer.
func ParseAnswerParams(b []byte) (p AnswerParams, err error) {
	r := reader{p: b}
	copy(p.Node[:], r.bytes(uint64(len(p.Node))))
	copy(p.Epoch[:], r.bytes(uint64(len(p.Epoch))))
	p.Known = r.byte() == 1
	p.Age = r.number()
	p.Window, p.Credit = r.number(), r.number()
	if r.bad || p.Window > 1<<30 {
		return p, errFrame
	}
	return p, nil
}
