package relaytest

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The loads of the benchmarks: BenchmarkNumbers puts them on the whole program in
// one process, cmd/relaybench on processes. Each has an application's side, and
// an origin's, a function for ServeTCP.

// A Dialer opens a connection to host and port: plainly, or through a proxy.
type Dialer func(ctx context.Context, address string) (net.Conn, error)

// DialPlain is a Dialer without a proxy.
func DialPlain(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

const kilobyte = 1024

// Answer is the origin of Ask: it answers each kilobyte with one.
func Answer(c net.Conn) {
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

// Ask sends a kilobyte and waits for the answer.
func Ask(c net.Conn) error {
	p := make([]byte, kilobyte)
	if _, err := c.Write(p); err != nil {
		return err
	}
	_, err := io.ReadFull(c, p)
	return err
}

// AskOnce is Ask on a connection of its own.
func AskOnce(ctx context.Context, dial Dialer, origin string) error {
	c, err := dial(ctx, origin)
	if err != nil {
		return err
	}
	defer c.Close()
	return Ask(c)
}

// Pour is the origin of Pull: it sends as many bytes as it is asked for.
func Pour(c net.Conn) {
	var n [8]byte
	if _, err := io.ReadFull(c, n[:]); err == nil {
		_ = pour(c, int64(binary.BigEndian.Uint64(n[:]))) // the other end counts
	}
}

// Pull downloads n bytes by one connection.
func Pull(ctx context.Context, dial Dialer, origin string, n int64) error {
	c, err := dial(ctx, origin)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(binary.BigEndian.AppendUint64(nil, uint64(n))); err != nil {
		return err
	}
	if came := drain(c); came != n {
		return fmt.Errorf("%d bytes came of %d", came, n)
	}
	return nil
}

// Count is the origin of Push: it says how many bytes came.
func Count(c net.Conn) { _, _ = fmt.Fprint(c, drain(c)) }

// Push uploads n bytes by one connection, and waits until all have come.
func Push(ctx context.Context, dial Dialer, origin string, n int64) error {
	c, err := dial(ctx, origin)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := pour(c, n); err != nil {
		return err
	}
	closeWrite(c)
	text, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if string(text) != fmt.Sprint(n) {
		return fmt.Errorf("of %d bytes the origin counted %q", n, text)
	}
	return nil
}

func pour(w io.Writer, n int64) error {
	p := make([]byte, 256<<10)
	for n > 0 {
		k := min(n, int64(len(p)))
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

// InTurn calls do for as long as more allows, and returns the time of each call.
func InTurn(more func() bool, do func() error) (took []time.Duration, err error) {
	for more() {
		began := time.Now()
		if err := do(); err != nil {
			return took, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// Together has n goroutines call do for as long as more allows, and returns how
// many calls succeeded. A goroutine ends with the first that fails.
func Together(n int, more func() bool, do func() error) (done int64, err error) {
	var (
		all   sync.WaitGroup
		count atomic.Int64
		errs  = make([]error, n)
	)
	for i := range n {
		all.Go(func() {
			for more() && errs[i] == nil {
				if errs[i] = do(); errs[i] == nil {
					count.Add(1)
				}
			}
		})
	}
	all.Wait()
	return count.Load(), cmp.Or(errs...)
}

// Times is a more for Together: it allows n calls.
func Times(n int64) (more func() bool) {
	var left atomic.Int64
	left.Store(n)
	return func() bool { return left.Add(-1) >= 0 }
}

// Quantile is the time that so large a part of took is at most; 0 of none.
func Quantile(took []time.Duration, part float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(took))
	return sorted[min(int(float64(len(sorted))*part), len(sorted)-1)]
}
