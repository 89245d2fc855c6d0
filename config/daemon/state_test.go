package daemon

import (
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
)

// TestStateOfOthers: where everybody may write, neither proxy nor tune keeps anything.
func TestStateOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	dir := t.TempDir()
	in := Process{Log: slog.New(slog.DiscardHandler), Environ: []string{"RELAYMUX_STATE_DIR=" + dir}}
	for mode, refused := range map[os.FileMode]bool{0o700: false, 0o777: true} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		cfg := loaded(t, "[proxy]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = '"+dir+"'")
		p, err := NewProxy(cfg, in)
		if err == nil {
			p.closeAll()
		}
		tuner, tuneErr := NewTuner(cfg, in, 100)
		if tuneErr == nil {
			tuner.Close()
		}
		for what, err := range map[string]error{"proxy": err, "tune": tuneErr} {
			if (err != nil) != refused || err != nil && !strings.Contains(err.Error(), "dir under [state]") {
				t.Errorf("%v: %s: %v", mode, what, err)
			}
		}
	}
}
