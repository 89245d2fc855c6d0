package relaytest

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// More than any buffer on the way holds, so that all that bounds takes part.
const flowSize = 3<<20 + 4321

// TestHostile17_HalfClose: each end may end its direction first, and the other
// goes on for as long as it takes.
func TestHostile17_HalfClose(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *Stack, Dialer){
		"app ends first": appEndsFirst, "target ends first": targetEndsFirst, "both at once": bothAtOnce,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyWay(t, test)
		})
	}
}

func appEndsFirst(t *testing.T, s *Stack, dial Dialer) {
	c := open(t, dial, s.serve(t, AnswerAtEOF))
	within(t, c, time.Minute)
	check(t, send(c, 1, flowSize))
	var got Received
	if err := json.Unmarshal([]byte(readAll(t, c)), &got); err != nil || got != sum(noise(1, flowSize)) {
		t.Errorf("the target got %+v, %v", got, err)
	}
}

func targetEndsFirst(t *testing.T, s *Stack, dial Dialer) {
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

func bothAtOnce(t *testing.T, s *Stack, dial Dialer) {
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

// A part is one end's doing in a test, and how its connection ended for it.
type part func(c net.Conn) error

func reads(c net.Conn) error  { return arrive(c).err }
func writes(c net.Conn) error { _, err := io.Copy(c, noise(5, 1<<30)); return err }

func echoesAByte(c net.Conn) error {
	if _, err := io.CopyN(c, c, 1); err != nil {
		return err
	}
	return reads(c)
}

// TestHostile16_AppResets: in the middle of an upload, of a download, and in
// silence. The target does only one thing at a time, since a system tells of a
// reset only once: to the reader or to the writer.
func TestHostile16_AppResets(t *testing.T) {
	for name, test := range map[string]struct{ app, target part }{
		"uploading": {
			func(c net.Conn) error { _, err := io.Copy(c, noise(6, flowSize)); return err },
			reads,
		},
		"downloading": {
			func(c net.Conn) error { _, err := io.CopyN(io.Discard, c, 1<<20); return err },
			writes,
		},
		"after a word": {
			func(c net.Conn) error { _, err := c.Write([]byte("x")); return err },
			echoesAByte,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyWay(t, func(t *testing.T, s *Stack, dial Dialer) {
				connected, ended := make(chan bool, 1), make(chan error, 1)
				c := open(t, dial, s.serve(t, func(c net.Conn) {
					connected <- true
					ended <- test.target(c)
				}))
				within(t, c, time.Minute)
				check(t, test.app(c))
				<-connected
				reset(c)
				if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the target saw %v, want a reset", err)
				}
			})
		})
	}
}

// TestHostile16_TargetResets: what the app has may be short, but must not end as
// if it were whole.
func TestHostile16_TargetResets(t *testing.T) {
	const size = 300_000
	for name, test := range map[string]struct{ app, target part }{
		"at once": {
			func(net.Conn) error { return nil },
			func(net.Conn) error { return nil },
		},
		"after bytes": {
			func(net.Conn) error { return nil },
			func(c net.Conn) error { _, err := io.Copy(c, noise(7, size)); return err },
		},
		"after an upload": {
			func(c net.Conn) error { _, err := io.Copy(c, noise(8, size)); return err },
			func(c net.Conn) error { _, err := io.CopyN(io.Discard, c, size); return err },
		},
	} {
		t.Run(name, func(t *testing.T) {
			everyWay(t, func(t *testing.T, s *Stack, dial Dialer) {
				c := open(t, dial, s.serve(t, func(c net.Conn) {
					if err := test.target(c); err != nil {
						t.Error(err)
					}
					reset(c)
				}))
				within(t, c, time.Minute)
				check(t, test.app(c))
				a := arrive(c)
				if a.err == nil {
					t.Error("the app saw a clean end")
				}
				a.wantPart(t, "the app", 7, size+1)
			})
		})
	}
}

// TestHostile16_TargetResetsAnUpload: here each end both reads and writes, so
// that the reset shows to one of the two, and must not show as a FIN to both.
func TestHostile16_TargetResetsAnUpload(t *testing.T) {
	everyWay(t, func(t *testing.T, s *Stack, dial Dialer) {
		for range 5 {
			c := open(t, dial, s.serve(t, func(c net.Conn) {
				_, _ = io.CopyN(io.Discard, c, 1<<20)
				reset(c)
			}))
			within(t, c, 10*time.Second)
			wrote := make(chan error, 1)
			go func() { wrote <- writes(c) }()
			read := reads(c)
			if err := <-wrote; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(read, syscall.ECONNRESET) {
				t.Errorf("the app's reads ended by %v, its writes by %v", read, err)
			}
			c.Close()
		}
	})
}

// TestHostile16_HTTPAnswerBreaksOff: of a plain http answer that ends with its
// connection, a reset is passed on as one. It needs real sockets.
func TestHostile16_HTTPAnswerBreaksOff(t *testing.T) {
	const half = "half of it"
	s := NewStack(t, StackConfig{})
	seen := make(chan bool)
	addr := s.serve(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"+half)
		<-seen // a reset overtakes
		reset(c)
	})
	c, err := s.Dial(t.Context(), "tcp", s.Proxy)
	check(t, err)
	defer c.Close()
	within(t, c, 10*time.Second)
	writeAll(t, c, "GET http://"+addr+"/ HTTP/1.1\r\nHost: "+addr+"\r\nConnection: close\r\n\r\n")
	answer := bufio.NewReader(c)
	for line := ""; !strings.HasPrefix(line, half); {
		if line, err = answer.ReadString('t'); err != nil {
			t.Fatal(err)
		}
		line = line[max(0, strings.LastIndexByte(line, '\n')+1):]
	}
	close(seen)
	if a := arrive(answer); !errors.Is(a.err, syscall.ECONNRESET) {
		t.Errorf("the app got %v, want a reset", a.err)
	}
}
