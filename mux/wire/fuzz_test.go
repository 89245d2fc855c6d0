package wire

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzParseAnswer holds the parser of answers to encoding/json: what it takes
// is JSON as far as it looks, and means the same.
func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"r":[{"sid":"s","d":"aGk=","eof":true,"off":9}]}`))
	f.Add([]byte(`{"e":"x","zc":1}`))
	f.Add([]byte(`{"r":[{"pkts":["","eA=="],"seq":1}],"zr":"AA=="}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var a Answer
		err := ParseAnswer(bytes.Clone(text), &a, 20)
		if err != nil || !json.Valid(text) || bytes.Contains(bytes.ToLower(text), []byte(`\u`)) {
			return
		}
		var want struct {
			R []struct {
				D   *[]byte
				EOF any
			} `json:"r"`
		}
		if json.Unmarshal(text, &want) != nil || len(want.R) != len(a.Results) {
			return // duplicates, other types: nothing to compare
		}
		for i, r := range want.R {
			if r.D != nil && len(a.Results[i].Data) > 0 && !bytes.Equal(*r.D, a.Results[i].Data[0]) {
				t.Errorf("payload %d differs", i)
			}
		}
	})
}

// FuzzParseOps: what a node reads. Whatever is understood can be written and
// read again, and means the same.
func FuzzParseOps(f *testing.F) {
	f.Add([]byte(`{"k":"x","ops":[{"op":"data","sid":"s","d":"aGk=","wseq":0}]}`))
	f.Add([]byte(`{"k":"x","t":"connect","h":"a","p":1,"ops":[{"op":"connect_data","host":"h","port":443,"d":""}]}`))
	f.Add([]byte(`{"k":"x","ops":[{"op":"link","d":"AQID"}]}`))
	f.Add([]byte(`{"zops":"AAAA","zc":1,"ops":[{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := ParseEnvelope(bytes.Clone(text))
		if err != nil {
			return
		}
		ops, err := ParseOps(e.Ops, nil, 20)
		if err != nil {
			return
		}
		for i := range ops {
			if ops[i].BadData {
				return
			}
		}
		want := AppendBatch(nil, string(e.Key), false, ops)
		again := bytes.Clone(want)
		if e, err = ParseEnvelope(again); err != nil {
			t.Fatalf("own text is not understood: %s", want)
		}
		if ops, err = ParseOps(e.Ops, nil, 20); err != nil {
			t.Fatalf("own ops are not understood: %s", want)
		}
		if got := AppendBatch(nil, string(e.Key), false, ops); !bytes.Equal(got, want) {
			t.Errorf("written %s\nread    %s", want, got)
		}
	})
}
