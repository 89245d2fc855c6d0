package relaytest

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Most of what runs in parallel waits for real time to pass, so that more of it
// may than there are cores.
const parallel = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") // sockets in memory have none
	if err := flag.Set("test.parallel", parallel); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
