//go:build race

package relaytest

// crowd is n, or what of it is enough where everything takes ten times as long.
func crowd(n int) int { return n / 5 }
