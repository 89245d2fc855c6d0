//go:build race

package relaytest

import "testing"

// crowd is n, or what of it is enough where everything takes ten times as long.
func crowd(n int) int { return n / 5 }

// raced is one of two ways, which is enough to find races; half of the tests run
// each.
func raced[T any](t *testing.T, ways []T) []T {
	i := len(t.Name()) % len(ways)
	return ways[i : i+1]
}
