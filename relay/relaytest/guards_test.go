package relaytest

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// TestGuards: make guards would find what it is to take out, and the test that is to
// fail then. That it fails takes minutes to see.
func TestGuards(t *testing.T) {
	root := os.DirFS(filepath.Join("..", ".."))
	var list struct {
		Guard []struct {
			Rows                                []int
			File, What, Old, New, Test, Package string
			Panics                              bool
		}
	}
	meta, err := toml.DecodeFS(root, ".ci/guards.toml", &list)
	check(t, err)
	if extra := meta.Undecoded(); len(extra) > 0 {
		t.Errorf("unknown keys %v", extra)
	}
	held, rows := hostileTests(t, root), map[int]bool{}
	for _, g := range list.Guard {
		text, err := fs.ReadFile(root, g.File)
		check(t, err)
		if n := strings.Count(string(text), g.Old); n != 1 {
			t.Errorf("%s has %q %d times, and not once", g.File, g.Old, n)
		}
		where := g.Package
		if where == "" {
			where = path.Dir(g.File)
		}
		for _, row := range g.Rows {
			rows[row] = true
			if !slices.Contains(held[row][where], g.Test) {
				t.Errorf("%s of %s does not hold row %d", g.Test, where, row)
			}
		}
	}
	if len(rows) < 20 {
		t.Errorf("guards of %v", slices.Sorted(maps.Keys(rows)))
	}
}
