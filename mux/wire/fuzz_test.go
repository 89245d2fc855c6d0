package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// fewElements is how many ops or results an input may have.
const fewElements = 20

// agree holds what a parser makes of text to what encoding/json does: what it says is
// what that says, and it takes nothing else than model_test.go has. less is that it may
// take less.
func agree(t *testing.T, text []byte, err error, got string, want string, ok, less bool) {
	t.Helper()
	switch valid := json.Valid(text); {
	case err == nil && !json.Valid(regular(text)):
		t.Errorf("%q is taken", text)
	case err == nil && valid && (!ok || got != want):
		t.Errorf("%s\nis      %s\nto JSON %v %s", text, got, ok, want)
	case err != nil && valid && ok && !less:
		t.Errorf("%s\nis refused: %v\nto JSON it is %s", text, err, want)
	}
}

// FuzzParseAnswer holds the parser of answers to encoding/json, in both directions.
func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"r":[{"sid":"s","d":"aGk=","eof":true,"off":9}]}`))
	f.Add([]byte(`{"e":"x","zc":1}`))
	f.Add([]byte(`{"r":[{"pkts":["","eA=="],"seq":1}],"zr":"AA=="}`))
	f.Add([]byte(`)]}' {"r":[{"e":"\u00e9\ud83d\ude00\ud800","code":"UNSUPPORTED_OP","rst":true,"pend":true,"jam":3,"more":18446744073709551615,"ip":"::1"}]} `))
	f.Add([]byte(`{"r":[{"d":"!","d":1}],"r":{},"x":[[[{"y":-1.5e+9}]]]}`))
	f.Add([]byte(`{"e":"\b\f\n\r\t\/\\\"\u0041\uD83D\uDE00\uDC00\ud83dx","x":"\\\"","y\"":"\\","z":"\"}"}`))
	f.Add([]byte(" \t\r\n{ \"r\" : [ { \"sid\" : \"\x01\xff\" , \"eof\" : true , \"off\" : 18446744073709551616 } , { } ] , \"zc\" : 1.0 } \n"))
	f.Add([]byte(`{"r":[{"pkts":["AA==","AAE="],"pkts":{},"eof":tru,"eof":"true","seq":-0,"off":01,"jam":1e3,"more":null}],"e":null,"zr":3}`))
	f.Add([]byte(`{"r":[{"off":18446744073709551615,"seq":18446744073709551616,"jam":99999999999999999999,"more":018}]}`))
	f.Add([]byte(`{"r":[{"off":18446744073709551615,"seq":18446744073709551616,"jam":99999999999999999999}]}`))
	for _, depth := range []int{maxDepth - 1, maxDepth, maxDepth + 1} {
		f.Add([]byte(`{"e":"","x":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var a Answer
		err := ParseAnswer(bytes.Clone(text), &a, fewElements)
		inner := braces(text)
		want, ok := modelAnswer(inner)
		agree(t, inner, err, answerText(a), answerText(want), ok, errors.Is(err, ErrTooMany) || deep(inner, maxDepth))
		if len(a.Results) > fewElements {
			t.Errorf("%d results", len(a.Results))
		}
	})
}

// FuzzParseOps is the same of what a node reads: a batch, and a single op. And
// whatever is understood can be written and read again, and means the same.
func FuzzParseOps(f *testing.F) {
	f.Add([]byte(`{"k":"x","ops":[{"op":"data","sid":"s","d":"aGk=","wseq":0}]}`))
	f.Add([]byte(`{"k":"x","t":"connect","h":"a","p":1,"ops":[{"op":"connect_data","host":"h","port":443,"d":""}]}`))
	f.Add([]byte(`{"k":"x","ops":[{"op":"link","d":"AQID"}]}`))
	f.Add([]byte(`{"zops":"AAAA","zc":1,"ops":[{}]}`))
	f.Add([]byte(`{"k":"x","op":"udp_data","sid":"\u0073","data":"AA==","empty":true,"fin":true,"rst":true,"max":4,"rtt":5,"seq":6,"port":65536}`))
	f.Add([]byte(`{"k":"\u006b\f","\u006fps":[{"op":"connect","host":"\"\\","port":65535,"x":"\\\""},{"d":"AA\n==","data":"AA=="},{"data":"A"},{"op":null}],"ops2":"]\""}`))
	f.Add([]byte(`{"ops":[],"ops":[{"op":"close","sid":"a","rst":true,"port":-1,"wseq":1.5,"max":"1","fin":1}],"zc":"1","t":["batch"],"zops":0}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		whole := bytes.Clone(text)
		e, err := ParseEnvelope(whole)
		wantEnvelope, ok := modelEnvelope(text)
		agree(t, text, err, envelopeText(e), envelopeText(wantEnvelope), ok, deep(text, maxDepth))
		if !bytes.Equal(whole, text) {
			t.Errorf("%q has become %q", text, whole)
		}
		var o Op
		single := ParseOp(bytes.Clone(text), &o)
		wantOp, ok := modelOp(text)
		agree(t, text, single, opText(o), opText(wantOp), ok, deep(text, maxDepth))
		if err != nil || e.Ops == nil {
			return
		}
		list := bytes.Clone(e.Ops)
		ops, err := ParseOps(e.Ops, nil, fewElements)
		wantOps, ok := modelOps(list)
		agree(t, list, err, opsText(ops), opsText(wantOps), ok, errors.Is(err, ErrTooMany) || deep(list, maxDepth))
		if err == nil {
			again(t, string(e.Key), ops)
		}
	})
}

// again writes ops, reads them, and writes them again.
func again(t *testing.T, key string, ops []Op) {
	for i := range ops {
		if ops[i].BadData {
			return
		}
	}
	want := AppendBatch(nil, key, false, ops)
	text := bytes.Clone(want)
	e, err := ParseEnvelope(text)
	if err != nil {
		t.Fatalf("own text is not understood: %s", want)
	}
	if ops, err = ParseOps(e.Ops, nil, fewElements); err != nil {
		t.Fatalf("own ops are not understood: %s", want)
	}
	if got := AppendBatch(nil, string(e.Key), false, ops); !bytes.Equal(got, want) {
		t.Errorf("written %s\nread    %s", want, got)
	}
}

// FuzzAppend: what is written is JSON and means the same to encoding/json and to the
// parsers, whatever is in it; and takes no more than is said of it before.
func FuzzAppend(f *testing.F) {
	f.Add("key", "example.org", "sid", []byte("payload, in two"), uint64(1<<63), uint16(443), uint32(0x1234))
	f.Add("\x00\x1f\x7f\"\\\u2028\xff", "\xed\xa0\x80", "é\xc3", []byte{}, uint64(0), uint16(0), uint32(1<<32-1))
	f.Fuzz(func(t *testing.T, key, text, sid string, data []byte, n uint64, port uint16, bits uint32) {
		has := func(i int) bool { return bits>>i&1 != 0 }
		chunks := [][]byte{data[:len(data)/3], data[len(data)/3 : len(data)/2], data[len(data)/2:]}
		var ops []Op
		for k := Connect; k <= Link; k++ {
			ops = append(ops, Op{Kind: k, Host: []byte(text), Port: port, SID: []byte(sid), Data: chunks, HasSeq: has(0), Seq: n, HasWSeq: has(1),
				WSeq: n >> 1, Empty: has(2), Fin: has(3), Rst: has(4), Max: n >> (bits >> 26), RTT: n >> (bits >> 26 & 31)})
		}
		body := AppendBatch(nil, key, has(5), ops)
		most := BatchLen(key)
		for i := range ops {
			o := &ops[i]
			if len(text)+len(sid) == len(strings.Map(plain, text+sid)) {
				most += OpLen(o)
			}
			o.Name = []byte(o.Kind.String()) // what is not written is not read
			if o.Seq *= one(o.HasSeq); !o.HasWSeq {
				o.WSeq = 0
			}
			switch o.Kind {
			case Connect, ConnectData, UDPOpen:
				o.SID = nil
			case Link:
				o.SID, o.Host, o.Port = nil, nil, 0
			default:
				o.Host, o.Port = nil, 0
			}
		}
		e, ok := modelEnvelope(body)
		got, is := modelOps(e.Ops)
		if !ok || !is || said(e.Key) != said([]byte(key)) || opsText(got) != opsText(ops) || (string(e.Type) == "batch") != has(5) {
			t.Errorf("%s\nis to JSON %s", body, opsText(got))
		}
		if most > BatchLen(key) && len(body) > most {
			t.Errorf("%d bytes, of %d", len(body), most)
		}
		again(t, key, ops)

		results := []Result{{}, {SID: []byte(sid), Data: chunks, EOF: has(6), HasOff: has(7), Off: n}, {
			SID: []byte(sid), Pkts: chunks, Err: []byte(text), Code: []byte(key), IP: []byte(text), HasSeq: has(8), Seq: n, Rst: has(9), Pend: has(10), Jam: n, More: n >> 3}}
		answer := AppendAnswer(nil, results)
		most = len(`{"r":[]}`)
		for i := range results {
			r := &results[i]
			r.Off *= one(r.HasOff)
			r.Seq *= one(r.HasSeq)
			most += ResultLen(r)
		}
		want := answerText(Answer{Results: results})
		if a, ok := modelAnswer(answer); !ok || answerText(a) != want {
			t.Errorf("%s\nis to JSON %s", answer, answerText(a))
		}
		if sid == strings.Map(plain, sid) && len(answer) > most {
			t.Errorf("an answer of %d bytes, of %d", len(answer), most)
		}
		var a Answer
		if err := ParseAnswer(bytes.Clone(answer), &a, 3); err != nil || answerText(a) != want {
			t.Errorf("%s\nis read as %s (%v)", answer, answerText(a), err)
		}
		failure := AppendError(nil, text)
		if err := ParseAnswer(bytes.Clone(failure), &a, 0); err != nil || !a.HasErr || said(a.Err) != said([]byte(text)) {
			t.Errorf("%s is read as %s (%v)", failure, answerText(a), err)
		}
	})
}

// plain leaves out what a string of JSON has to escape.
func plain(r rune) rune {
	if r < ' ' || r > '~' || r == '"' || r == '\\' {
		return -1
	}
	return r
}

func one(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}
