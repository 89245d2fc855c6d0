//go:build !linux

package gso

// trainsHere: this system sends and receives trains.
const trainsHere = false
