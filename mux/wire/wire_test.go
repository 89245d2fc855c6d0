package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func random(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	return p
}

// Output must never overtake input when text is decoded over itself, for any
// length and alignment that the library's vector code treats differently.
func TestDecodeBase64InPlace(t *testing.T) {
	for n := range 3000 {
		want := random(n)
		room := make([]byte, n%64, n%64+Base64Len(n))
		text := base64.StdEncoding.AppendEncode(room, want)[n%64:]
		got, ok := decodeBase64(text)
		if !ok || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: decoded in place to something else", n)
		}
	}
	for _, n := range []int{1 << 16, 1<<20 + 1, 5<<20 + 2} {
		want := random(n)
		got, ok := decodeBase64([]byte(base64.StdEncoding.EncodeToString(want)))
		if !ok || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: decoded in place to something else", n)
		}
	}
}

func TestAppendBase64Chunks(t *testing.T) {
	for range 2000 {
		var chunks [][]byte
		for range rand.IntN(6) {
			chunks = append(chunks, random(rand.IntN(50)))
		}
		got := string(appendBase64(nil, chunks))
		if want := base64.StdEncoding.EncodeToString(bytes.Join(chunks, nil)); got != want {
			t.Fatalf("%d chunks: %s, want %s", len(chunks), got, want)
		}
		if n := Base64Len(length(chunks)); n != len(got) {
			t.Fatalf("Base64Len %d, want %d", n, len(got))
		}
	}
}

// What goes over the wire, letter by letter: other programs read it.
func TestAppendOp(t *testing.T) {
	hello := [][]byte{[]byte("he"), []byte("llo")}
	for _, c := range []struct {
		name string
		op   Op
		want string
	}{
		{"connect", Op{Kind: Connect, Host: []byte("a.b"), Port: 80}, `{"op":"connect","host":"a.b","port":80}`},
		{"connect_data", Op{Kind: ConnectData, Host: []byte("::1"), Port: 443, Data: hello}, `{"op":"connect_data","host":"::1","port":443,"d":"aGVsbG8="}`},
		{"empty connect_data has d", Op{Kind: ConnectData, Host: []byte("a"), Port: 1}, `{"op":"connect_data","host":"a","port":1,"d":""}`},
		{"empty data is a poll", Op{Kind: Data, SID: []byte("s")}, `{"op":"data","sid":"s"}`},
		{"empty chunks are empty", Op{Kind: Data, SID: []byte("s"), Data: [][]byte{{}, {}}}, `{"op":"data","sid":"s"}`},
		{"data", Op{Kind: Data, SID: []byte("s"), Data: hello, HasSeq: true, HasWSeq: true, WSeq: 7}, `{"op":"data","sid":"s","d":"aGVsbG8=","seq":0,"wseq":7}`},
		{"ours", Op{Kind: Data, SID: []byte("s"), Fin: true, Max: 65536, RTT: 1500}, `{"op":"data","sid":"s","fin":true,"max":65536,"rtt":1500}`},
		{"close", Op{Kind: Close, SID: []byte("s")}, `{"op":"close","sid":"s"}`},
		{"close by reset", Op{Kind: Close, SID: []byte("s"), Rst: true}, `{"op":"close","sid":"s","rst":true}`},
		{"empty udp_data is a poll", Op{Kind: UDPData, SID: []byte("s")}, `{"op":"udp_data","sid":"s"}`},
		{"empty datagram", Op{Kind: UDPData, SID: []byte("s"), Empty: true}, `{"op":"udp_data","sid":"s","empty":true}`},
		{"udp_open", Op{Kind: UDPOpen, Host: []byte("1.1.1.1"), Port: 53, Data: hello}, `{"op":"udp_open","host":"1.1.1.1","port":53,"d":"aGVsbG8="}`},
		{"link", Op{Kind: Link, Data: hello}, `{"op":"link","d":"aGVsbG8="}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := string(AppendOp(nil, &c.op))
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if n := OpLen(&c.op); len(got)+1 > n {
				t.Errorf("OpLen %d, but it takes %d with a comma", n, len(got)+1)
			}
			if over := OpLen(&c.op) - len(got); over > OpFrame {
				t.Errorf("OpLen is %d too large", over)
			}
		})
	}
}

func TestAppendBatch(t *testing.T) {
	ops := []Op{{Kind: Data, SID: []byte("a")}, {Kind: Close, SID: []byte("b")}}
	script := string(AppendBatch(nil, `k"1`, true, ops))
	if want := `{"k":"k\"1","t":"batch","ops":[{"op":"data","sid":"a"},{"op":"close","sid":"b"}]}`; script != want {
		t.Errorf("script: %s", script)
	}
	node := string(AppendBatch(nil, "k", false, nil))
	if want := `{"k":"k","ops":[]}`; node != want {
		t.Errorf("node: %s", node)
	}
	if n := BatchLen(`k"1`) + OpLen(&ops[0]) + OpLen(&ops[1]); n < len(script) {
		t.Errorf("counted %d, took %d", n, len(script))
	}
}

func TestAppendResult(t *testing.T) {
	for _, c := range []struct {
		name string
		r    Result
		want string
	}{
		{"nothing", Result{}, `{}`},
		{"alive", Result{SID: []byte("s")}, `{"sid":"s","eof":false}`},
		{"data", Result{SID: []byte("s"), Data: [][]byte{[]byte("x")}, HasOff: true, HasSeq: true, Seq: 3}, `{"sid":"s","d":"eA==","eof":false,"seq":3,"off":0}`},
		{"pkts", Result{SID: []byte("s"), Pkts: [][]byte{[]byte("x"), {}}}, `{"sid":"s","pkts":["eA==",""],"eof":false}`},
		{"where a name led to", Result{SID: []byte("s"), HasOff: true, IP: []byte("::1")}, `{"sid":"s","eof":false,"off":0,"ip":"::1"}`},
		{"link", Result{Data: [][]byte{{0x83}}}, `{"d":"gw=="}`},
		{"unknown op", Result{Err: []byte("unknown op: x"), Code: []byte(CodeUnsupported)}, `{"e":"unknown op: x","code":"UNSUPPORTED_OP"}`},
		{"pending", Result{SID: []byte("s"), HasOff: true, Pend: true, Jam: 3, More: 9}, `{"sid":"s","eof":false,"off":0,"pend":true,"jam":3,"more":9}`},
		{"reset", Result{SID: []byte("s"), EOF: true, Rst: true}, `{"sid":"s","eof":true,"rst":true}`},
		{"text from outside", Result{Err: []byte("a\"\\\n\xff\u2028é")}, `{"e":"a\"\\\u000a` + "\uFFFD\u2028é" + `"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := string(AppendResult(nil, &c.r))
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if !json.Valid([]byte(got)) {
				t.Error("not JSON")
			}
			if n := ResultLen(&c.r); len(got)+1 > n {
				t.Errorf("ResultLen %d, but it takes %d with a comma", n, len(got)+1)
			}
		})
	}
}

func TestOpRoundTrip(t *testing.T) {
	for range 500 {
		ops := make([]Op, rand.IntN(5))
		for i := range ops {
			o := &ops[i]
			o.Kind = Kind(1 + rand.IntN(int(Link)))
			switch o.Kind {
			case Connect, ConnectData, UDPOpen:
				o.Host, o.Port = []byte("host.example"), uint16(rand.Uint32())
			default:
				o.SID = []byte("sid")
			}
			if n := rand.IntN(100); n > 0 {
				o.Data = [][]byte{random(n)}
			}
			o.HasSeq, o.Seq = true, rand.Uint64()
			o.HasWSeq, o.WSeq = true, rand.Uint64()
			o.Empty = len(o.Data) == 0 && rand.IntN(2) == 0
			o.Fin, o.Max, o.RTT = rand.IntN(2) == 0, rand.Uint64N(3), rand.Uint64N(3)
		}
		e, err := ParseEnvelope(AppendBatch(nil, "KEY", true, ops))
		if err != nil || string(e.Key) != "KEY" || string(e.Type) != "batch" {
			t.Fatal(e, err)
		}
		got, err := ParseOps(e.Ops, nil, 5)
		if err != nil || len(got) != len(ops) {
			t.Fatal(err, len(got), len(ops))
		}
		for i := range ops {
			got[i].Name = nil
			if a, b := AppendOp(nil, &got[i]), AppendOp(nil, &ops[i]); !bytes.Equal(a, b) {
				t.Fatalf("%s\n%s", a, b)
			}
		}
	}
}

func TestParseEnvelope(t *testing.T) {
	e, err := ParseEnvelope([]byte(` {"ops" : [ {"op":"data"} ] , "x":{"y":[1,2.5e3,null,"]"]}, "zc":1,"k":"a\u00e9\/\ud83d\ude00"} `))
	if err != nil {
		t.Fatal(err)
	}
	if string(e.Ops) != `[ {"op":"data"} ]` || string(e.Key) != "aé/😀" || !e.ZC {
		t.Errorf("%+v", e)
	}
	for _, bad := range []string{
		``, `{`, `[]`, `{"k":"a"`, `{"k":"a"} {}`, `{"k":"a"}x`, `{"k":"a",}`, `{"k" "a"}`, `{k:"a"}`,
		`{"k":"a\x"}`, `{"k":"a`, `{"ops":[}`, `{"ops":[[]}`, "\ufeff{}", `{"k":"\u12"}`, `{"k":}`,
		strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40),
	} {
		if e, err := ParseEnvelope([]byte(bad)); err == nil {
			t.Errorf("%s: no error, but %+v", bad, e)
		}
	}
	if e, err := ParseEnvelope([]byte(`{"k":7,"ops":"no"}`)); err != nil || e.Key != nil {
		t.Errorf("a key that is no string must be no key: %+v, %v", e, err)
	}
}

func TestParseOpsTolerance(t *testing.T) {
	ops, err := ParseOps([]byte(`[{"op":"data","sid":null,"d":"****","seq":-1,"wseq":1e3,"new":[{}]},
		{"op":"nope","port":"443","host":5},{"op":"connect","port":65536},{"op":"connect","port":65535},
		{"op":"data","data":"eA==","seq":18446744073709551615},{"op":"data","d":"e\/8=","seq":18446744073709551616}]`), nil, 6)
	if err != nil {
		t.Fatal(err)
	}
	if o := ops[0]; !o.BadData || o.HasSeq || o.HasWSeq || o.SID != nil {
		t.Errorf("%+v", o)
	}
	if o := ops[1]; o.Kind != Unknown || string(o.Name) != "nope" || o.Port != 0 || o.Host != nil {
		t.Errorf("%+v", o)
	}
	if ops[2].Port != 0 || ops[3].Port != 65535 {
		t.Error("port", ops[2].Port, ops[3].Port)
	}
	if o := ops[4]; string(o.Data[0]) != "x" || o.Seq != 1<<64-1 || !o.HasSeq {
		t.Errorf("%+v", o)
	}
	if o := ops[5]; o.BadData || !bytes.Equal(o.Data[0], []byte{0x7b, 0xff}) || o.HasSeq {
		t.Errorf("%+v", o)
	}
}

func TestParseOpsLimit(t *testing.T) {
	text := func(n int) []byte {
		return []byte("[" + strings.TrimSuffix(strings.Repeat(`{"op":"data"},`, n), ",") + "]")
	}
	if ops, err := ParseOps(text(50), nil, 50); err != nil || len(ops) != 50 {
		t.Error(len(ops), err)
	}
	if _, err := ParseOps(text(51), nil, 50); err != ErrTooMany {
		t.Error(err)
	}
}

func TestParseAnswer(t *testing.T) {
	var a Answer
	err := ParseAnswer([]byte("junk {\"r\":[{\"sid\":\"s\",\"d\":\"aGk=\",\"eof\":true,\"off\":9},{\"e\":\"no\",\"code\":\"UNSUPPORTED_OP\"},{\"pkts\":[\"\",\"eA==\"]}]} more"), &a, 3)
	if err != nil {
		t.Fatal(err)
	}
	r := a.Results
	if string(r[0].SID) != "s" || string(r[0].Data[0]) != "hi" || !r[0].EOF || r[0].Off != 9 || !r[0].HasOff {
		t.Errorf("%+v", r[0])
	}
	if string(r[1].Err) != "no" || string(r[1].Code) != CodeUnsupported || r[1].HasOff {
		t.Errorf("%+v", r[1])
	}
	if len(r[2].Pkts) != 2 || len(r[2].Pkts[0]) != 0 || string(r[2].Pkts[1]) != "x" {
		t.Errorf("%+v", r[2])
	}
	if err := ParseAnswer([]byte(`{"e":"unauthorized"}`), &a, 3); err != nil || !a.HasErr || len(a.Results) != 0 {
		t.Error(a, err)
	}
	for _, bad := range []string{``, `<html>`, `{}`, `{"r":5}`, `{"r":[{"d":"*"}]}`, `{"r":[{}]`, `{"r":[]} {"r":[]}`} {
		if err := ParseAnswer([]byte(bad), &a, 3); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	if err := ParseAnswer([]byte(`{"r":[{},{},{},{}]}`), &a, 3); err != ErrTooMany {
		t.Error(err)
	}
}

// TestHostile68_CutAnywhere: an answer cut at any byte is an error, not a panic
// and not half an answer.
func TestHostile68_CutAnywhere(t *testing.T) {
	whole := AppendAnswer(nil, []Result{
		{SID: []byte("s"), Data: [][]byte{random(60)}, HasOff: true, Off: 1 << 40},
		{SID: []byte("t"), EOF: true, Err: []byte(`quo"te`)},
	})
	var a Answer
	for n := range whole {
		if err := ParseAnswer(append([]byte(nil), whole[:n]...), &a, 2); err == nil {
			t.Errorf("cut at %d of %d: no error", n, len(whole))
		}
	}
	if err := ParseAnswer(append([]byte("\ufeff"), whole...), &a, 2); err != nil {
		t.Error("a byte order mark before it:", err)
	}
}

func TestReasonOf(t *testing.T) {
	for r := Failed; r <= RelayDown; r++ {
		if got := ReasonOf("connect failed: " + r.String()); r != RelayDown && got != r {
			t.Errorf("%v is read as %v", r, got)
		}
	}
	for text, want := range map[string]Reason{
		"connect failed: Connection refused (os error 111)":                               Refused,
		"connect failed: failed to lookup address information: Name or service not known": NameNotFound,
		"connect failed: deadline has elapsed":                                            TimedOut,
		"connect failed: something else":                                                  Failed,
	} {
		if got := ReasonOf(text); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
