package link

import (
	"testing"
	"time"

	"relaymux/mux/buf"
)

// proberPair is the keys of both ends.
func proberPair(t *testing.T) (client, node Keys) {
	t.Helper()
	secret := NewSecret("a secret of at least 32 characters")
	h, hello, err := Hello(secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := NewResponder()
	r.SetClients([]Client{{Name: "ann", Secret: secret}})
	a, err := r.Accept(hello)
	if err != nil {
		t.Fatal(err)
	}
	answer, node, err := a.Answer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if client, _, err = h.Finish(answer); err != nil {
		t.Fatal(err)
	}
	return client, node
}

// TestProber: requests have the size that is asked for, and a node takes them for what
// they are.
func TestProber(t *testing.T) {
	client, node := proberPair(t)
	p := NewProber(client)
	conn := NewConn(Config{Early: buf.NewBudget(1 << 20), Unacked: buf.NewBudget(1 << 20)}, nil)
	full := MaxPlain + RecordHead + RecordTag
	sizes := []int{0, ProbeLeast, ProbeLeast + 1, 1 << 20, 16 << 20}
	for d := -40; d <= 40; d++ { // about the end of a record, and of two
		sizes = append(sizes, RequestHead+full+d, RequestHead+2*full+d)
	}
	for _, size := range sizes {
		ask := Ask{Hold: 1000, Keep: 3, Room: 1 << 16, Tag: 7, Awaited: []uint64{1, 5}}
		body, exchange, err := p.Append(nil, ask, size)
		if err != nil {
			t.Fatal(err)
		}
		short := max(size, ProbeLeast) - len(body)
		if short < 0 || short >= RecordHead+RecordTag {
			t.Errorf("size %d: the request has %d bytes", size, len(body))
		}
		id, x, sealed, err := ParseRequestHead(body)
		if err != nil || id != node.ID() || x != exchange {
			t.Fatalf("size %d: the head is %v, %d, %v", size, id, x, err)
		}
		opener, count := node.Opener(Up), uint32(0)
		for ; len(sealed) > 0; count++ {
			record, rest, err := NextRecord(sealed)
			if err != nil {
				t.Fatalf("size %d: %v", size, err)
			}
			sealed = rest
			number, plain, err := opener.Open(nil, record, exchange, count)
			if err != nil {
				t.Fatalf("size %d: record %d: %v", size, count, err)
			}
			b := buf.Copy(plain[:min(len(plain), buf.Max)])
			got, err := conn.Receive(time.Now(), number, b)
			b.Release()
			if err != nil || (got.Ask != nil) != (count == 0) {
				t.Fatalf("size %d: record %d: %+v, %v", size, count, got, err)
			}
			if a := got.Ask; a != nil && (a.Next != exchange || a.Hold != 1000 || a.Keep != 3 || len(a.Awaited) != 2) {
				t.Errorf("size %d: %+v", size, a)
			}
		}
	}
}

// TestProberAnswered: only the node's answer to the same exchange is one.
func TestProberAnswered(t *testing.T) {
	client, node := proberPair(t)
	p := NewProber(client)
	_, exchange, err := p.Append(nil, Ask{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(x uint64) []byte {
		conn := NewConn(Config{Early: buf.NewBudget(1 << 20), Unacked: buf.NewBudget(1 << 20)}, nil)
		m := conn.Plan(time.Now(), x, &Answer{}, Limits{Bytes: 4096})
		body, err := m.AppendSealed(AppendAnswerHead(nil), node.Sealer(Down))
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	if err := p.Answered(answer(exchange), exchange); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string][]byte{
		"of another exchange": answer(exchange + 1), "empty": nil, "unknown": {KindUnknown}, "cut": answer(exchange)[:20],
	} {
		if p.Answered(bad, exchange) == nil {
			t.Errorf("an answer that is %s is taken", name)
		}
	}
}
