package exit

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"relaymux/mux/wire"
)

// TestHostile17_HalfClose: each direction ends alone, and all bytes arrive.
func TestHostile17_HalfClose(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.open("bye.test") // its target has ended before the first upload
		if res := r.batch(poll(sid)); text(res[0]) != "bye" || !res[0].EOF || res[0].Rst {
			t.Fatalf("%+v", res[0])
		}
		far := r.world.far("bye.test")
		got := make(chan string)
		go func() {
			b, _ := io.ReadAll(far)
			got <- string(b)
		}()
		for _, s := range []string{"a", "b", "c"} {
			expect(t, "an upload after the target's end", 0, 0, func() { r.batch(write(sid, s)) })
		}
		r.batch(fin(sid))
		if s := <-got; s != "abc" {
			t.Errorf("the target got %q", s)
		}
		synctest.Wait()
		if n := r.node.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions left after both ends", n)
		}
	})
}

// TestCloseFlushes: what was sent before a close arrives, and then a FIN; with
// rst, an RST.
func TestCloseFlushes(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.world.window = 10
		sid := r.open("silent.test")
		data := strings.Repeat("0123456789", 100)
		r.batch(write(sid, data), closeOp(sid))
		far := r.world.far("silent.test")
		if got, err := io.ReadAll(far); err != nil || string(got) != data {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		sid = r.open("silent.test")
		rst := closeOp(sid)
		rst.Rst = true
		r.batch(write(sid, data), rst)
		if err := r.world.far("silent.test").ended(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("close with rst: the target saw %v", err)
		}
		sid = r.open("silent.test")
		expect(t, "the flush to a target that does not read", flushLimit, flushLimit, func() {
			r.batch(write(sid, data), closeOp(sid))
			far := r.world.far("silent.test")
			far.in.mu.Lock()
			for !far.in.fin {
				far.in.cond.Wait()
			}
			far.in.mu.Unlock()
		})
	})
}

// TestHostile61_Sids: guessed, closed and others' sids are told nothing.
func TestHostile61_Sids(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		seen := make(map[string]bool)
		for range 100 {
			sid := string(r.open("silent.test"))
			if seen[sid] || len(sid) < 26 { // 26 characters of base32 are 130 bit
				t.Fatalf("sid %q", sid)
			}
			seen[sid] = true
		}
		a := r.open("echo.test")
		guess := bytes.Clone(a)
		guess[0] ^= 1
		res := r.batch(write(guess, "x"), write(nil, "x"), write([]byte(strings.Repeat("x", 1000)), "x"))
		for _, re := range res {
			if !re.EOF || !re.Rst || len(re.Err) > 0 || re.Len() > 0 {
				t.Errorf("%+v", re)
			}
		}
		r.batch(closeOp(a))
		time.Sleep(rememberFor + time.Second)
		if re := r.batch(poll(a))[0]; !re.Rst {
			t.Error("a closed sid is remembered for ever")
		}
	})
}

// brokenWriter is the answer to a client that has gone.
type brokenWriter struct{ *httptest.ResponseRecorder }

func (brokenWriter) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// TestHostile65_LostAnswer: this wire cannot send bytes again, so a session whose
// bytes were lost is reset, and no hole is ever passed over in silence.
func TestHostile65_LostAnswer(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid, other := r.open("hello.test"), r.open("silent.test")
		body := wire.AppendBatch(nil, testKey, false, []wire.Op{poll(sid), poll(other)})
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, pathBatch, bytes.NewReader(body))
		r.node.ServeHTTP(brokenWriter{httptest.NewRecorder()}, req)
		res := r.batch(poll(sid), poll(other))
		if !res[0].EOF || !res[0].Rst {
			t.Errorf("after a lost answer: %+v", res[0])
		}
		if res[1].EOF {
			t.Errorf("the other session: %+v", res[1])
		}
	})
}

// TestHostile66_Uploads sends uploads in any order, some of them twice: each byte
// arrives once and in its place.
func TestHostile66_Uploads(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		chunks := rapid.SliceOfN(rapid.StringN(1, 20, 20), 1, maxEarly).Draw(rt, "chunks")
		order := rapid.Permutation(indexes(len(chunks))).Draw(rt, "order")
		twice := rapid.SliceOfN(rapid.IntRange(0, len(chunks)-1), 0, 5).Draw(rt, "twice")
		bubble(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open("silent.test")
			for _, i := range append(order, twice...) {
				r.node.table.open[string(sid)].(*tcpSession).upload(new(writeSeq(sid, uint64(i), chunks[i])))
			}
			r.batch(closeOp(sid))
			got, _ := io.ReadAll(r.world.far("silent.test"))
			if want := strings.Join(chunks, ""); string(got) != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	})
}

func indexes(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// TestHostile79_Bounds is how much one request may ask for.
func TestHostile79_Bounds(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		ops := make([]wire.Op, maxOps+1)
		for i := range ops {
			ops[i] = closeOp([]byte("x"))
		}
		if res, err := r.try(t.Context(), ops[:maxOps]...); err != nil || len(res) != maxOps {
			t.Errorf("%d ops: %d results, %v", maxOps, len(res), err)
		}
		if _, err := r.try(t.Context(), ops...); err == nil {
			t.Errorf("%d ops were accepted", len(ops))
		}
		many := []byte(`{"k":"` + testKey + `","ops":[` + strings.Repeat("{},", 1e6) + `{}]}`)
		if w := r.post(t.Context(), pathBatch, many); w.Code != http.StatusNotFound {
			t.Errorf("10^6 ops: status %d", w.Code)
		}
		huge := []byte(`{"k":"` + testKey + `","ops":[{"op":"data","sid":"x","seq":1e99,"wseq":-1,"max":18446744073709551616,"d":7}]}`)
		if w := r.post(t.Context(), pathBatch, huge); w.Code != http.StatusOK {
			t.Errorf("absurd numbers: status %d", w.Code)
		}
	})
}

// TestHostile79_EarlyUploads holds the cap on uploads that wait for others.
func TestHostile79_EarlyUploads(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.open("silent.test")
		for i := range maxEarly {
			if re := r.batch(writeSeq(sid, uint64(i)<<40+1, "x"))[0]; re.EOF {
				t.Fatalf("reset after %d", i)
			}
		}
		if re := r.batch(writeSeq(sid, 7, "x"))[0]; !re.EOF || !re.Rst {
			t.Errorf("upload %d: %+v", maxEarly+1, re)
		}
		if err := r.world.far("silent.test").ended(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the target saw %v", err)
		}
	})
}

// TestUploadBound: a target that does not read costs its session, not the node.
func TestUploadBound(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.open("silent.test")
		most := maxQueue + r.worldWindow()
		sent, chunk := 0, strings.Repeat("x", 1<<20)
		for {
			re := r.batch(write(sid, chunk))[0]
			if re.EOF {
				if !re.Rst {
					t.Error("ended without rst")
				}
				break
			}
			if sent += len(chunk); sent > most {
				t.Fatalf("%d bytes taken in for a target that does not read", sent)
			}
		}
		if sent < maxQueue-2<<20 {
			t.Errorf("reset after %d bytes", sent)
		}
		if s := r.node.Stats(); s.Overruns != 1 || s.Memory != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func (r *rig) worldWindow() int { return 64 << 10 }

// TestHostile80_StreamLimit has a limit, and a place again after an end.
func TestHostile80_StreamLimit(t *testing.T) {
	bubble(t, Config{Streams: 3}, func(t *testing.T, r *rig) {
		sids := [][]byte{r.open("silent.test"), r.open("silent.test"), r.open("silent.test")}
		if e := string(r.batch(connectOp("silent.test"))[0].Err); e != connectFailed+errStreams.Error() {
			t.Errorf("one too many: %q", e)
		}
		r.batch(closeOp(sids[0]))
		r.open("silent.test")
		if s := r.node.Stats(); s.Refused != 1 || s.Sessions != 3 {
			t.Errorf("%+v", s)
		}
	})
}

func TestDialRate(t *testing.T) {
	bubble(t, Config{DialsPerSecond: 2}, func(t *testing.T, r *rig) {
		res := r.batch(connectOp("echo.test"), connectOp("echo.test"), connectOp("echo.test"))
		if len(res[1].Err) > 0 || string(res[2].Err) != connectFailed+errDialRate.Error() {
			t.Errorf("%+v", res)
		}
		time.Sleep(time.Second)
		r.open("echo.test")
	})
}

// gusher is a target that sends size bytes as fast as it may.
func gusher(size int) dialFunc {
	return func(context.Context, string, string) (net.Conn, error) {
		near, far := memPair(256 << 10)
		go func() {
			chunk := bytes.Repeat([]byte("x"), 64<<10)
			for sent := 0; sent < size; sent += len(chunk) {
				if _, err := far.Write(chunk); err != nil {
					break
				}
			}
			_ = far.Close()
		}()
		return near, nil
	}
}

// TestHostile82_SlowReader: of 100 downloads one is never collected. The others
// go on, and memory stays within the budget.
func TestHostile82_SlowReader(t *testing.T) {
	const memory, size, n = 8 << 20, 1 << 20, 100
	bubble(t, Config{Memory: memory, Dialer: gusher(size)}, func(t *testing.T, r *rig) {
		stalled := r.open("x")
		sids := make([][]byte, n-1)
		for i := range sids {
			sids[i] = r.open("x")
		}
		synctest.Wait()
		if m := r.node.Stats().Memory; m > memory {
			t.Errorf("%d bytes charged of %d", m, memory)
		}
		for i, sid := range sids {
			if got := r.download(sid); got != size {
				t.Fatalf("download %d brought %d bytes", i, got)
			}
		}
		if m := r.node.Stats().Memory; m > memory {
			t.Errorf("%d bytes charged of %d", m, memory)
		}
		if got := r.download(stalled); got != size {
			t.Errorf("the stalled one brought %d bytes", got)
		}
	})
}

// download polls until the end, checks the offsets, and returns how much came.
func (r *rig) download(sid []byte) (n int) {
	r.t.Helper()
	for {
		re := r.batch(poll(sid))[0]
		if re.Off != uint64(n) {
			r.t.Fatalf("offset %d after %d bytes", re.Off, n)
		}
		if re.Rst || len(re.Err) > 0 {
			r.t.Fatalf("reset after %d bytes: %s; %+v", n, re.Err, r.node.Stats())
		}
		if n += re.Len(); re.EOF {
			return n
		}
	}
}

// TestMemoryIsShared: with little memory, many sessions that nobody collects
// from still leave room for one more.
func TestMemoryIsShared(t *testing.T) {
	const memory = 4 << 20
	bubble(t, Config{Memory: memory, Dialer: gusher(1 << 20)}, func(t *testing.T, r *rig) {
		for range 200 {
			r.open("x")
		}
		synctest.Wait()
		if m := r.node.Stats().Memory; m > memory/2+200*lean {
			t.Errorf("%d bytes charged of %d", m, memory/2)
		}
		if got := r.download(r.open("x")); got != 1<<20 {
			t.Errorf("%d bytes", got)
		}
	})
}

// TestKeystrokesWhileMemoryIsShort: downloads that fill the memory do not cost a
// session its uploads.
func TestKeystrokesWhileMemoryIsShort(t *testing.T) {
	bubble(t, Config{Memory: 1 << 20, Dialer: gusher(1 << 20)}, func(t *testing.T, r *rig) {
		var sids [][]byte
		for range 100 {
			sids = append(sids, r.open("x"))
		}
		synctest.Wait()
		for _, sid := range sids {
			o := write(sid, strings.Repeat("k", lean))
			o.Max = 1
			if re := r.batch(o)[0]; re.EOF {
				t.Fatalf("%+v; %+v", re, r.node.Stats())
			}
		}
	})
}

// TestAnswerLimits: 16 MiB of a session, 32 MiB of an answer, fairly.
func TestAnswerLimits(t *testing.T) {
	bubble(t, Config{Memory: 1 << 30, Dialer: gusher(20 << 20)}, func(t *testing.T, r *rig) {
		a, b, c := r.open("x"), r.open("x"), r.open("x")
		synctest.Wait()
		check := func(res []wire.Result, want ...int) {
			t.Helper()
			for i := range res {
				if res[i].Len() != want[i] {
					t.Errorf("result %d carries %d bytes, want %d", i, res[i].Len(), want[i])
				}
			}
			synctest.Wait()
		}
		limited := poll(b)
		limited.Max = 1000
		check(r.batch(poll(a), limited, poll(c)), (maxAnswer-1000)/2, 1000, (maxAnswer-1000)/2)
		rest := 20<<20 - (maxAnswer-1000)/2
		check(r.batch(poll(a), poll(b), poll(c)), rest, maxDrain, rest)
		check(r.batch(poll(b)), 4<<20-1000)
	})
}

// loopback dials a listener on loopback, whatever is asked for.
func loopback(t testing.TB, serve func(*net.TCPConn)) Dialer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		work.Wait()
	})
	return dialFunc(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, ln.Addr().String())
	})
}

// TestSockets moves bytes both ways through real sockets at once, a poll and an
// upload in flight all the time, and puts them together by their offsets.
func TestSockets(t *testing.T) {
	r := newRig(t, Config{LongPoll: time.Second, Dialer: loopback(t, func(c *net.TCPConn) {
		_, _ = io.Copy(c, c)
		_ = c.CloseWrite()
	})})
	const part, parts = 1 << 20, 8
	data := make([]byte, part*parts)
	_, _ = rand.Read(data)
	sid := r.open("x")
	var a assembly
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !a.add(r.batch(poll(sid))[0]) {
		}
	}()
	for i := range uint64(parts) {
		o := writeSeq(sid, i, string(data[i*part:(i+1)*part]))
		o.Fin = i == parts-1
		a.add(r.batch(o)[0])
	}
	<-done
	if a.rst || !bytes.Equal(a.got, data) {
		t.Errorf("rst %v, %d of %d bytes, or others", a.rst, len(a.got), len(data))
	}
}

// An assembly is a download put together from results in any order.
type assembly struct {
	mu  sync.Mutex
	got []byte
	rst bool
}

// add reports whether the result was the end.
func (a *assembly) add(re wire.Result) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if end := int(re.Off) + re.Len(); end > len(a.got) {
		a.got = append(a.got, make([]byte, end-len(a.got))...)
	}
	copy(a.got[re.Off:], text(re))
	a.rst = a.rst || re.Rst
	return re.EOF
}

// TestSocketEnds tells FIN from RST on real sockets, and closes under a reader
// that waits.
func TestSocketEnds(t *testing.T) {
	for _, rst := range []bool{false, true} {
		r := newRig(t, Config{LongPoll: time.Second, Dialer: loopback(t, func(c *net.TCPConn) {
			if _, _ = c.Read(make([]byte, 1)); rst {
				_ = c.SetLinger(0)
			}
		})})
		re := r.batch(connectData("x", "x"))[0]
		if !re.EOF || re.Rst != rst {
			t.Errorf("rst %v: %+v", rst, re)
		}
	}
	r := newRig(t, Config{LongPoll: time.Second, Dialer: loopback(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })})
	sid := r.open("x")
	if re := r.batch(closeOp(sid))[0]; !re.EOF {
		t.Errorf("%+v", re)
	}
	r.open("x") // left to Close
}

// A goneConn fails its write, and then its read is at the end.
type goneConn struct {
	net.Conn
	err    error // of the write
	failed chan struct{}
}

func (c *goneConn) Write([]byte) (int, error) {
	close(c.failed)
	return 0, &net.OpError{Op: "write", Err: c.err}
}

func (c *goneConn) Read([]byte) (int, error) {
	<-c.failed
	return 0, io.EOF
}

func (c *goneConn) Close() error { return nil }

// TestResetHeardByWriter: an RST that the system told the writer, so that the
// reader saw a mere end, is an RST for the client.
func TestResetHeardByWriter(t *testing.T) {
	for err, rst := range map[error]bool{syscall.ECONNRESET: true, syscall.ETIMEDOUT: true, syscall.EPIPE: false} {
		dialer := dialFunc(func(context.Context, string, string) (net.Conn, error) {
			return &goneConn{err: err, failed: make(chan struct{})}, nil
		})
		bubble(t, Config{Dialer: dialer}, func(t *testing.T, r *rig) {
			sid := r.open("x")
			if re := r.batch(write(sid, "x"))[0]; !re.EOF || re.Rst != rst {
				t.Errorf("after %v: %+v", err, re)
			}
		})
	}
}
