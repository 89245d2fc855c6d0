package command

import (
	"io"
	"log"
	"testing"
)

// TestHostile69_NothingBesideTheLog: the log package, by which net/http tells what a relay
// or an origin has sent unasked, prints nothing. It would be in nobody's form, and a
// relay's words may be the key that it was shown.
func TestHostile69_NothingBesideTheLog(t *testing.T) {
	before := log.Writer()
	defer log.SetOutput(before)
	if code := Main("dev", []string{"version"}); code != 0 || log.Writer() != io.Discard {
		t.Errorf("exit code %d, and the log package writes to %T", code, log.Writer())
	}
}
