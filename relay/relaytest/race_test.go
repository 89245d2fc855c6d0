//go:build race

package relaytest

// crowd is n, or what of it is enough where everything takes ten times as long.
func crowd(n int) int { return n / 5 }

// raced is one of the ways that a test of that name could go, which is enough to find
// races; with two of them half of the tests go each.
func raced[T any](name string, ways []T) []T {
	i := len(name) % len(ways)
	return ways[i : i+1]
}

const raceEnabled = true
