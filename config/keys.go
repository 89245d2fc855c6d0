package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// Key describes a key for documents and for completion.
type Key struct {
	Name    string // "batch.max_ops"
	Env     string // "RELAYMUX_BATCH_MAX_OPS"; "" in arrays of tables, which only the file can set
	Flag    string // "batch-max-ops"; "" when no flag sets it
	Type    string // "string", "list", "bool", "int", "duration", "size", "secret" or "sha256"
	Default string // as written in the environment; "" when there is none
	Doc     string // one line, with the words or the range that it may have
}

// Keys returns every key, in the order of the declaration.
func Keys() []Key {
	var keys []Key
	for _, f := range declared() {
		k := Key{
			Name:    keyOf(f.path),
			Env:     f.env(),
			Flag:    f.tag.Get("flag"),
			Type:    typeName(f.value.Type()),
			Default: f.tag.Get("default"),
			Doc:     f.tag.Get("doc"),
		}
		if limits := f.limits(); limits != "" {
			k.Doc += " (" + limits + ")"
		}
		keys = append(keys, k)
	}
	return keys
}

// leaf is one key of one Config: its path, its declaration and its value.
type leaf struct {
	path  string
	tag   reflect.StructTag
	value reflect.Value // addressable
}

// declared returns the keys of a Config that has one entry in each array.
func declared() []leaf {
	c := Config{
		Proxy:       Proxy{Users: make([]User, 1)},
		Deployments: make([]Deployment, 1),
		Accounts:    make([]Account, 1),
		Node:        ExitNode{Clients: make([]Client, 1)},
	}
	return leaves(&c)
}

// leaves returns the keys of the struct that s points to.
func leaves(s any) []leaf {
	return appendLeaves(nil, reflect.ValueOf(s).Elem(), "")
}

func appendLeaves(to []leaf, v reflect.Value, path string) []leaf {
	for f := range v.Type().Fields() {
		name := f.Tag.Get("toml")
		if name == "-" {
			continue
		}
		value, at := v.FieldByIndex(f.Index), join(path, name)
		switch shapeOf(f.Type) {
		case scalar:
			to = append(to, leaf{at, f.Tag, value})
		case table:
			to = appendLeaves(to, value, at)
		case tables:
			for i := range value.Len() {
				to = appendLeaves(to, value.Index(i), entry(at, i))
			}
		}
	}
	return to
}

// shape is what a field is in TOML.
type shape int

const (
	scalar shape = iota // one value, or a list of strings
	table
	tables // an array of tables
)

func shapeOf(t reflect.Type) shape {
	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return scalar
	case t.Kind() == reflect.Struct:
		return table
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return tables
	}
	return scalar
}

func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[[]string]():
		return "list"
	case reflect.TypeFor[Pin]():
		return "sha256"
	case reflect.TypeFor[Secret]():
		return "secret"
	}
	return strings.ToLower(t.Name())
}

// env is the name of the variable that overrides f, "" if none does.
func (f leaf) env() string {
	if strings.Contains(f.path, "[") {
		return ""
	}
	return envPrefix + strings.ToUpper(strings.ReplaceAll(f.path, ".", "_"))
}

// isSecret reports whether the value must not be shown.
func (f leaf) isSecret() bool { return f.value.Type() == reflect.TypeFor[Secret]() }

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func entry(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// keyOf is path without the numbers of entries. A line tells which one it is.
func keyOf(path string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(path, ".") {
		name, _, _ := strings.Cut(part, "[")
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(name)
	}
	return b.String()
}

// under reports whether path is parent or below it.
func under(path, parent string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
