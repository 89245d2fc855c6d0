package account

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A journal is what was logged.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// open returns a ledger and what it logs.
func open(dir string) (*Ledger, *journal) {
	said := new(journal)
	return Open(dir, slog.New(slog.NewTextHandler(said, nil))), said
}

func put(t testing.TB, dir, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "quota"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCloseKeepsTheCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "new", "state")
		l, said := open(dir)
		now := time.Now()
		a, b := l.Account(`a "quoted" name, with spaces`, 30, 20000), l.Account("b", 1, 0)
		spend(a, now, 123)
		spend(b, now, 50)
		b.Exhausted(now, 3*time.Hour)
		l.Close()
		l.Close()
		a.Spend(now) // in memory
		if said.String() != "" {
			t.Error(said)
		}
		if runtime.GOOS != "windows" {
			for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "quota"): 0o600, filepath.Join(dir, "quota.lock"): 0o600} {
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
					t.Errorf("%s: %v, %v, want %v", path, info, err, want)
				}
			}
		}
		time.Sleep(time.Hour)
		again, said := open(dir)
		defer again.Close()
		now2 := time.Now()
		a, b = again.Account(`a "quoted" name, with spaces`, 30, 20000), again.Account("b", 1, 0)
		if a.Used(now2) != 123 || !a.Resets(now2).Equal(now.Add(Window)) || said.String() != "" {
			t.Errorf("%d used until %v; %s", a.Used(now2), a.Resets(now2), said)
		}
		if b.Used(now2) != 50 || b.Allowed(now2) || b.Allowed(now2.Add(2*time.Hour-time.Second)) || !b.Allowed(now2.Add(2*time.Hour)) {
			t.Error("the page is forgotten, or its hint")
		}
	})
}

// The file is asked for when half of what it is ahead has been used.
func TestWrittenAhead(t *testing.T) {
	for _, c := range []struct{ quota, written, used, after int }{{20000, 100, 0, 51}, {20000, 1100, 1000, 51}, {200, 1, 0, 2}, {100, 5, 5, 1}} {
		a := inMemory(30, c.quota)
		a.written, a.window = c.written, window{begin: noon().Unix(), used: c.used}
		spend(a, noon(), c.after-1)
		early := len(a.ledger.wake)
		if spend(a, noon(), 1); early != 0 || len(a.ledger.wake) != 1 {
			t.Errorf("%+v: asked for it %d times, then %d", c, early, len(a.ledger.wake))
		}
	}
}

// The file is written at most once a second, and at rest not at all.
func TestWritesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, _ := open(dir)
		defer l.Close()
		a := l.Account("me", 30, 20000)
		writes, last := 0, ""
		look := func() {
			synctest.Wait()
			if text, err := os.ReadFile(filepath.Join(dir, "quota")); err == nil && string(text) != last {
				last = string(text)
				writes++
			}
		}
		for range 1000 {
			a.Spend(time.Now())
			look()
			time.Sleep(10 * time.Millisecond)
		}
		if writes < 5 || writes > 11 {
			t.Errorf("%d writes in 10 s", writes)
		}
		writes = 0
		for range 100 {
			a.Spend(time.Now()) // as holds do
			look()
			time.Sleep(25 * time.Second)
		}
		if writes > 3 {
			t.Errorf("%d writes for 100 holds", writes)
		}
		writes = 0
		for range 60 {
			time.Sleep(time.Minute)
			look()
		}
		if writes > 1 {
			t.Errorf("%d writes in an hour of rest", writes)
		}
	})
}

func TestDamagedFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		good := fmt.Sprintf("%d 7 0 0 \"me\"\n", now.Unix())
		for name, c := range map[string]struct {
			text string
			used int
			says string
		}{
			"good":             {header + "\n" + good, 7, ""},
			"only a header":    {header + "\n", 0, ""},
			"empty":            {"", 0, "begin anew"},
			"another version":  {"relaymux quota 2\n" + good, 0, "begin anew"},
			"binary":           {"\x00\xff\n\n\n", 0, "begin anew"},
			"cut in a name":    {header + "\n" + strings.TrimSuffix(good, "e\"\n"), 0, "lines_left_out=1"},
			"cut in a number":  {header + "\n" + good[:len(good)-len("0 0 \"me\"\n")], 0, "lines_left_out=1"},
			"the rest is good": {header + "\nx\n\n" + good + "1 2 3\n", 7, "lines_left_out=3"},
			"no number":        {header + "\n" + strings.Replace(good, " 7 ", " 7x ", 1), 0, "lines_left_out=1"},
			"below zero":       {header + "\n" + strings.Replace(good, " 7 ", " -7 ", 1), 0, "lines_left_out=1"},
			"the most":         {header + "\n" + strings.Replace(good, " 7 ", " 1073741824 ", 1), maxCount, ""},
			"too much":         {header + "\n" + strings.Replace(good, " 7 ", " 1073741825 ", 1), 0, "lines_left_out=1"},
			"no beginning":     {header + "\n0 7 0 0 \"me\"\n", 0, "lines_left_out=1"},
			"over long ago":    {header + "\n1 7 7 1 \"me\"\n", 0, ""},
		} {
			dir := t.TempDir()
			put(t, dir, c.text)
			l, said := open(dir)
			a := l.Account("me", 30, 20000)
			if a.Used(now) != c.used || (c.says == "") != (said.String() == "") || !strings.Contains(said.String(), c.says) {
				t.Errorf("%s: %d used, %s", name, a.Used(now), said)
			}
			a.Spend(now)
			l.Close()
			if got, want := killed(t, dir), min(c.used+1, maxCount); got != want {
				t.Errorf("%s: then %d used, want %d", name, got, want)
			}
		}
	})
}

// Where the file cannot be had, counts go on in memory.
func TestUnwritable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		put(t, filepath.Dir(file), "")
		if err := os.Rename(filepath.Join(filepath.Dir(file), "quota"), file); err != nil {
			t.Fatal(err)
		}
		l, said := open(file)
		if !strings.Contains(said.String(), "level=WARN") {
			t.Errorf("nothing is said of a directory that is a file: %s", said)
		}
		a := l.Account("me", 30, 20000)
		spend(a, time.Now(), 500)
		if a.Used(time.Now()) != 500 {
			t.Error("the count stopped")
		}
		l.Close()
	})
}

// A disk that fails is told of once, and once when it is well again.
func TestHostile83_FailingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, said := open(dir)
		a := l.Account("me", 30, 20000)
		block := filepath.Join(dir, "quota.new")
		if err := os.Mkdir(block, 0o700); err != nil {
			t.Fatal(err)
		}
		for range 600 {
			a.Spend(time.Now())
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := strings.Count(said.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings: %s", n, said)
		}
		if err := os.Remove(block); err != nil {
			t.Fatal(err)
		}
		time.Sleep(retryEvery)
		synctest.Wait()
		if !strings.Contains(said.String(), "kept again") || killed(t, dir) < 600 {
			t.Errorf("%d counted: %s", killed(t, dir), said)
		}
		l.Close()
	})
}

// The second program with one directory begins with the counts of the first
// and goes on in memory; the third, after the first, has the file.
func TestTwoPrograms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, now := t.TempDir(), time.Now()
		first, said := open(dir)
		a := first.Account("me", 30, 200)
		spend(a, now, 10)
		time.Sleep(2 * time.Second)
		second, said2 := open(dir)
		b := second.Account("me", 30, 200)
		if said.String() != "" || !strings.Contains(said2.String(), ErrTaken.Error()) || b.Used(now) < 10 {
			t.Errorf("first: %s; second: %s, %d used", said, said2, b.Used(now))
		}
		spend(b, now, 50)
		second.Close()
		first.Close()
		third, said3 := open(dir)
		defer third.Close()
		if got := third.Account("me", 30, 200).Used(now); got != 10 || said3.String() != "" {
			t.Errorf("third: %d used, %s", got, said3)
		}
	})
}

// An account that is not configured any more is kept until its window is over.
func TestForgottenAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, _ := open(dir)
		l.Account("old", 30, 200).Spend(time.Now())
		for i, want := range []bool{true, true, false} {
			l.Close()
			text, err := os.ReadFile(filepath.Join(dir, "quota"))
			if err != nil || strings.Contains(string(text), `"old"`) != want {
				t.Errorf("run %d: %s, %v", i, text, err)
			}
			time.Sleep(13 * time.Hour)
			l, _ = open(dir)
		}
		l.Close()
	})
}

// Whatever the file holds, what comes of it can be used and written again.
func FuzzFile(f *testing.F) {
	f.Add("1772366400 7 0 0 \"me\"\n")
	f.Add("1772366400 7 7 1772370000 \"a \\\"name\\\"\"\n1 2 3 4 \"x\"\n")
	f.Add("4611686018427387903 1073741824 1073741824 4611686018427387903 \"\"")
	f.Add("1 1 1 1 `x\ny`\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, now := Open("", slog.New(slog.DiscardHandler)), noon()
		l.parse(text)
		for name := range l.accounts {
			a := l.Account(name, 1, 100)
			if a.Used(now) < 0 || a.Used(now) > maxCount || a.Left(now) < 0 || a.Resets(now).After(now.Add(Window)) {
				t.Errorf("%q: %+v", text, a.Snapshot(now))
			}
			a.Allowed(now)
		}
		_, first, _ := strings.Cut(l.text(now, false), "\n")
		again := Open("", slog.New(slog.DiscardHandler))
		if bad := again.parse(first); bad > 0 {
			t.Errorf("%d bad lines in what was written:\n%s", bad, first)
		}
		if _, second, _ := strings.Cut(again.text(now, false), "\n"); second != first {
			t.Errorf("wrote\n%s\nthen\n%s", first, second)
		}
	})
}
