package mux

import (
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/wire"
	"relaymux/relay"
)

// A jammed is a node of ours whose only target may not take what it is sent.
type jammed struct {
	mu   sync.Mutex
	word uint64 // the jam that RESULTs tell
	got  []byte
}

func (j *jammed) serve(ops []wire.Op) ([]wire.Result, *relay.Failure) {
	results := make([]wire.Result, len(ops))
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, op := range ops {
		for _, d := range op.Data {
			j.got = append(j.got, d...)
		}
		results[i] = wire.Result{SID: []byte("s"), HasOff: true, EOF: op.Kind == wire.Close, Jam: j.word}
	}
	j.mu.Unlock()
	time.Sleep(time.Second) // the way back, or a short hold
	j.mu.Lock()
	return results, nil
}

// say makes RESULTs tell word, and waits until the client has heard of it.
func (j *jammed) say(word uint64) {
	j.mu.Lock()
	j.word = word
	j.mu.Unlock()
	time.Sleep(5 * time.Second)
}

// Uploads to a target that did not read went on until the node reset it. And a
// RESULT that came late must not bring back what was true before.
func TestJam(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := new(jammed)
		s := newMux(t, Config{}, 8, replier(j.serve)).Open("h", 80)
		want := ""
		send := func(text string) {
			io.WriteString(s, text)
			want += text
			time.Sleep(10 * time.Second)
		}
		check := func(what string) {
			t.Helper()
			j.mu.Lock()
			defer j.mu.Unlock()
			if string(j.got) != want {
				t.Errorf("%s: the node got %q of %q", what, j.got, want)
			}
		}
		send("a")
		check("no word")
		j.say(1)
		send("b")
		want = "a"
		check("jammed")
		j.say(2)
		want = "ab"
		check("no more")
		j.say(1)
		send("c")
		check("an older word")
		j.say(3)
		send("d")
		s.CloseWrite()
		time.Sleep(10 * time.Second)
		want = "abc"
		check("jammed again, and half-closed")
		s.Close()
		time.Sleep(time.Minute)
		check("jammed again, and closed")
		j.say(4)
		want = "abcd"
		check("no more, and closed")
	})
}

// A close went out while bytes of its application were still waiting: for a
// held poll, for a target that did not read, for an exchange that had failed.
// And the end of the sending took along what a jam held back. All combinations
// of what the loop looks at.
func TestNeverCloseWithBytesUnsent(t *testing.T) {
	both := []bool{false, true}
	check := func(f *tcpFlow, v view) {
		unsent := v.out > 0 || f.resend
		aborted := v.over && !v.clean
		q, over := f.wants(v)
		if unsent && !aborted && (q == inLazy || q == inAbort || over && !f.deaf) {
			t.Errorf("%+v, %+v: queue %d, over %v", f, v, q, over)
		}
		if unsent && f.state == open && f.jam%2 == 1 && q == inReady {
			t.Errorf("%+v, %+v: uploads to a target that does not read", f, v)
		}
	}
	for bits := range 1 << 13 {
		bit := func(i int) bool { return bits>>i&1 == 1 }
		for state := fresh; state <= open; state++ {
			f := &tcpFlow{flow: flow{state: state, ours: bit(0)}, up: bit(1), resend: bit(2), finDone: bit(3), deaf: bit(4)}
			v := view{over: bit(5), clean: bit(6), fin: bit(7), eof: bit(8), gap: bit(9), hungry: bit(10), started: true}
			if bit(11) {
				f.polls = 1
			}
			if bit(12) {
				v.out = 1
			}
			for _, large := range both {
				if f.flightLen = 1; large {
					f.flightLen = interactive
				}
				for jam := range uint64(3) {
					f.jam = jam
					check(f, v)
				}
			}
		}
	}
}
