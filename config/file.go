package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// maxFile bounds the file in bytes: a thousand deployments are 200 KB.
const maxFile = 1 << 20

// readFile decodes the file into l.cfg.
func (l *loader) readFile() {
	if l.src.Path == "" {
		return
	}
	text, mode, err := readBounded(l.src.Path, maxFile)
	if err != nil {
		l.broken = true
		l.problems = append(l.problems, Problem{Text: err.Error()})
		return
	}
	if writableByAll(mode) {
		l.problems = append(l.problems, Problem{File: l.src.Path, Text: "everybody may write to this file; run: chmod o-w " + l.src.Path})
	}
	l.decode(text)
	l.checkPrivate(mode)
}

// readBounded returns a file's text and its permissions. It accepts only
// regular files: to open a pipe could block for ever. An error begins with
// the path.
func readBounded(path string, most int64) (string, os.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", 0, unreadable(path, err)
	}
	if !info.Mode().IsRegular() {
		return "", 0, fmt.Errorf("%s: is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", 0, unreadable(path, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return "", 0, unreadable(path, err)
	case int64(len(text)) > most:
		return "", 0, fmt.Errorf("%s: has more than %d bytes", path, most)
	}
	return string(text), info.Mode(), nil
}

// unreadable says why path cannot be read, without the name of the system call.
func unreadable(path string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// decode fills l.cfg from the text of a file.
func (l *loader) decode(text string) {
	var root map[string]any
	if _, err := toml.Decode(text, &root); err != nil {
		l.broken = true
		l.failSyntax(err)
		return
	}
	l.lines = linesOf(text)
	l.fill(reflect.ValueOf(l.cfg).Elem(), root, "")
}

// failSyntax records what the parser said, unless it said it of a secret: its
// messages quote the text that they are about.
func (l *loader) failSyntax(err error) {
	p := Problem{File: l.src.Path, Text: err.Error()}
	if pe, ok := errors.AsType[toml.ParseError](err); ok {
		p.Line, p.Key, p.Text = pe.Position.Line, pe.LastKey, pe.Message
	}
	key, secret := cutSecret(p.Key)
	switch {
	case strings.HasSuffix(p.Text, "has already been defined.") && key == p.Key:
		p.Text = strings.TrimSuffix(p.Text, "has already been defined.") + "is there twice; remove one"
	case secret:
		p.Key, p.Text = key, `is not valid TOML; write the value in straight quotes: "..."`
	case strings.HasPrefix(p.Text, "Invalid float"), strings.HasPrefix(p.Text, "Invalid integer"), strings.HasPrefix(p.Text, `expected value but found "`):
		p.Text += `; a text must be in straight quotes: "..."`
	}
	l.problems = append(l.problems, p)
}

// cutSecret returns key up to the part of it that is the name of a secret, and reports
// whether there is one: what follows would be of its value, as behind an opening brace.
func cutSecret(key string) (short string, secret bool) {
	parts := strings.Split(key, ".")
	for i, name := range parts {
		for _, f := range declared() {
			if f.isSecret() && strings.HasSuffix(f.path, "."+name) {
				return strings.Join(parts[:i+1], "."), true
			}
		}
	}
	return key, false
}

// fill sets the fields of the struct v from a table. The names are sorted, so
// that problems of one line come in the same order every time.
func (l *loader) fill(v reflect.Value, from map[string]any, path string) {
	for _, name := range slices.Sorted(maps.Keys(from)) {
		value, at := from[name], join(path, toml.Key{name}.String())
		f, ok := fieldNamed(v.Type(), name)
		if !ok {
			l.failUnknown(at, name, v.Type())
			continue
		}
		l.from[at] = ""
		switch field := v.FieldByIndex(f.Index); shapeOf(f.Type) {
		case scalar:
			l.fillLeaf(leaf{at, f.Tag, field}, value)
		case table:
			l.fillTable(field, value, at)
		case tables:
			l.fillTables(field, value, at)
		}
	}
}

func (l *loader) fillLeaf(f leaf, value any) {
	if err := f.setTOML(value); err != nil {
		l.fail(f.path, "%v", err)
		return
	}
	if _, ok := f.tag.Lookup("file"); ok {
		l.anchor(f.value)
	}
}

// anchor makes a path relative to the file's directory usable from anywhere.
func (l *loader) anchor(path reflect.Value) {
	if p := path.String(); p != "" && !filepath.IsAbs(p) {
		path.SetString(filepath.Join(filepath.Dir(l.src.Path), p))
	}
}

func (l *loader) fillTable(v reflect.Value, value any, path string) {
	from, ok := value.(map[string]any)
	if !ok {
		l.fail(path, "must be a table, not %s; write [%s] and its keys below", tomlType(value), path)
		return
	}
	l.fill(v, from, path)
}

func (l *loader) fillTables(v reflect.Value, value any, path string) {
	list, ok := entries(value)
	if !ok {
		l.fail(path, "must be a list of tables, not %s; write [[%s]] before each", tomlType(value), path)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
	for i, e := range list {
		setDefaults(v.Index(i).Addr().Interface())
		if from, ok := e.(map[string]any); ok {
			l.fill(v.Index(i), from, entry(path, i))
		} else {
			l.fail(path, "entry %d must be a table, not %s", i+1, tomlType(e))
		}
	}
}

// entries returns the tables of [[a]] [[a]] and of a = [{}, {}] alike.
func entries(value any) ([]any, bool) {
	switch list := value.(type) {
	case []any:
		return list, true
	case []map[string]any:
		all := make([]any, len(list))
		for i, e := range list {
			all[i] = e
		}
		return all, true
	}
	return nil, false
}

func fieldNamed(t reflect.Type, name string) (reflect.StructField, bool) {
	for f := range t.Fields() {
		if f.Tag.Get("toml") == name && name != "-" {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// checkPrivate refuses a file with a secret in it that others may read.
func (l *loader) checkPrivate(mode os.FileMode) {
	if !readableByOthers(mode) {
		return
	}
	for _, f := range leaves(l.cfg) {
		if f.isSecret() && !f.value.IsZero() {
			l.fail(f.path, "stands in a file that others may read; run: chmod 600 %s", l.src.Path)
			return
		}
	}
}

// readableByOthers reports whether the group or anybody may read or write a
// file. Windows has no such bits.
func readableByOthers(mode os.FileMode) bool {
	return runtime.GOOS != "windows" && mode.Perm()&0o066 != 0
}
