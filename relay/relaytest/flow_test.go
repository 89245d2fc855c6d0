package relaytest

import (
	"encoding/json"
	"io"
	"net"
	"testing"
	"time"
)

// More than any buffer on the way holds, so that all that bounds takes part.
const flowSize = 5<<20 + 4321

// TestHostile17_HalfClose: each end may end its direction first, and the other
// goes on for as long as it takes.
func TestHostile17_HalfClose(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *Stack, dialer){
		"app ends first": appEndsFirst, "target ends first": targetEndsFirst, "both at once": bothAtOnce,
	} {
		t.Run(name, func(t *testing.T) { everyWay(t, test) })
	}
}

func appEndsFirst(t *testing.T, s *Stack, dial dialer) {
	c := open(t, dial, s.serve(t, AnswerAtEOF))
	within(t, c, time.Minute)
	check(t, send(c, 1, flowSize))
	var got Received
	if err := json.Unmarshal([]byte(readAll(t, c)), &got); err != nil || got != sum(noise(1, flowSize)) {
		t.Errorf("the target got %+v, %v", got, err)
	}
}

func targetEndsFirst(t *testing.T, s *Stack, dial dialer) {
	got := make(chan arrival, 1)
	c := open(t, dial, s.serve(t, func(c net.Conn) {
		closeWrite(c)
		got <- arrive(c)
	}))
	within(t, c, time.Minute)
	if text := readAll(t, c); text != "" {
		t.Errorf("read %q", text)
	}
	check(t, send(c, 2, flowSize))
	(<-got).want(t, "the target", 2, flowSize)
}

func bothAtOnce(t *testing.T, s *Stack, dial dialer) {
	got := make(chan arrival, 1)
	c := open(t, dial, s.serve(t, func(c net.Conn) {
		sent := make(chan error)
		go func() { sent <- send(c, 3, flowSize) }()
		got <- arrive(c)
		if err := <-sent; err != nil {
			t.Errorf("the target sends: %v", err)
		}
	}))
	within(t, c, time.Minute)
	sent := make(chan error, 1)
	go func() { sent <- send(c, 4, flowSize) }()
	arrive(c).want(t, "the app", 3, flowSize)
	check(t, <-sent)
	(<-got).want(t, "the target", 4, flowSize)
}

// TestHostile16_AppResets: in the middle of an upload, of a download, and in
// silence.
func TestHostile16_AppResets(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, app net.Conn){
		"uploading": func(t *testing.T, app net.Conn) {
			_, err := io.Copy(app, noise(5, 1<<20))
			check(t, err)
		},
		"downloading": func(t *testing.T, app net.Conn) {
			_, err := io.CopyN(io.Discard, app, 1<<20)
			check(t, err)
		},
		"after a word": func(t *testing.T, app net.Conn) {
			writeAll(t, app, "x")
			_, err := io.ReadFull(app, make([]byte, 1))
			check(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			everyWay(t, func(t *testing.T, s *Stack, dial dialer) {
				ended := make(chan error, 1)
				c := open(t, dial, s.serve(t, func(c net.Conn) {
					go func() { _, _ = io.Copy(c, noise(6, 1<<30)) }()
					ended <- arrive(c).err
				}))
				within(t, c, time.Minute)
				prepare(t, c)
				reset(c)
				if err := <-ended; !isReset(err) {
					t.Errorf("the target saw %v, want a reset", err)
				}
			})
		})
	}
}

// TestHostile16_TargetResets: what the app has may be short, but must not end as
// if it were whole.
func TestHostile16_TargetResets(t *testing.T) {
	for name, act := range map[string]func(target net.Conn){
		"at once":     func(net.Conn) {},
		"after bytes": func(c net.Conn) { _, _ = io.Copy(c, noise(7, 300_000)) },
		"uploaded to": func(c net.Conn) { _, _ = io.CopyN(io.Discard, c, 1<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			everyWay(t, func(t *testing.T, s *Stack, dial dialer) {
				c := open(t, dial, s.serve(t, func(c net.Conn) {
					act(c)
					reset(c)
				}))
				within(t, c, time.Minute)
				sent := make(chan error, 1)
				go func() { _, err := io.Copy(c, noise(8, 64<<20)); sent <- err }()
				a := arrive(c)
				if a.err == nil {
					t.Error("the app saw a clean end")
				}
				a.wantPart(t, "the app", 7, 300_001)
				if err := <-sent; !isReset(err) {
					t.Errorf("the app's writes ended by %v", err)
				}
			})
		})
	}
}
