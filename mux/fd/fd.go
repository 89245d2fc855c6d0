// Package fd is about file descriptors, of which a process may have only so many: who may
// take the last of them, and how a listener waits until there are some again.
package fd

import (
	"errors"
	"slices"
	"syscall"
)

// reserveMost is how many descriptors connections leave to the daemon itself, where the
// limit is not a small one: its ways to relays (an account has 30 slots), the admin page
// (32 connections), files that are written.
const reserveMost = 96

// Hint is what the user can do about too few of them.
const Hint = "LimitNOFILE in the unit, ulimit -n in a shell"

// UsedUp reports whether conn, which is new and an application's or a target's, has a
// descriptor that the daemon keeps for itself: without a way to the relays no connection
// goes on, and without an admin page nobody learns why. The system gives out the lowest
// number that is free (POSIX, 2.14 of General Information), so that the number tells how
// many are in use, whoever uses them. What has no descriptor takes none.
func UsedUp(conn any) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	return err == nil && UsedUpBy(raw)
}

// UsedUpBy is UsedUp for what net.Dialer.Control is given.
func UsedUpBy(raw syscall.RawConn) (beyond bool) {
	if !known {
		return false
	}
	_ = raw.Control(func(fd uintptr) { beyond = uint64(fd) >= share(limit) })
	return beyond
}

// limit is that of the start, when package os has raised it as far as it may: what Hint
// says is for a start, and to ask again for each connection is a system call each.
var limit, known = Limit()

// share is how many of the descriptors are for connections.
func share(limit uint64) uint64 { return limit - min(limit/4, reserveMost) }

// IsShort tells whether err says that the system has too few descriptors or too little
// memory, which comes back.
func IsShort(err error) bool {
	return isOneOf(err, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM)
}

func isOneOf(err error, list ...error) bool {
	return slices.ContainsFunc(list, func(e error) bool { return errors.Is(err, e) })
}
