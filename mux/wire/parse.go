package wire

import (
	"bytes"
	"fmt"
)

// ParseEnvelope reads the outer object of a request and none of its ops. It
// is what a node needs to look at the key, and a script to swap it.
func ParseEnvelope(body []byte) (e Envelope, err error) {
	s := scanner{b: body}
	ok := s.next('{') && s.members(func(name []byte) (ok bool) {
		switch string(name) {
		case "k":
			e.Key, ok = s.textOrSkip()
		case "t":
			e.Type, ok = s.textOrSkip()
		case "ops":
			e.Ops, ok = s.span()
		case "zops":
			e.ZOps, ok = s.textOrSkip()
		case "zc":
			e.ZC, ok = s.one()
		default:
			ok = s.skip(1)
		}
		return ok
	})
	if !ok || !s.end() {
		return Envelope{}, errSyntax
	}
	return e, nil
}

// textOrSkip consumes any value; one that is no string counts as absent.
func (s *scanner) textOrSkip() ([]byte, bool) {
	if s.peek() == '"' {
		return s.text()
	}
	return nil, s.skip(1)
}

// one consumes any value; 1 is true.
func (s *scanner) one() (is, ok bool) {
	text, ok := s.span()
	return string(text) == "1", ok
}

// ErrTooMany is the error for a batch of more ops or results than allowed.
var ErrTooMany = fmt.Errorf("%w: too many elements", errSyntax)

// ParseOps reads the text of an "ops" array, in place, into ops[:0], of which
// it reuses the elements. More than limit of them are an error.
func ParseOps(text []byte, ops []Op, limit int) ([]Op, error) {
	s := scanner{b: text}
	ops = ops[:0]
	tooMany := false
	ok := s.next('[') && s.list(func() bool {
		if len(ops) == limit {
			tooMany = true
			return false
		}
		ops = grow(ops)
		return s.op(&ops[len(ops)-1])
	})
	switch {
	case tooMany:
		return nil, ErrTooMany
	case !ok || !s.end():
		return nil, errSyntax
	}
	return ops, nil
}

// grow adds an element whose own slices, if it was in use before, are there
// to be reused.
func grow[T any](list []T) []T {
	if len(list) < cap(list) {
		return list[:len(list)+1]
	}
	var zero T
	return append(list, zero)
}

// ParseOp reads the body of a single-op request, whose fields are those of an
// op beside the envelope's. The node's payload field is called "data" there.
func ParseOp(body []byte, o *Op) error {
	s := scanner{b: body}
	if !s.op(o) || !s.end() {
		return errSyntax
	}
	return nil
}

// op consumes an op. A field of the wrong type counts as absent.
func (s *scanner) op(o *Op) bool {
	o.Reset()
	return s.next('{') && s.members(func(name []byte) (ok bool) {
		switch string(name) {
		case "op":
			o.Name, ok = s.textOrSkip()
			o.Kind = kindOf(o.Name)
		case "host":
			o.Host, ok = s.textOrSkip()
		case "port":
			o.Port, ok = s.port()
		case "sid":
			o.SID, ok = s.textOrSkip()
		case "d", "data":
			o.Data, o.BadData, ok = s.payload(o.Data[:0])
		case "seq":
			o.Seq, o.HasSeq, ok = s.number()
		case "wseq":
			o.WSeq, o.HasWSeq, ok = s.number()
		case "empty":
			o.Empty, ok = s.bool()
		case "fin":
			o.Fin, ok = s.bool()
		case "rst":
			o.Rst, ok = s.bool()
		case "max":
			o.Max, _, ok = s.number()
		case "rtt":
			o.RTT, _, ok = s.number()
		default:
			ok = s.skip(1)
		}
		return ok
	})
}

func (s *scanner) port() (uint16, bool) {
	n, is, ok := s.number()
	if !is || n > 65535 {
		n = 0
	}
	return uint16(n), ok
}

// payload consumes a base64 string and appends what it decodes to, unless it
// is empty.
func (s *scanner) payload(to [][]byte) (_ [][]byte, bad, ok bool) {
	text, ok := s.textOrSkip()
	if !ok || len(text) == 0 {
		return to, false, ok
	}
	data, good := decodeBase64(text)
	if !good {
		return to, true, true
	}
	return append(to, data), false, true
}

// ParseAnswer reads the answer to a batch, in place, into a, of which it
// reuses the elements. More than limit results are an error, as is an answer
// that has neither results nor an error. If the text does not begin with a
// brace, it is looked for between the first and the last brace.
func ParseAnswer(body []byte, a *Answer, limit int) error {
	*a = Answer{Results: a.Results[:0]}
	s := scanner{b: braces(body)}
	has, tooMany := false, false
	ok := s.next('{') && s.members(func(name []byte) (ok bool) {
		switch string(name) {
		case "r":
			has = true
			ok, tooMany = s.results(a, limit)
		case "e":
			a.HasErr = true
			a.Err, ok = s.textOrSkip()
		case "zr":
			has = true
			a.ZR, ok = s.textOrSkip()
		case "zc":
			a.ZC, ok = s.one()
		default:
			ok = s.skip(1)
		}
		return ok
	})
	switch {
	case tooMany:
		return ErrTooMany
	case !ok || !s.end() || !has && !a.HasErr:
		return errSyntax
	}
	return nil
}

func braces(body []byte) []byte {
	if len(body) > 0 && body[0] == '{' {
		return body
	}
	from, to := bytes.IndexByte(body, '{'), bytes.LastIndexByte(body, '}')
	if from < 0 || to < from {
		return nil
	}
	return body[from : to+1]
}

func (s *scanner) results(a *Answer, limit int) (ok, tooMany bool) {
	a.Results = a.Results[:0]
	ok = s.next('[') && s.list(func() bool {
		if len(a.Results) == limit {
			tooMany = true
			return false
		}
		a.Results = grow(a.Results)
		return s.result(&a.Results[len(a.Results)-1])
	})
	return ok, tooMany
}

func (s *scanner) result(r *Result) bool {
	r.Reset()
	return s.next('{') && s.members(func(name []byte) (ok bool) {
		bad := false
		switch string(name) {
		case "sid":
			r.SID, ok = s.textOrSkip()
		case "d":
			r.Data, bad, ok = s.payload(r.Data[:0])
		case "pkts":
			ok = s.pkts(r)
		case "eof":
			r.EOF, ok = s.bool()
		case "e":
			r.Err, ok = s.textOrSkip()
		case "code":
			r.Code, ok = s.textOrSkip()
		case "seq":
			r.Seq, r.HasSeq, ok = s.number()
		case "off":
			r.Off, r.HasOff, ok = s.number()
		case "rst":
			r.Rst, ok = s.bool()
		case "pend":
			r.Pend, ok = s.bool()
		case "jam":
			r.Jam, _, ok = s.number()
		case "more":
			r.More, _, ok = s.number()
		case "ip":
			r.IP, ok = s.textOrSkip()
		default:
			ok = s.skip(1)
		}
		return ok && !bad
	})
}

// pkts consumes an array of datagrams, of which any may be empty.
func (s *scanner) pkts(r *Result) bool {
	if s.peek() != '[' {
		return s.skip(1)
	}
	s.i++
	r.Pkts = r.Pkts[:0]
	return s.list(func() bool {
		text, ok := s.text()
		if !ok {
			return false
		}
		pkt, good := decodeBase64(text)
		r.Pkts = append(r.Pkts, pkt)
		return good
	})
}
