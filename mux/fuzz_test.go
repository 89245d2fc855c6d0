package mux

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/wire"
	"relaymux/relay"
)

// A scripted relay answers exchange after exchange by what it is told to, and then says
// of every op that its session is over.
type scripted struct {
	mu    sync.Mutex
	texts [][]byte
	said  int
}

func (r *scripted) Close() {}

func (r *scripted) Exchange(ctx context.Context, x *relay.Exchange) error {
	e, err := wire.ParseEnvelope(bytes.Clone(x.Body))
	if err != nil {
		return &relay.Failure{Kind: relay.Refused}
	}
	ops, err := wire.ParseOps(e.Ops, nil, 1000)
	if err != nil {
		return &relay.Failure{Kind: relay.Refused}
	}
	if err := wait(ctx, time.Second); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.texts) > 0 {
		text := r.texts[0]
		r.texts = r.texts[1:]
		if len(text) == 0 {
			return &relay.Failure{Kind: relay.Broken}
		}
		r.said += len(text)
		x.Answer = append(x.Answer, text...)
		return nil
	}
	results := make([]wire.Result, len(ops))
	for i := range ops {
		results[i] = wire.Result{SID: ops[i].SID, EOF: true, Err: []byte("over")}
		if len(ops[i].SID) == 0 {
			results[i].SID = fmt.Append(nil, "t", i)
		}
	}
	x.Answer = wire.AppendAnswer(x.Answer, results)
	return nil
}

// FuzzRelay: whatever a relay of the JSON wire answers, flows come to their end, get no
// more than it has said, and leave nothing behind.
func FuzzRelay(f *testing.F) {
	for _, texts := range [][]string{
		{`{"r":[{"sid":"a","d":"aGk=","off":0,"eof":false},{"sid":"b","pkts":["eA=="],"off":0}]}`, `{"r":[{"sid":"a","d":"aGk=","off":2,"more":9}]}`},
		{`{"r":[{"sid":"a","off":0},{"sid":"b"}]}`, `{"r":[{"sid":"a","off":18446744073709551615,"d":"aGk="}]}`, ``, `{"r":[{"sid":"a","off":0,"eof":true,"rst":true}]}`},
		{`{"r":[{"sid":"a"},{"sid":"a"}]}`, `{"r":[]}`, `{"r":[{"sid":"zz","d":"AA=="},{},{}]}`, `{"e":"unauthorized"}`},
		{`{"r":[{"sid":"a","pend":true,"off":0,"jam":1},{"e":"x","code":"UNSUPPORTED_OP"}]}`, `{"r":[{"sid":"a","off":0,"jam":18446744073709551615}]}`, `<html>`},
		{`{"r":[{"e":"connect failed: name not found"},{"sid":"b","ip":"::1%x","pkts":["","AA=="],"off":3}]}`}, {``, ``, `{"r":[{"sid":"a","d":"AA==","seq":3,"eof":true}]}`},
	} {
		f.Add([]byte(strings.Join(texts, "\x00")))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		texts := bytes.Split(in, []byte{0})
		if len(texts) > 40 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			r := &scripted{texts: slices.Clone(texts)}
			m := newMux(t, Config{}, 30, r)
			s, u := m.Open("example.org", 80), openUDP(m, "example.org", 53)
			u.send("one", "two")
			var flows sync.WaitGroup
			got := 0
			flows.Go(func() {
				if _, err := io.WriteString(s, "hello"); err == nil {
					_ = s.CloseWrite()
				}
			})
			flows.Go(func() {
				n, _ := io.Copy(io.Discard, s)
				got = int(n)
			})
			time.Sleep(10 * time.Minute)
			s.Close()
			u.u.Close()
			flows.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			m.Close(ctx)
			for _, p := range u.got {
				got += len(p)
			}
			if got > r.said {
				t.Errorf("%d bytes came of %d", got, r.said)
			}
			if n := m.budget.Used() + m.unacked.Used(); n != 0 {
				t.Errorf("%d bytes are still charged", n)
			}
		})
	})
}
