//go:build !race

package relaytest

func crowd(n int) int { return n }

func raced[T any](_ string, ways []T) []T { return ways }

const raceEnabled = false
