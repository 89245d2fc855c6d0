package relaytest

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// testdata/hostile.md lists what a hostile world does. It is the source of its
// texts and of the reasons of rows that are struck; which tests hold a row is
// read off their names and written into its last column.
const (
	hostileTable = "testdata/hostile.md"
	hostileRows  = 88
)

var update = flag.Bool("update", false, "write which tests hold what into "+hostileTable)

var (
	// | NUMBER | FAULT | OUTCOME | TESTS |, with NUMBER and FAULT between ~~ if the row is struck
	tableRow = regexp.MustCompile(`^\| (~~)?(\d+)(?:~~)? \| (.+) \| (.+) \| (.*)\|$`)
	goTest   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)Hostile(\w*))\(`)
	e2eCheck = regexp.MustCompile(`(?m)^@hostile\((.*)\)\n(?:def (\w+)\()?`)
	rowsOf   = regexp.MustCompile(`^(\d\d(?:(?:_|to)\d\d)*)_`)
)

// holders are the tests of a row, by where they are: a package, or e2e.
type holders map[string][]string

func (h holders) String() string {
	var all []string
	for _, where := range slices.Sorted(maps.Keys(h)) {
		all = append(all, "`"+where+"`: "+strings.Join(slices.Sorted(slices.Values(h[where])), ", "))
	}
	return strings.Join(all, "; ")
}

func TestHostileTable(t *testing.T) {
	root := os.DirFS(filepath.Join("..", ".."))
	held := hostileTests(t, root)
	old, err := fs.ReadFile(root, hostileTable)
	check(t, err)
	lines, next := strings.Split(string(old), "\n"), 1
	for i, line := range lines {
		m := tableRow.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		row, _ := strconv.Atoi(m[2])
		if row != next {
			t.Errorf("row %d stands where row %d belongs", row, next)
		}
		next = row + 1
		if tests, struck := held[row], m[1] != ""; struck && tests != nil {
			t.Errorf("row %d is struck, and %v holds it", row, tests)
		} else if !struck && tests == nil {
			t.Errorf("row %d has neither a test nor a reason why it needs none: %s", row, m[3])
		}
		lines[i] = strings.TrimSuffix(line, m[5]+"|") + strings.TrimLeft(held[row].String()+" |", " ")
		delete(held, row)
	}
	if next != hostileRows+1 {
		t.Errorf("the table has %d rows, and not %d", next-1, hostileRows)
	}
	for row, tests := range held {
		t.Errorf("there is no row %d, of which %v say that they hold it", row, tests)
	}
	text := strings.Join(lines, "\n")
	switch {
	case text == string(old):
	case *update:
		check(t, os.WriteFile(filepath.Join("..", "..", hostileTable), []byte(text), 0o644))
	default:
		t.Errorf("%s is stale: go test ./relay/relaytest -run TestHostileTable -update", hostileTable)
	}
}

// hostileTests returns who holds which row.
func hostileTests(t *testing.T, root fs.FS) map[int]holders {
	held := map[int]holders{}
	add := func(where, name string, rows []int) {
		for _, row := range rows {
			if held[row] == nil {
				held[row] = holders{}
			}
			held[row][where] = append(held[row][where], name)
		}
	}
	check(t, fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		isTest, isCheck := strings.HasSuffix(file, "_test.go"), strings.HasPrefix(file, ".ci/e2e/checks_")
		if err != nil || d.IsDir() || !isTest && !isCheck {
			return err
		}
		text, err := fs.ReadFile(root, file)
		if err != nil {
			return err
		}
		for _, m := range goTest.FindAllStringSubmatch(string(text), -1) {
			rows, err := rowsOfTest(m[2])
			if err != nil && m[1] != "TestHostileTable" {
				t.Errorf("%s: %s: %v", file, m[1], err)
			}
			add(cmp.Or(path.Dir(file), "."), m[1], rows)
		}
		for _, m := range e2eCheck.FindAllStringSubmatch(string(text), -1) {
			rows, err := numbers(strings.Split(m[1], ", "))
			if err != nil || m[2] == "" {
				t.Errorf("%s: %s: want @hostile(ROW, ...) and a check below", file, m[0])
			}
			add("e2e", m[2], rows)
		}
		return nil
	}))
	return held
}

// rowsOfTest are the rows of a test, of whose name rest stands after Hostile:
// 65_LostAnswer, 13_17_Pipelined, 19to21_Headers.
func rowsOfTest(rest string) ([]int, error) {
	m := rowsOf.FindStringSubmatch(rest)
	if m == nil {
		return nil, errors.New("a name as TestHostile65_LostAnswer says which row it holds")
	}
	var rows []int
	for part := range strings.SplitSeq(m[1], "_") {
		ends, err := numbers(strings.Split(part, "to"))
		if err != nil {
			return nil, err
		}
		for row := ends[0]; row <= ends[len(ends)-1]; row++ {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func numbers(texts []string) (list []int, err error) {
	for _, text := range texts {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not the number of a row", text)
		}
		list = append(list, n)
	}
	return list, nil
}

func TestRowsOfTest(t *testing.T) {
	for rest, want := range map[string][]int{
		"65_LostAnswer": {65}, "13_17_X": {13, 17}, "19to21_X": {19, 20, 21}, "09_10_11_X": {9, 10, 11}, "01to03_17_X": {1, 2, 3, 17},
		"": nil, "QUICReplay": nil, "65": nil, "5_X": nil, "_X": nil,
	} {
		if got, err := rowsOfTest(rest); !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%q: %v, %v", rest, got, err)
		}
	}
}
