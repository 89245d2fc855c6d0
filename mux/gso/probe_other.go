//go:build !linux

package gso

// Able reports that this system has nothing better than single datagrams.
func Able() (send, receive bool) { return false, false }
