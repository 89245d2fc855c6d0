package relaytest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The works of TestNumbers that carry much.

// download reads so many bytes of a target that sends as soon as it is spoken
// to.
func download(size int64) func(*testing.T, *Stack) result {
	const seed = 11
	return func(t *testing.T, s *Stack) (got result) {
		addr := s.serve(t, func(c net.Conn) {
			_, _ = io.CopyN(io.Discard, c, 1)
			_ = send(c, seed, size)
		})
		c := s.reach(t, addr)
		defer c.Close()
		count := s.exchanges()
		var a arrival
		took := elapsed(func() {
			_, _ = c.Write([]byte("?"))
			a = arrive(io.LimitReader(c, size))
		})
		got = result{value: perSecond(a.Bytes, took), exchanges: count()}
		got.faultUnless(a, seed, size)
		if rest := arrive(c); a.err == nil && (rest.Bytes > 0 || rest.err != nil) {
			got.fault("%d more bytes came, %v", rest.Bytes, rest.err)
		}
		return got
	}
}

// perSecond is MB/s.
func perSecond(size int64, took time.Duration) float64 { return float64(size) / 1e6 / took.Seconds() }

func (r *result) faultUnless(a arrival, seed uint64, size int64) {
	switch {
	case a.Bytes != size || a.err != nil:
		r.fault("%d bytes of %d came, %v", a.Bytes, size, a.err)
	case a.Received != sum(noise(seed, size)):
		r.fault("the bytes differ")
	}
}

// upload is over when the answer to it has come.
func upload(size int64) func(*testing.T, *Stack) result {
	const seed = 12
	return func(t *testing.T, s *Stack) (got result) {
		c := s.reach(t, s.serve(t, AnswerAtEOF))
		defer c.Close()
		count := s.exchanges()
		var text []byte
		var err error
		took := elapsed(func() {
			if err = send(c, seed, size); err == nil {
				text, err = io.ReadAll(c)
			}
		})
		var a arrival
		if a.err = err; err == nil {
			a.err = json.Unmarshal(text, &a.Received)
		}
		got = result{value: perSecond(a.Bytes, took), exchanges: count()}
		got.faultUnless(a, seed, size)
		return got
	}
}

// bothWays are connections that carry 1 MB each way at once.
func bothWays(conns int) func(*testing.T, *Stack) result {
	const size = 1e6
	return func(t *testing.T, s *Stack) (got result) {
		var whole, broken, wrong atomic.Int64
		note := func(a arrival, seed uint64) {
			switch {
			case a.Received == sum(noise(seed, size)) && a.err == nil:
				whole.Add(1)
			case a.Bytes <= size && a.err != nil && a.Received == sum(noise(seed, a.Bytes)):
				broken.Add(1)
			default:
				wrong.Add(1)
			}
		}
		addr := s.serve(t, func(c net.Conn) {
			var seed uint64
			if err := binary.Read(c, binary.BigEndian, &seed); err != nil {
				note(arrival{sum(&bytes.Buffer{}), err}, seed)
				return
			}
			note(exchange(c, seed+1, size), seed)
		})
		var all sync.WaitGroup
		count := s.exchanges()
		took := elapsed(func() {
			for i := range conns {
				c := s.reach(t, addr)
				all.Go(func() {
					defer c.Close()
					seed := uint64(2 * i)
					_ = binary.Write(c, binary.BigEndian, seed) // the target does not answer then
					note(exchange(c, seed, size), seed+1)
				})
			}
			all.Wait()
		})
		got = result{value: took.Seconds(), exchanges: count()}
		time.Sleep(patience) // for the targets of what was lost
		// An opening that is run twice has one way too many at the target.
		if n := int(whole.Load()); n != 2*conns || broken.Load()+wrong.Load() > 0 {
			got.fault("of %d ways %d whole, %d lost, %d wrong", 2*conns, n, broken.Load(), wrong.Load())
		}
		return got
	}
}

// exchange sends noise and returns what comes meanwhile. An end that comes
// before all is sent is an error.
func exchange(c net.Conn, seed uint64, size int64) arrival {
	sent := make(chan error, 1)
	go func() { sent <- send(c, seed, size) }()
	a := arrive(c)
	if a.err != nil {
		c.Close() // the other way would last
	}
	return arrival{a.Received, errors.Join(a.err, <-sent)}
}
