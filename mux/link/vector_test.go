package link

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A vector is one block of a file in testdata/link: lines of "name: value".
type vector struct {
	t      *testing.T
	values map[string]string
}

func (v vector) text(name string) string {
	v.t.Helper()
	value, ok := v.values[name]
	if !ok {
		v.t.Fatalf("no %s", name)
	}
	return value
}

func (v vector) bytes(name string) []byte {
	v.t.Helper()
	b, err := hex.DecodeString(v.text(name))
	if err != nil {
		v.t.Fatalf("%s: %v", name, err)
	}
	return b
}

func (v vector) number(name string) uint64 {
	v.t.Helper()
	n, err := strconv.ParseUint(v.text(name), 10, 64)
	if err != nil {
		v.t.Fatal(err)
	}
	return n
}

func (v vector) equal(name string, got []byte) {
	v.t.Helper()
	if want := v.bytes(name); !bytes.Equal(got, want) {
		v.t.Errorf("%s\n got %x\nwant %x", name, got, want)
	}
}

// TestVectors runs testdata/link/*.txt: a handshake whose random bytes are
// given, and records. Blocks are divided by lines of three dashes, comments
// begin with a #, bytes are hexadecimal.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob("../../testdata/link/*.txt")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var blocks []vector
			for block := range strings.SplitSeq(string(text), "---\n") {
				v := vector{t, map[string]string{}}
				for line := range strings.Lines(block) {
					name, value, ok := strings.Cut(line, ":")
					if ok && line[0] != '#' {
						v.values[name] = strings.TrimSpace(value)
					}
				}
				blocks = append(blocks, v)
			}
			client, node := runHandshake(t, blocks[0])
			if len(blocks) < 3 {
				t.Error("no records")
			}
			for _, v := range blocks[1:] {
				runRecord(v, client, node)
			}
		})
	}
}

func runHandshake(t *testing.T, v vector) (client, node *Keys) {
	s := NewSecret(v.text("secret"))
	v.equal("psk", s.key())
	h, body, err := hello(s, v.bytes("hello payload"), v.text("client has aes") == "yes", bytes.NewReader(v.bytes("client ephemeral")))
	if err != nil {
		t.Fatal(err)
	}
	v.equal("hello", body)

	r := NewResponder()
	r.aes = v.text("node has aes") == "yes"
	r.random = bytes.NewReader(append(v.bytes("link id"), v.bytes("node ephemeral")...))
	r.SetClients([]Client{{"laptop", s}})
	a, err := r.Accept(v.bytes("hello"))
	if err != nil {
		t.Fatal(err)
	}
	v.equal("hello payload", a.Payload)
	answer, n, err := a.Answer(v.bytes("answer payload"))
	if err != nil {
		t.Fatal(err)
	}
	v.equal("answer", answer)

	c, payload, err := h.Finish(v.bytes("answer"))
	if err != nil {
		t.Fatal(err)
	}
	v.equal("answer payload", payload)
	id := n.ID()
	v.equal("link id", id[:])

	// That these are the keys shows in what they open.
	k, err := newKeys(a.cipher, id, [32]byte(v.bytes("key up")), [32]byte(v.bytes("key down")))
	if err != nil {
		t.Fatal(err)
	}
	if !talks(&c, &k) || !talks(&k, &n) || !talks(&c, &n) {
		t.Error("the keys are others")
	}
	return &c, &n
}

func runRecord(v vector, client, node *Keys) {
	d, from, to := Up, client, node
	if v.text("direction") == "down" {
		d, from, to = Down, node, client
	}
	exchange, index, number := v.number("exchange"), uint32(v.number("index")), v.number("number")
	body := append(make([]byte, RecordHead), v.bytes("plain")...)
	body, err := from.Sealer(d).Seal(body, 0, exchange, index, number)
	if err != nil {
		v.t.Fatal(err)
	}
	v.equal("record", body)
	record, _, err := NextRecord(v.bytes("record"))
	if err != nil {
		v.t.Fatal(err)
	}
	got, plain, err := to.Opener(d).Open(nil, record, exchange, index)
	if err != nil || got != number {
		v.t.Error(got, err)
	}
	v.equal("plain", plain)
}
