package config

import (
	"cmp"
	"fmt"
	"strings"
)

// Problem is one mistake, or one warning. It never holds a secret's value.
type Problem struct {
	File string // "" when the key was set by the environment or a flag, or by nobody and there is no file
	Line int    // from 1; 0 when the key and the tables around it are not in the file
	Key  string // "batch.max_ops", "RELAYMUX_BATCH_MAX_OPS" or "--batch-max-ops"
	Text string // what is wrong, and what to write instead
}

// String is "file:line: key: text", without the parts that there are not.
func (p Problem) String() string {
	if p.Key == "" {
		return p.at() + p.Text
	}
	return p.at() + ": " + p.Text
}

// at is "file:line: key".
func (p Problem) at() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
		if p.Line > 0 {
			fmt.Fprintf(&b, "%d:", p.Line)
		}
		b.WriteByte(' ')
	}
	b.WriteString(p.Key)
	return b.String()
}

func (p Problem) compare(q Problem) int {
	if (p.File == "") != (q.File == "") {
		return cmp.Compare(q.File, p.File)
	}
	return cmp.Compare(p.Line, q.Line)
}

// Error is all that is wrong with a configuration.
type Error struct {
	problems []Problem // at least one, in order of lines
}

// Problems returns the mistakes in the order of their lines, then those of the
// environment and the flags.
func (e *Error) Problems() []Problem { return e.problems }

// Error has one line per problem.
func (e *Error) Error() string {
	text := make([]string, len(e.problems))
	for i, p := range e.problems {
		text[i] = p.String()
	}
	return strings.Join(text, "\n")
}

// problem says where the key at path was set, or else where it would stand.
func (l *loader) problem(path, format string, args ...any) Problem {
	p := Problem{File: l.src.Path, Key: keyOf(path), Text: fmt.Sprintf(format, args...)}
	if name := l.from[path]; name != "" {
		p.File, p.Key = "", name
	}
	if p.File != "" {
		p.Line = l.lines.of(path)
	}
	return p
}
