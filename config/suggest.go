package config

import (
	"reflect"
	"strings"
)

// failUnknown records that the table of type t has no key of that name.
func (l *loader) failUnknown(path, name string, t reflect.Type) {
	hint, s := "", suggestion(name, t)
	if s != "" {
		hint = "; did you mean " + s + "?"
	}
	l.fail(path, "no such key%s", hint)
	if path == name && s == "deployment" {
		l.told[s] = true // not that there is none, too
	}
}

// suggestion is the name in t that is nearest to name, or else the key of the
// same name in another section, or "".
func suggestion(name string, t reflect.Type) string {
	var names []string
	for f := range t.Fields() {
		if name := f.Tag.Get("toml"); name != "-" {
			names = append(names, name)
		}
	}
	if s := Nearest(name, names); s != "" {
		return s
	}
	for _, f := range declared() {
		if key := keyOf(f.path); strings.HasSuffix(key, "."+name) {
			return key
		}
	}
	return ""
}

// Nearest is the one of names that name was probably meant to be, "" if none is like it.
func Nearest(name string, names []string) string {
	if s := nearest(name, names); s != "" {
		return s
	}
	return begun(name, names)
}

// begun returns the only one of names that begins with name, which is long enough to
// mean something; "" if there are none or several.
func begun(name string, names []string) (found string) {
	const least = 3
	for _, n := range names {
		if len(name) < least || !strings.HasPrefix(n, strings.ToLower(name)) {
			continue
		}
		if found != "" {
			return ""
		}
		found = n
	}
	return found
}

// nearest returns the one of names that is most like name, "" when none is
// within a third of its length.
func nearest(name string, names []string) string {
	best, least := "", len(name)/3+1
	for _, n := range names {
		if d := distance(strings.ToLower(name), strings.ToLower(n)); d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is the number of bytes to insert, delete or replace to make b of a
// (Levenshtein 1966).
func distance(a, b string) int {
	row := make([]int, len(b)+1) // distances of a[:i] to each b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
