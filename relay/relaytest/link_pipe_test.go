package relaytest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/mux"
	"relaymux/relay/exit"
)

// onPipes serves a node, but for pipes, which it serves through fault if that is not
// nil. It counts them.
type onPipes struct {
	ready chan struct{} // closed: there is a node
	node  *exit.Node
	pipes atomic.Int64
	fault atomic.Pointer[func(http.ResponseWriter, *http.Request)]
}

func (o *onPipes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	<-o.ready
	if r.ContentLength >= 0 {
		o.node.ServeHTTP(w, r)
		return
	}
	o.pipes.Add(1)
	if fault := o.fault.Load(); fault != nil {
		(*fault)(w, r)
		return
	}
	o.node.ServeHTTP(w, r)
}

func (o *onPipes) set(fault func(http.ResponseWriter, *http.Request)) {
	if fault == nil {
		o.fault.Store(nil)
		return
	}
	o.fault.Store(&fault)
}

// piped runs test with a client that goes straight to a node.
func piped(t *testing.T, test func(t *testing.T, s *Stack, o *onPipes)) {
	t.Helper()
	o := new(onPipes)
	virtual(t, StackConfig{Link: true, Foreign: o, Mux: func(*mux.Config) { o.ready = make(chan struct{}) }}, func(t *testing.T, s *Stack) {
		o.node = linkNode(s.config.Memory, nil)
		defer o.node.Close()
		close(o.ready)
		test(t, s, o)
	})
}

// TestPipe: straight to the node everything goes by one exchange, which ends a
// minute after the last flow has; and the next flow begins another.
func TestPipe(t *testing.T) {
	const size, talkers = 20e6, 50
	piped(t, func(t *testing.T, s *Stack, o *onPipes) {
		for round := range int64(2) {
			var l load
			l.begin(t, s, size, time.Minute)
			echo := s.serve(t, Echo)
			var all sync.WaitGroup
			for range crowd(talkers) {
				all.Go(func() {
					c := open(t, s.Connect, echo)
					defer c.Close()
					for i := range 20 {
						if took := ask(t, c, fmt.Sprint(i)); took > 200*time.Millisecond {
							t.Errorf("an answer took %v", took)
						}
					}
				})
			}
			all.Wait()
			l.want(size)
			n := s.Stats.Exchanges.Load()
			c := open(t, s.Connect, echo)
			for range 10 {
				ask(t, c, "more")
				time.Sleep(time.Minute)
			}
			c.Close()
			if more := s.Stats.Exchanges.Load() - n; more != 0 || o.pipes.Load() != round+1 {
				t.Errorf("%d exchanges in ten minutes, %d pipes", more, o.pipes.Load())
			}
			time.Sleep(2 * time.Minute)
			wantFree(t, o.node)
		}
	})
}

// pipeFaults are what may happen to a pipe that stands. serve has the node serve it.
var pipeFaults = []struct {
	name string
	do   func(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, io.Reader))
}{
	{"breaks after 100 KB down", func(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, io.Reader)) {
		serve(&cutWriter{ResponseWriter: w, left: 100_000}, r.Body)
	}},
	{"breaks after 100 KB up", func(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, io.Reader)) {
		serve(w, io.LimitReader(r.Body, 100_000))
	}},
	{"goes silent up", func(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, io.Reader)) {
		serve(w, io.MultiReader(io.LimitReader(r.Body, 100_000), silence{r.Body}))
	}},
	{"goes silent down", func(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, io.Reader)) {
		serve(&cutWriter{ResponseWriter: w, left: 100_000, mute: true}, r.Body)
	}},
	{"a bit flips up", func(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, io.Reader)) {
		serve(w, &flipReader{Reader: r.Body, at: 50_000})
	}},
	{"a bit flips down", func(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, io.Reader)) {
		serve(&cutWriter{ResponseWriter: w, left: 1 << 30, flip: 50_000}, r.Body)
	}},
}

// cutWriter ends the connection after left bytes, or is mute from there on; flip
// changes the byte there.
type cutWriter struct {
	http.ResponseWriter
	left, flip int
	mute       bool
}

func (c *cutWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *cutWriter) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		if c.mute {
			return len(p), nil
		}
		return 0, io.ErrClosedPipe
	}
	if at := c.flip; at > 0 {
		if c.flip -= len(p); c.flip <= 0 {
			p = bytes.Clone(p)
			p[at-1] ^= 4
		}
	}
	return c.ResponseWriter.Write(p)
}

type flipReader struct {
	io.Reader
	at int
}

func (f *flipReader) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if f.at > 0 && f.at <= n {
		p[f.at-1] ^= 4
	}
	f.at -= n
	return n, err
}

// silence is a body of which nothing comes, until its connection ends.
type silence struct{ io.Reader }

func (s silence) Read([]byte) (int, error) {
	_, _ = io.Copy(io.Discard, s.Reader)
	return 0, io.EOF
}

// TestPipeFaults: whatever becomes of a pipe, no flow breaks and no byte is lost. The
// exchanges take over, until there is another pipe.
func TestPipeFaults(t *testing.T) {
	const size, most = 20e6, 15 * time.Second // the longest in an upload on a line that has shown nothing yet: it may be slow
	for _, f := range pipeFaults {
		t.Run(f.name, func(t *testing.T) {
			piped(t, func(t *testing.T, s *Stack, o *onPipes) {
				echo := s.serve(t, Echo)
				idle := open(t, s.Connect, echo)
				o.set(func(w http.ResponseWriter, r *http.Request) {
					o.set(nil)
					f.do(w, r, func(w http.ResponseWriter, body io.Reader) {
						r.Body = struct {
							io.Reader
							io.Closer
						}{body, r.Body}
						o.node.ServeHTTP(w, r)
						panic(http.ErrAbortHandler)
					})
				})
				ask(t, idle, "hello")
				time.Sleep(time.Second)
				took := elapsed(func() {
					var l load
					l.begin(t, s, size, time.Minute)
					l.want(size)
				})
				t.Logf("%v, %d pipes, %d exchanges", took, o.pipes.Load(), s.Stats.Exchanges.Load())
				if took > most {
					t.Errorf("took %v", took)
				}
				if ask(t, idle, "still there") > time.Second {
					t.Error("the idle connection waits")
				}
				time.Sleep(2 * time.Minute)
				if o.pipes.Load() < 2 {
					t.Error("no other pipe followed")
				}
				idle.Close()
				time.Sleep(2 * time.Minute)
				wantFree(t, o.node)
			})
		})
	}
}

// TestPipeRefused: a way that lets none through, for it passes on requests that are
// whole, or not at all, costs a few exchanges, then one an hour, and nobody's time.
func TestPipeRefused(t *testing.T) {
	for name, refuse := range map[string]func(http.ResponseWriter, *http.Request){
		"waits for the end": func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) },
		"404":               func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"411": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusLengthRequired)
		},
		"a page": func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"another's": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = io.WriteString(w, "\x84hello")
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) },
		"breaks":     func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			piped(t, func(t *testing.T, s *Stack, o *onPipes) {
				o.set(refuse)
				echo := s.serve(t, Echo)
				c := open(t, s.Connect, echo)
				for i := range 50 {
					if took := ask(t, c, "x"); took > 100*time.Millisecond {
						t.Errorf("answer %d took %v", i, took)
					}
					time.Sleep(time.Minute)
				}
				if n := o.pipes.Load(); n == 0 || n > 7 {
					t.Errorf("%d were tried", n)
				}
				n := o.pipes.Load()
				time.Sleep(3 * time.Hour)
				if more := o.pipes.Load() - n; more > 3 {
					t.Errorf("%d were tried in three hours more", more)
				}
			})
		})
	}
}

// muted swallows what the node answers from when on is set.
type muted struct {
	http.ResponseWriter
	on *atomic.Bool
}

func (m muted) Unwrap() http.ResponseWriter { return m.ResponseWriter }

func (m muted) Write(p []byte) (int, error) {
	if m.on.Load() {
		return len(p), nil
	}
	return m.ResponseWriter.Write(p)
}

// deaf is a body of which nothing is read from when on is set, until end.
type deaf struct {
	io.ReadCloser
	on  *atomic.Bool
	end <-chan struct{}
}

func (d deaf) Read(p []byte) (int, error) {
	if d.on.Load() {
		<-d.end
		return 0, io.EOF
	}
	return d.ReadCloser.Read(p)
}

// TestPipeDiesInAnUpload: the way swallows everything while the client has much to
// send. Others do not wait for that.
func TestPipeDiesInAnUpload(t *testing.T) {
	piped(t, func(t *testing.T, s *Stack, o *onPipes) {
		var on atomic.Bool
		end := make(chan struct{})
		o.set(func(w http.ResponseWriter, r *http.Request) {
			o.set(nil)
			r.Body = deaf{r.Body, &on, end}
			o.node.ServeHTTP(muted{w, &on}, r)
		})
		idle := open(t, s.Connect, s.serve(t, Echo))
		ask(t, idle, "hello")
		time.Sleep(time.Second)
		up := open(t, s.Connect, s.serve(t, AnswerAtEOF))
		go trickle(up, 3, 1<<30)
		time.Sleep(5 * time.Second)
		on.Store(true)
		time.Sleep(100 * time.Millisecond)
		if took := ask(t, idle, "still there"); took > 10*time.Second {
			t.Errorf("an answer took %v", took)
		}
		close(end)
		up.Close()
	})
}

// TestPipeUnproven: somebody on the way keeps the answer of a pipe back, all of it or
// but for its head. Nothing waits for it.
func TestPipeUnproven(t *testing.T) {
	piped(t, func(t *testing.T, s *Stack, o *onPipes) {
		var on atomic.Bool
		on.Store(true)
		o.set(func(w http.ResponseWriter, r *http.Request) { o.node.ServeHTTP(muted{w, &on}, r) })
		c := open(t, s.Connect, s.serve(t, func(c net.Conn) {
			p := make([]byte, 100)
			for {
				n, err := c.Read(p)
				if err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
				_, _ = c.Write(p[:n])
			}
		}))
		for range 30 {
			if took := ask(t, c, "x"); took > 200*time.Millisecond {
				t.Errorf("an answer took %v", took)
			}
			time.Sleep(time.Second)
		}
	})
}

// TestPipeAfterALostAnswer: the answer to an exchange gets lost when the pipe that was
// begun before it already stands.
func TestPipeAfterALostAnswer(t *testing.T) {
	o := new(onPipes)
	var n atomic.Int64
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-o.ready
		if r.ContentLength < 0 {
			time.Sleep(50 * time.Millisecond)
		} else if n.Add(1) == 2 { // the handshake, and this
			o.node.ServeHTTP(&cutWriter{ResponseWriter: w, mute: true}, r)
			time.Sleep(200 * time.Millisecond)
			panic(http.ErrAbortHandler)
		}
		o.node.ServeHTTP(w, r)
	})
	virtual(t, StackConfig{Link: true, Foreign: h, Mux: func(*mux.Config) { o.ready = make(chan struct{}) }}, func(t *testing.T, s *Stack) {
		o.node = linkNode(s.config.Memory, nil)
		defer o.node.Close()
		close(o.ready)
		time.Sleep(time.Second)
		if took := ask(t, open(t, s.Connect, s.serve(t, Echo)), "hello"); took > time.Second {
			t.Errorf("an answer took %v", took)
		}
	})
}

// TestPipeSlowLine: a slow line is not taken for a dead one, and nothing is repeated.
func TestPipeSlowLine(t *testing.T) {
	const size = 1_000_000
	for _, rate := range []int{20_000, 30_000, 100_000, 1_000_000} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			piped(t, func(t *testing.T, s *Stack, o *onPipes) {
				o.set(func(w http.ResponseWriter, r *http.Request) {
					r.Body = struct {
						io.Reader
						io.Closer
					}{slowly{r.Body, rate}, r.Body}
					o.node.ServeHTTP(w, r)
				})
				idle := open(t, s.Connect, s.serve(t, Echo))
				for range 5 {
					ask(t, idle, "hello")
					time.Sleep(time.Second)
				}
				came := make(chan arrival, 1)
				c := open(t, s.Connect, s.serve(t, func(c net.Conn) { came <- arrive(c) }))
				if err := send(c, 5, size); err != nil {
					t.Error(err)
				}
				a := <-came
				a.want(t, "the target", 5, size)
				if o.pipes.Load() != 1 || s.Stats.Resent.Load() != 0 {
					t.Errorf("%d pipes, %d bytes went again", o.pipes.Load(), s.Stats.Resent.Load())
				}
			})
		})
	}
}
