//go:build !race

package relaytest

import "testing"

func crowd(n int) int { return n }

func raced[T any](_ *testing.T, ways []T) []T { return ways }
