package relaytest

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The whole program's own cost, with a relay that takes no time, each figure
// beside what plain loopback does in the same run.

type dialer func(ctx context.Context, address string) (net.Conn, error)

func plainDial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

// ways are the ways that the benchmarks measure: what a user has, and what a
// developer wants to know beside it.
func ways(b *testing.B, run func(b *testing.B, dial dialer, origin string), handle func(net.Conn)) {
	for _, w := range []struct {
		name string
		cfg  *StackConfig
	}{
		{"loopback", nil},
		{"script", &StackConfig{Scripts: 1}},
		{"node", &StackConfig{}},
		{"node-tls", &StackConfig{TLS: true}},
	} {
		b.Run(w.name, func(b *testing.B) {
			dial := dialer(plainDial)
			if w.cfg != nil {
				s := NewStack(b, *w.cfg)
				dial = s.Connect
				defer func() {
					b.ReportMetric(float64(s.Stats.Exchanges.Load())/float64(max(b.N, 1)), "exchanges/op")
				}()
			}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan struct{})
			go func() { defer close(done); ServeTCP(ln, handle) }()
			b.Cleanup(func() { ln.Close(); <-done })
			run(b, dial, ln.Addr().String())
		})
	}
}

const kilobyte = 1024

// answerOnce reads a kilobyte and answers with one.
func answerOnce(c net.Conn) {
	defer c.Close()
	p := make([]byte, kilobyte)
	for {
		if _, err := io.ReadFull(c, p); err != nil {
			return
		}
		if _, err := c.Write(p); err != nil {
			return
		}
	}
}

func askOnce(dial dialer, origin string) error {
	c, err := dial(context.Background(), origin)
	if err != nil {
		return err
	}
	defer c.Close()
	p := make([]byte, kilobyte)
	if _, err := c.Write(p); err != nil {
		return err
	}
	_, err = io.ReadFull(c, p)
	return err
}

func BenchmarkNewConnection(b *testing.B) {
	ways(b, func(b *testing.B, dial dialer, origin string) {
		var took []time.Duration
		for b.Loop() {
			began := time.Now()
			if err := askOnce(dial, origin); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		b.ReportMetric(took[len(took)/2].Seconds()*1e3, "p50-ms")
		b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "p99-ms")
	}, answerOnce)
}

func BenchmarkNewConnections64(b *testing.B) {
	ways(b, func(b *testing.B, dial dialer, origin string) {
		var wg sync.WaitGroup
		var left atomic.Int64
		left.Store(int64(b.N))
		b.ResetTimer()
		for range 64 {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					if err := askOnce(dial, origin); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "conn/s")
	}, answerOnce)
}

const bulk = 256 << 20

func pour(w io.Writer, n int) error {
	p := make([]byte, 256<<10)
	for n > 0 {
		k := min(n, len(p))
		if _, err := w.Write(p[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

func drain(r io.Reader) (n int64) {
	p := make([]byte, 256<<10)
	for {
		k, err := r.Read(p)
		n += int64(k)
		if err != nil {
			return n
		}
	}
}

func BenchmarkDownload(b *testing.B) {
	ways(b, func(b *testing.B, dial dialer, origin string) {
		b.SetBytes(bulk)
		for b.Loop() {
			c, err := dial(context.Background(), origin)
			if err != nil {
				b.Fatal(err)
			}
			c.Write([]byte{1})
			if n := drain(c); n != bulk {
				b.Fatalf("%d bytes", n)
			}
			c.Close()
		}
	}, func(c net.Conn) {
		defer c.Close()
		io.ReadFull(c, make([]byte, 1))
		pour(c, bulk)
	})
}

func BenchmarkUpload(b *testing.B) {
	ways(b, func(b *testing.B, dial dialer, origin string) {
		b.SetBytes(bulk)
		for b.Loop() {
			c, err := dial(context.Background(), origin)
			if err != nil {
				b.Fatal(err)
			}
			if err := pour(c, bulk); err != nil {
				b.Fatal(err)
			}
			c.(interface{ CloseWrite() error }).CloseWrite()
			text, err := io.ReadAll(c)
			if string(text) != fmt.Sprint(bulk) {
				b.Fatalf("the target counted %s, %v", text, err)
			}
			c.Close()
		}
	}, func(c net.Conn) {
		defer c.Close()
		fmt.Fprint(c, drain(c))
	})
}
