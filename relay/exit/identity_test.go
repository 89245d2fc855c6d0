package exit

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLoadIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	first, err := LoadIdentity(dir)
	if err != nil || len(first.Reveal()) != identitySize {
		t.Fatal(first, err)
	}
	again, err := LoadIdentity(dir)
	if err != nil || first != again {
		t.Errorf("it changed: %v", err)
	}
	path := filepath.Join(dir, "node-id")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(dir); err == nil {
		t.Error("a cut file is taken")
	}
}
