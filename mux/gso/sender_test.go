package gso

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/stats"
)

// memConn is a Conn in memory. Its writes wait for the test to let them go on.
type memConn struct {
	let    chan error // what each write returns
	closed chan struct{}

	mu     sync.Mutex
	trains []string
	got    [][]byte
}

func newMemConn() *memConn {
	return &memConn{let: make(chan error, 1000), closed: make(chan struct{})}
}

func (m *memConn) ReadTrains([]Train) (int, error) { <-m.closed; return 0, net.ErrClosed }

func (m *memConn) WriteTrains(ts []Train) (sent int, err error) {
	select {
	case err := <-m.let:
		if err != nil {
			return 0, err
		}
	case <-m.closed:
		return 0, net.ErrClosed
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range ts {
		m.trains = append(m.trains, fmt.Sprintf("%dx%d", ts[i].Count(), len(ts[i].At(0))))
		for k := range ts[i].Count() {
			m.got = append(m.got, slices.Clone(ts[i].At(k)))
			sent++
		}
	}
	return sent, nil
}

func (m *memConn) LocalAddr() net.Addr { return nil }
func (m *memConn) Close() error        { close(m.closed); return nil }

func send(s *Sender, i, size int) bool {
	p := s.Reserve(peers[0], size)
	if p == nil {
		return false
	}
	copy(p, datagram(i, size))
	s.Commit(size)
	return true
}

// What comes while the system is busy gathers; nothing waits for a timer.
func TestSenderGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemConn()
		s := NewSender(m, 1<<20, nil, nil)
		for i := range 10 {
			send(s, i, 1000)
			if i == 0 {
				synctest.Wait() // it is with the Conn, which blocks
			}
		}
		send(s, 10, 5)
		for range 10 {
			m.let <- nil
		}
		synctest.Wait()
		if want := []string{"1x1000", "10x1000"}; !slices.Equal(m.trains, want) {
			t.Errorf("trains %v, want %v", m.trains, want)
		}
		for i, p := range m.got {
			if size := min(1000, 1000-995*(i/10)); !slices.Equal(p, datagram(i, size)) {
				t.Errorf("datagram %d is not in its place", i)
			}
		}
		m.Close()
		s.Close()
	})
}

// Reserve is given back without a trace.
func TestSenderAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemConn()
		s := NewSender(m, 1<<20, nil, nil)
		send(s, 0, 100)
		for range 3 {
			copy(s.Reserve(peers[0], 100), "never to be seen")
			s.Abort()
			send(s, 1, 100)
		}
		for range 10 {
			m.let <- nil
		}
		synctest.Wait()
		if len(m.got) != 4 || !slices.Equal(m.got[3], datagram(1, 100)) {
			t.Errorf("got %d datagrams", len(m.got))
		}
		m.Close()
		s.Close()
	})
}

// The oldest go, counted, and the newest always stays.
func TestHostile26_SenderOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, m := new(stats.UDP), newMemConn()
		s := NewSender(m, 256<<10, st, nil)
		const all = 2000
		send(s, 0, 1000)
		synctest.Wait()
		for i := 1; i < all; i++ {
			send(s, i, 1000)
			if s.queue.held > 256<<10 {
				t.Fatalf("%d bytes held", s.queue.held)
			}
		}
		for range 100 {
			m.let <- nil
		}
		synctest.Wait()
		dropped := int(st.Dropped[stats.DropQueue].Load())
		if len(m.got)+dropped != all {
			t.Errorf("%d sent and %d dropped of %d", len(m.got), dropped, all)
		}
		if len(m.got) < 128 {
			t.Errorf("only %d of 256 KiB were kept", len(m.got))
		}
		for k, p := range m.got[1:] {
			if i := all - len(m.got) + 1 + k; !slices.Equal(p, datagram(i, 1000)) {
				t.Fatalf("datagram %d is not the %dth from the end", k, all-i)
			}
		}
		m.Close()
		s.Close()
	})
}

// A limit that is smaller than anything still lets one through at a time.
func TestSenderSmallLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemConn()
		s := NewSender(m, 0, nil, nil)
		for i := range 3 {
			send(s, i, 60000)
			m.let <- nil
			synctest.Wait()
		}
		if len(m.got) != 3 {
			t.Errorf("got %d of 3", len(m.got))
		}
		m.Close()
		s.Close()
	})
}

func TestSenderErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, st := newMemConn(), new(stats.UDP)
		var heard []error
		s := NewSender(m, 1<<20, st, func(err error) { heard = append(heard, err) })
		refused := os.NewSyscallError("sendmsg", syscall.ECONNREFUSED)
		for _, err := range []error{refused, nil, refused} {
			m.let <- err
			if !send(s, 0, 10) {
				t.Fatal("a refusal ended it")
			}
			synctest.Wait()
		}
		if len(heard) != 1 || !errors.Is(heard[0], syscall.ECONNREFUSED) {
			t.Fatalf("heard %v", heard)
		}
		send(s, 1, 10)
		synctest.Wait()
		send(s, 2, 10)
		send(s, 3, 10)
		boom := errors.New("boom")
		m.let <- boom
		synctest.Wait()
		if len(heard) != 2 || heard[1] != boom {
			t.Fatalf("heard %v", heard)
		}
		if n := st.Dropped[stats.DropSocket].Load(); n != 2 {
			t.Errorf("%d counted of 2 that waited", n)
		}
		if send(s, 4, 10) {
			t.Error("it takes more, for a Conn that is gone")
		}
		s.Close()
		m.Close()
	})
}

// Close drops what waits, counts it, and leaves nobody behind.
func TestSenderClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, st := newMemConn(), new(stats.UDP)
		s := NewSender(m, 1<<20, st, nil)
		send(s, 0, 10)
		synctest.Wait()
		for i := range 5 {
			send(s, i, 10)
		}
		m.Close()
		s.Close()
		s.Close()
		if s.queue.held != 0 || s.running {
			t.Errorf("%d bytes held, running: %v", s.queue.held, s.running)
		}
		if n := st.Dropped[stats.DropEnded].Load(); n != 5 && n != 0 || n == 0 && st.Dropped[stats.DropSocket].Load() != 5 {
			t.Errorf("%d counted as ended, %d by the socket", n, st.Dropped[stats.DropSocket].Load())
		}
		if s.Reserve(peers[0], 10) != nil {
			t.Error("a closed one takes more")
		}
	})
}

// Many at a time: nothing is lost, nothing is mixed up.
func TestSenderConcurrent(t *testing.T) {
	in, out := listen(t, "udp4"), listen(t, "udp4")
	st := new(stats.UDP)
	r := New(in, Options{GRO: true, Buffer: BigBuffer, Stats: st})
	s := NewSender(New(out, Options{GSO: true, Stats: st}), 64<<20, st, nil)
	const writers, each = 4, 500
	for w := range writers {
		go func() {
			to := portOf(in, "udp4")
			for i := range each {
				p := s.Reserve(to, 1400)
				copy(p, datagram(w<<16|i, 200+i%3))
				s.Commit(200 + i%3)
			}
		}()
	}
	var next [writers]int
	ts := make([]Train, 8)
	for got := 0; got < writers*each; {
		n, err := r.ReadTrains(ts)
		if err != nil {
			t.Fatalf("after %d: %v; dropped %d, %d", got, err, st.Dropped[stats.DropOverflow].Load(), st.Dropped[stats.DropQueue].Load())
		}
		for k := range ts[:n] {
			for j := range ts[k].Count() {
				p := ts[k].At(j)
				w := p[1]
				if !slices.Equal(p, datagram(int(w)<<16|next[w], 200+next[w]%3)) {
					t.Fatalf("writer %d: out of order at %d", w, next[w])
				}
				next[w]++
				got++
			}
			ts[k].Buf.Release()
		}
	}
	out.Close()
	s.Close()
}

// A paced Sender leaves a receiver time, at both sides of what it sends in one go.
func TestPace(t *testing.T) {
	const size = 1200
	fit := paceCost / cost(size)
	for _, c := range []struct {
		paced bool
		n     int
		want  time.Duration
	}{
		{false, 1000, 0},
		{true, fit, 0},
		{true, fit + 1, paceTime},
		{true, 4 * fit, 4 * paceTime}, // whole trains go, which are a little less
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemConn()
			close(m.let)
			s := NewSender(m, 4<<20, nil, nil)
			if c.paced {
				s.Pace()
			}
			began := time.Now()
			for i := range c.n {
				send(s, i, size)
			}
			s.done.Wait()
			if took := time.Since(began); took < c.want || took > c.want*3/2 {
				t.Errorf("%+v: took %v", c, took)
			}
			if len(m.got) != c.n {
				t.Errorf("%+v: %d were sent", c, len(m.got))
			}
		})
	}
}
