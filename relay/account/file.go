package account

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The file is this line and one for each account that has a window:
//
//	begin used limit probe "name"
//
// The numbers are those of window. The name comes last, in quotes, so that a
// line that was cut is not mistaken for a whole one.
const header = "relaymux quota 1"

// maxFile bounds the file in bytes: a thousand accounts are 100 KB.
const maxFile = 1 << 20

// load reads the file, if there is one.
func (l *Ledger) load() {
	f, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var text []byte
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(f, maxFile))
		f.Close()
	}
	if err != nil {
		l.log.Warn("reading the counts of exchanges", "file", l.path, "error", err)
	}
	first, rest, _ := strings.Cut(string(text), "\n")
	if first != header && err == nil {
		l.log.Warn("counts of exchanges are of another version or damaged, and begin anew", "file", l.path)
	}
	if first != header {
		return
	}
	if bad := l.parse(rest); bad > 0 {
		l.log.Warn("counts of exchanges are damaged in part", "file", l.path, "lines_left_out", bad)
	}
}

// parse makes an account of each line, and returns how many lines are none.
func (l *Ledger) parse(text string) (bad int) {
	for line := range strings.Lines(text) {
		w, name, ok := parseLine(strings.TrimSuffix(line, "\n"))
		if !ok {
			bad++
			continue
		}
		a := l.account(name)
		a.window, a.written = w, w.used
	}
	return bad
}

// maxCount bounds what is read: beyond it nothing was ever counted, and sums
// stay far from the end of an int.
const maxCount = 1 << 30

func parseLine(line string) (w window, name string, ok bool) {
	fields := strings.SplitN(line, " ", 5)
	if len(fields) != 5 {
		return w, "", false
	}
	var numbers [4]int64
	for i := range numbers {
		n, err := strconv.ParseUint(fields[i], 10, 62)
		if err != nil {
			return w, "", false
		}
		numbers[i] = int64(n)
	}
	if numbers[0] == 0 || numbers[1] > maxCount || numbers[2] > maxCount {
		return w, "", false
	}
	name, err := strconv.Unquote(fields[4])
	w = window{begin: numbers[0], used: int(numbers[1]), limit: int(numbers[2]), probe: numbers[3]}
	return w, name, err == nil
}

// save replaces the file, with the counts ahead or as they are.
func (l *Ledger) save(ahead bool) error {
	return replace(l.path, l.text(time.Now(), ahead))
}

// text is the content of the file. Accounts whose window is over are not in it,
// which is how those that are not configured any more go.
func (l *Ledger) text(now time.Time, ahead bool) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	b.WriteString(header + "\n")
	for _, name := range slices.Sorted(maps.Keys(l.accounts)) {
		a := l.accounts[name]
		a.lock(now)
		w := a.window
		if ahead && !a.still {
			w.used += block(a.quota)
		}
		w.used = min(w.used, maxCount)
		a.written = w.used
		a.mu.Unlock()
		if w.begin != 0 {
			// A beginning that is ahead by more than a day is no clock's of today.
			fmt.Fprintf(&b, "%d %d %d %d %q\n", min(w.begin, w.from()+windowSeconds), w.used, w.limit, w.probe, name)
		}
	}
	return b.String()
}

// replace writes a file whole or not at all, also when the power fails in the
// middle (renameio does the same, but not on Windows). Only who holds the lock
// may call it: the other file has a fixed name, so that none are left behind.
func replace(path, text string) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
