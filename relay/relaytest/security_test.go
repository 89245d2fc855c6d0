package relaytest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSecurityPolicy: each promise of SECURITY.md names the tests that hold it, and each
// test that is named exists, once: what several packages have is named package.Test.
func TestSecurityPolicy(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, ".github", "SECURITY.md"))
	check(t, err)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	check(t, err)
	if !strings.Contains(string(readme), "(.github/SECURITY.md)") {
		t.Error("README.md has no link to it")
	}
	there := make(map[string]int)
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	check(t, filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		code, err := os.ReadFile(file)
		for _, m := range function.FindAllSubmatch(code, -1) {
			name := string(m[1])
			there[name]++
			there[filepath.Base(filepath.Dir(file))+"."+name]++
		}
		return err
	}))
	named := regexp.MustCompile("`((?:\\w+\\.)?Test\\w+)`")
	for _, m := range named.FindAllSubmatch(text, -1) {
		if name := string(m[1]); there[name] != 1 {
			t.Errorf("SECURITY.md names %s, of which there are %d", name, there[name])
		}
	}
	promises := regexp.MustCompile(`(?ms)^\*\*(\d)\. .*?\n\n`).FindAllSubmatch(text, -1)
	if len(promises) != 9 {
		t.Errorf("there are %d promises", len(promises))
	}
	for i, p := range promises {
		if int(p[1][0]-'0') != i+1 || len(named.FindAll(p[0], -1)) < 3 {
			t.Errorf("promise %s is out of order, or held by fewer than three tests", p[1])
		}
	}
}
