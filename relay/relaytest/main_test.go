package relaytest

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// Most of what runs in parallel waits for real time to pass, so that more of it
// may than there are cores.
const parallel = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", parallel); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
