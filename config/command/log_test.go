package command

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestTerminalLog: what others have said does nothing to the terminal that the log goes to,
// and no value can look like another line or another attribute.
func TestTerminalLog(t *testing.T) {
	t.Parallel()
	const evil = "a\x1b]0;pwned\x07\x1b[2J\u009b2J\u202eb\r\nERR forged=1"
	values := map[string]any{
		"a string": evil, "an error": fmt.Errorf("over: %w", errors.New(evil)), "a list": []string{evil}, "bytes": []byte(evil),
		"a stringer": stringer(evil), "a group": slog.GroupValue(slog.String("in", evil)), "a struct": struct{ Host string }{evil},
		"an escape alone": "\x1b[31m", "an escape written out": `over \x1b[2J`, "a pointer": &struct{ Host string }{evil},
	}
	for _, coloured := range []bool{true, false} {
		for name, value := range values {
			var plain, out bytes.Buffer
			slog.New(forTerminal(&plain, slog.LevelDebug, coloured)).Debug("said", "what", "x")
			slog.New(forTerminal(&out, slog.LevelDebug, coloured)).Debug("said", "what", value)
			if n := strings.Count(out.String(), "\x1b"); n > strings.Count(plain.String(), "\x1b")+2 && name == "a group" || n > strings.Count(plain.String(), "\x1b") && name != "a group" {
				t.Errorf("%s, coloured %v: an escape of others: %q", name, coloured, out.String())
			}
			if strings.ContainsAny(strings.TrimSuffix(out.String(), "\n"), "\a\r\n\u009b\u202e") {
				t.Errorf("%s, coloured %v: %q", name, coloured, out.String())
			}
		}
	}
}

type stringer string

func (s stringer) String() string { return string(s) }
