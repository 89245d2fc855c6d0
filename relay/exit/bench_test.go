package exit

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/buf"
	"relaymux/mux/wire"
)

// nullWriter is a client that swallows answers.
type nullWriter struct {
	header http.Header
	n      int
}

func (w *nullWriter) Header() http.Header         { return w.header }
func (w *nullWriter) WriteHeader(int)             {}
func (w *nullWriter) Write(p []byte) (int, error) { w.n += len(p); return len(p), nil }

// BenchmarkDrain answers a poll with 16 MiB; MB/s are those of the payload.
func BenchmarkDrain(b *testing.B) {
	r := newRig(b, Config{LongPoll: time.Second})
	sid := r.open("silent.test")
	s := r.node.table.open[string(sid)].(*tcpSession)
	body := wire.AppendBatch(nil, testKey, false, []wire.Op{poll(sid)})
	chunk := make([]byte, buf.Max)
	b.SetBytes(maxDrain)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		s.mu.Lock()
		for range maxDrain / buf.Max {
			c := buf.Copy(chunk)
			s.down.claim.charge(cap(c.B))
			s.down.push(c)
		}
		s.mu.Unlock()
		x := r.node.newExchange()
		q := r.node.newRequest()
		q.b.B = append(q.b.B, body...)
		if err := x.readBatch(q); err != nil {
			b.Fatal(err)
		}
		x.execute()
		q.release()
		w := &nullWriter{header: make(http.Header)}
		b.StartTimer()
		r.node.reply(w, x)
		b.StopTimer()
		x.release()
		if w.n < maxDrain {
			b.Fatalf("%d bytes", w.n)
		}
		b.StartTimer()
	}
}

// BenchmarkBatchSmallOps is a batch of 50 ops that need no waiting.
func BenchmarkBatchSmallOps(b *testing.B) {
	r := newRig(b, Config{LongPoll: time.Second})
	ops := make([]wire.Op, 50)
	for i := range ops {
		ops[i] = poll([]byte("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
	}
	for i := range 25 {
		sid := r.open("sink.test")
		r.batch(poll(sid))
		ops[i] = write(sid, "keystroke")
	}
	body := wire.AppendBatch(nil, testKey, false, ops)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		req := httptest.NewRequest(http.MethodPost, pathBatch, bytes.NewReader(body))
		r.node.ServeHTTP(&nullWriter{header: make(http.Header)}, req)
	}
}

// TestHostile80_IdleSessions weighs sessions that have nothing to do.
func TestHostile80_IdleSessions(t *testing.T) {
	const n, most = 2000, 20 << 10
	bubble(t, Config{Streams: n}, func(t *testing.T, r *rig) {
		before := memory()
		for range n {
			r.open("silent.test")
		}
		synctest.Wait()
		if each := (memory() - before) / n; each > most {
			t.Errorf("%d bytes for an idle session, both ends of its connection included", each)
		}
	})
}

func memory() int64 {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestIdleSocketsOwnNoBuffer: that holds for real sockets without exception.
func TestIdleSocketsOwnNoBuffer(t *testing.T) {
	block := make(chan struct{})
	r := newRig(t, Config{Dialer: loopback(t, func(*net.TCPConn) { <-block })})
	defer close(block)
	for range 50 {
		r.open("x")
	}
	for range 100 { // the readers are on their way to the poller
		if r.node.Stats().Memory == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d bytes charged", r.node.Stats().Memory)
}
