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

// What the benchmarks of the whole program do, over a relay that takes no time.

type dialer func(ctx context.Context, address string) (net.Conn, error)

func plainDial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
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

// askInTurn is the milliseconds of a request on a new connection, half of them
// take no more.
func askInTurn(b *testing.B, dial dialer, origin string) float64 {
	return p50(b, func() error { return askOnce(dial, origin) })
}

// p50 is the milliseconds that do takes, half of them take no more.
func p50(b *testing.B, do func() error) float64 {
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if err := do(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "p99-ms")
	return took[len(took)/2].Seconds() * 1e3
}

// askTogether is how many requests on new connections a second carries, n at
// once.
func askTogether(n int) func(*testing.B, dialer, string) float64 {
	return func(b *testing.B, dial dialer, origin string) float64 {
		return together(b, n, func() error { return askOnce(dial, origin) })
	}
}

// together is how often a second carries do, n at once.
func together(b *testing.B, n int, do func() error) float64 {
	var all sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	for range n {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := do(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return float64(b.N) / b.Elapsed().Seconds()
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

// pull is the MB/s that one stream carries from an origin that pours.
func pull(b *testing.B, dial dialer, origin string) float64 {
	return megabytes(b, bulk, func() error {
		c, err := dial(context.Background(), origin)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte{1}); err != nil {
			return err
		}
		if n := drain(c); n != bulk {
			return fmt.Errorf("%d bytes came", n)
		}
		return nil
	})
}

// pourOnce is the origin of pull.
func pourOnce(c net.Conn) {
	defer c.Close()
	_, _ = io.ReadFull(c, make([]byte, 1))
	_ = pour(c, bulk) // the other end counts
}

// pushBulk is the MB/s that one stream carries to an origin that counts.
func pushBulk(b *testing.B, dial dialer, origin string) float64 {
	return megabytes(b, bulk, func() error {
		c, err := dial(context.Background(), origin)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := pour(c, bulk); err != nil {
			return err
		}
		closeWrite(c)
		text, err := io.ReadAll(c)
		if string(text) != fmt.Sprint(bulk) {
			return fmt.Errorf("the target counted %s, %w", text, err)
		}
		return nil
	})
}

// countOnce is the origin of pushBulk.
func countOnce(c net.Conn) {
	defer c.Close()
	_, _ = fmt.Fprint(c, drain(c))
}

// megabytes is the MB/s of do, which carries size bytes.
func megabytes(b *testing.B, size int64, do func() error) float64 {
	began, before := time.Now(), cpuTime()
	times := 0
	for b.Loop() {
		if err := do(); err != nil {
			b.Fatal(err)
		}
		times++
	}
	all := float64(size) * float64(times)
	b.ReportMetric((cpuTime()-before).Seconds()/(all/1e9), "cpu-s/GB") // of both ends and all between
	return all / 1e6 / time.Since(began).Seconds()
}
