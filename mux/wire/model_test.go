package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// The wire as encoding/json reads it. What a text means that both take is the same.
// The scanner takes more than JSON, for it looks only at what the wire needs:
//
//   - a run of the characters of numbers and literals is a value, whatever it spells;
//   - strings may have control characters and broken UTF-8 in them, and wrong escapes
//     where nobody asks for their value;
//   - around an answer there may be other text.
//
// It takes less where a value nests deeper than maxDepth, where there are more
// elements than allowed, and where a payload that an answer has is no base64.

// regular is text with what the scanner takes beyond JSON made JSON.
func regular(text []byte) []byte {
	var out []byte
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"':
			end := i + 1
			for end < len(text) && text[end] != '"' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			out = append(out, `""`...)
			if i = end + 1; end >= len(text) {
				return append(out, '"') // it never ends
			}
		case isAtom(c):
			for i < len(text) && isAtom(text[i]) {
				i++
			}
			out = append(out, '0')
		default:
			out, i = append(out, c), i+1
		}
	}
	return out
}

// deep reports whether something in valid JSON nests deeper than most.
func deep(text []byte, most int) bool {
	depth, inside := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inside && c == '\\':
			i++
		case c == '"':
			inside = !inside
		case !inside && (c == '{' || c == '['):
			if depth++; depth > most {
				return true
			}
		case !inside && (c == '}' || c == ']'):
			depth--
		}
	}
	return false
}

type member struct {
	name  string
	value json.RawMessage
}

// membersOf are those of an object in their order, with those that come twice.
func membersOf(text []byte) (list []member, ok bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	for d.More() {
		name, _ := d.Token()
		var m member
		if m.name, ok = name.(string); !ok || d.Decode(&m.value) != nil {
			return nil, false
		}
		list = append(list, m)
	}
	return list, true
}

func elementsOf(text []byte) (list []json.RawMessage, ok bool) {
	err := json.Unmarshal(text, &list)
	return list, err == nil && text[0] == '['
}

func (m *member) text() (s string, is bool) {
	return s, m.value[0] == '"' && json.Unmarshal(m.value, &s) == nil
}

func (m *member) bytes() []byte {
	s, _ := m.text()
	return []byte(s)
}

func (m *member) number() (uint64, bool) {
	n, err := strconv.ParseUint(string(m.value), 10, 64)
	if err != nil {
		return 0, false
	}
	return n, true
}

func (m *member) is(literal string) bool { return string(m.value) == literal }

// payload is the base64 of a member; one that is no string has none.
func (m *member) payload() (data [][]byte, bad bool) {
	s, _ := m.text()
	if s == "" {
		return nil, false
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, true
	}
	return [][]byte{b}, false
}

func modelEnvelope(text []byte) (e Envelope, ok bool) {
	list, ok := membersOf(text)
	for _, m := range list {
		switch m.name {
		case "k":
			e.Key = m.bytes()
		case "t":
			e.Type = m.bytes()
		case "ops":
			e.Ops = m.value
		case "zops":
			e.ZOps = m.bytes()
		case "zc":
			e.ZC = m.is("1")
		}
	}
	return e, ok
}

func modelOp(text []byte) (o Op, ok bool) {
	list, ok := membersOf(text)
	for _, m := range list {
		switch m.name {
		case "op":
			o.Name = m.bytes()
			o.Kind = kindOf(o.Name)
		case "host":
			o.Host = m.bytes()
		case "port":
			n, _ := m.number()
			if o.Port = uint16(n); n > 65535 {
				o.Port = 0
			}
		case "sid":
			o.SID = m.bytes()
		case "d", "data":
			o.Data, o.BadData = m.payload()
		case "seq":
			o.Seq, o.HasSeq = m.number()
		case "wseq":
			o.WSeq, o.HasWSeq = m.number()
		case "empty":
			o.Empty = m.is("true")
		case "fin":
			o.Fin = m.is("true")
		case "rst":
			o.Rst = m.is("true")
		case "max":
			o.Max, _ = m.number()
		case "rtt":
			o.RTT, _ = m.number()
		}
	}
	return o, ok
}

func modelOps(text []byte) (ops []Op, ok bool) {
	list, ok := elementsOf(text)
	for _, each := range list {
		o, is := modelOp(each)
		ops, ok = append(ops, o), ok && is
	}
	return ops, ok
}

func modelResult(text []byte) (r Result, ok bool) {
	list, ok := membersOf(text)
	for _, m := range list {
		switch m.name {
		case "sid":
			r.SID = m.bytes()
		case "d":
			var bad bool
			r.Data, bad = m.payload()
			ok = ok && !bad
		case "pkts":
			pkts, is := elementsOf(m.value)
			if !is {
				continue
			}
			r.Pkts = nil
			for _, each := range pkts {
				p := member{value: each}
				s, text := p.text()
				b, err := base64.StdEncoding.DecodeString(s)
				r.Pkts, ok = append(r.Pkts, b), ok && text && err == nil
			}
		case "eof":
			r.EOF = m.is("true")
		case "e":
			r.Err = m.bytes()
		case "code":
			r.Code = m.bytes()
		case "seq":
			r.Seq, r.HasSeq = m.number()
		case "off":
			r.Off, r.HasOff = m.number()
		case "rst":
			r.Rst = m.is("true")
		case "pend":
			r.Pend = m.is("true")
		case "jam":
			r.Jam, _ = m.number()
		case "more":
			r.More, _ = m.number()
		case "ip":
			r.IP = m.bytes()
		}
	}
	return r, ok
}

func modelAnswer(text []byte) (a Answer, ok bool) {
	list, ok := membersOf(text)
	has := false
	for _, m := range list {
		switch m.name {
		case "r":
			results, is := elementsOf(m.value)
			has, ok, a.Results = true, ok && is, nil
			for _, each := range results {
				r, is := modelResult(each)
				a.Results, ok = append(a.Results, r), ok && is
			}
		case "e":
			a.HasErr, a.Err = true, m.bytes()
		case "zr":
			has, a.ZR = true, m.bytes()
		case "zc":
			a.ZC = m.is("1")
		}
	}
	return a, ok && (has || a.HasErr)
}

// The same in a form in which they can be compared: of strings as encoding/json reads
// them, which puts U+FFFD in the place of each byte that is no UTF-8.
func said(b []byte) string { return string([]rune(string(b))) }

func opText(o Op) string {
	return fmt.Sprintf("%q %q:%d sid %q data %q bad %v seq %v %d wseq %v %d empty %v fin %v rst %v max %d rtt %d", said(o.Name), said(o.Host), o.Port,
		said(o.SID), bytes.Join(o.Data, nil), o.BadData, o.HasSeq, o.Seq, o.HasWSeq, o.WSeq, o.Empty, o.Fin, o.Rst, o.Max, o.RTT)
}

func opsText(ops []Op) string {
	var b strings.Builder
	for i := range ops {
		b.WriteString(opText(ops[i]) + "\n")
	}
	return b.String()
}

func resultText(r Result) string {
	return fmt.Sprintf("sid %q data %q pkts %q eof %v err %q code %q seq %v %d off %v %d rst %v pend %v jam %d more %d ip %q", said(r.SID),
		bytes.Join(r.Data, nil), r.Pkts, r.EOF, said(r.Err), said(r.Code), r.HasSeq, r.Seq, r.HasOff, r.Off, r.Rst, r.Pend, r.Jam, r.More, said(r.IP))
}

func answerText(a Answer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "err %v %q zr %q zc %v\n", a.HasErr, said(a.Err), said(a.ZR), a.ZC)
	for i := range a.Results {
		b.WriteString(resultText(a.Results[i]) + "\n")
	}
	return b.String()
}

func envelopeText(e Envelope) string {
	return fmt.Sprintf("%q %q %q %q %v", said(e.Key), said(e.Type), e.Ops, said(e.ZOps), e.ZC)
}
