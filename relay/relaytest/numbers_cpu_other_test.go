//go:build !unix

package relaytest

import "time"

// cpuTime is not known here.
func cpuTime() time.Duration { return 0 }
