package relaytest

import (
	"testing"
	"time"
)

// What the benchmarks of the whole program measure, over a relay that takes no
// time. The loads are in workload.go.

// askInTurn is the milliseconds of a request on a new connection, half of them
// take no more.
func askInTurn(b *testing.B, dial Dialer, origin string) float64 {
	return p50(b, func() error { return AskOnce(b.Context(), dial, origin) })
}

// p50 is the milliseconds that do takes, half of them take no more.
func p50(b *testing.B, do func() error) float64 {
	took, err := InTurn(b.Loop, do)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(Quantile(took, 0.99).Seconds()*1e3, "p99-ms")
	return Quantile(took, 0.5).Seconds() * 1e3
}

// askTogether is how many requests on new connections a second carries, n at
// once.
func askTogether(n int) func(*testing.B, Dialer, string) float64 {
	return func(b *testing.B, dial Dialer, origin string) float64 {
		return together(b, n, func() error { return AskOnce(b.Context(), dial, origin) })
	}
}

// together is how often a second carries do, n at once.
func together(b *testing.B, n int, do func() error) float64 {
	b.ResetTimer()
	if _, err := Together(n, Times(int64(b.N)), do); err != nil {
		b.Error(err)
	}
	return float64(b.N) / b.Elapsed().Seconds()
}

const bulk = 256 << 20

// pull is the MB/s that one stream carries from an origin that pours.
func pull(b *testing.B, dial Dialer, origin string) float64 {
	return megabytes(b, bulk, func() error { return Pull(b.Context(), dial, origin, bulk) })
}

// pushBulk is the MB/s that one stream carries to an origin that counts.
func pushBulk(b *testing.B, dial Dialer, origin string) float64 {
	return megabytes(b, bulk, func() error { return Push(b.Context(), dial, origin, bulk) })
}

// megabytes is the MB/s of do, which carries size bytes.
func megabytes(b *testing.B, size int64, do func() error) float64 {
	began, before := time.Now(), cpuTime()
	took, err := InTurn(b.Loop, do)
	if err != nil {
		b.Fatal(err)
	}
	all := float64(size) * float64(len(took))
	b.ReportMetric((cpuTime()-before).Seconds()/(all/1e9), "cpu-s/GB") // of both ends and all between
	return all / 1e6 / time.Since(began).Seconds()
}
