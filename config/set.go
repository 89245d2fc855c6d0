package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setDefaults gives each key of the struct that s points to its default.
func setDefaults(s any) {
	for _, f := range leaves(s) {
		text, ok := f.tag.Lookup("default")
		if !ok {
			continue
		}
		if err := f.setText(text); err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", f.path, err)) // a wrong tag; every test would see it
		}
	}
}

// setText sets f from the environment, a flag or a default: lists are
// separated by commas. After an error f is as it was.
func (f leaf) setText(text string) error {
	switch f.value.Kind() {
	case reflect.Bool:
		v, err := strconv.ParseBool(text)
		if err != nil {
			return f.mismatch(strconv.Quote(text))
		}
		return f.set(v)
	case reflect.Int:
		v, err := strconv.Atoi(text)
		if err != nil {
			return f.mismatch(strconv.Quote(text))
		}
		return f.set(v)
	case reflect.Slice:
		if f.value.Type() == reflect.TypeFor[[]string]() {
			return f.set(splitList(text))
		}
	}
	return f.setString(text)
}

// setTOML sets f from a decoded value. Numbers are not taken for durations or
// sizes, nor strings for numbers.
func (f leaf) setTOML(v any) error {
	switch v := v.(type) {
	case string:
		if f.value.Type() == reflect.TypeFor[[]string]() {
			return f.set([]string{v})
		}
		return f.setString(v)
	case bool:
		if f.value.Kind() == reflect.Bool {
			return f.set(v)
		}
	case int64:
		if f.value.Kind() == reflect.Int {
			return f.setInt(v)
		}
	case []any:
		if f.value.Type() == reflect.TypeFor[[]string]() {
			return f.setList(v)
		}
	}
	return f.mismatch(tomlType(v))
}

func (f leaf) setInt(v int64) error {
	if f.value.OverflowInt(v) {
		return fmt.Errorf("must be %s, not %d", f.limits(), v)
	}
	return f.set(int(v))
}

func (f leaf) setList(v []any) error {
	list := make([]string, len(v))
	for i, e := range v {
		s, ok := e.(string)
		if !ok {
			return fmt.Errorf("must be a list of strings, but entry %d is %s", i+1, tomlType(e))
		}
		list[i] = s
	}
	return f.set(list)
}

// setString sets f if it is a string, or a type that is written as one.
func (f leaf) setString(s string) error {
	if f.value.Type() == reflect.TypeFor[string]() {
		return f.set(s)
	}
	parsed := reflect.New(f.value.Type())
	u, ok := parsed.Interface().(encoding.TextUnmarshaler)
	if !ok {
		return f.mismatch("a string")
	}
	if err := u.UnmarshalText([]byte(s)); err != nil {
		return err
	}
	return f.set(parsed.Elem().Interface())
}

// set stores v, which has f's type, if the tags allow it.
func (f leaf) set(v any) error {
	if err := f.inLimits(reflect.ValueOf(v)); err != nil {
		return err
	}
	f.value.Set(reflect.ValueOf(v))
	return nil
}

// inLimits checks min, max and oneof.
func (f leaf) inLimits(v reflect.Value) error {
	if words := f.tag.Get("oneof"); words != "" && !slices.Contains(strings.Split(words, "|"), v.String()) {
		return fmt.Errorf("must be %s, not %q", f.limits(), v.String())
	}
	if n, ok := f.limit("min"); ok && v.Int() < n {
		return fmt.Errorf("must be %s, not %v", f.limits(), v)
	}
	if n, ok := f.limit("max"); ok && v.Int() > n {
		return fmt.Errorf("must be %s, not %v", f.limits(), v)
	}
	return nil
}

// limit is the number in the tag min or max. Only numbers, durations and sizes
// have these tags.
func (f leaf) limit(tag string) (int64, bool) {
	text, ok := f.tag.Lookup(tag)
	if !ok {
		return 0, false
	}
	bound := leaf{value: reflect.New(f.value.Type()).Elem()}
	if err := bound.setText(text); err != nil {
		panic(fmt.Sprintf("config: %s of %s: %v", tag, f.path, err)) // a wrong tag
	}
	return bound.value.Int(), true
}

// limits says in words what inLimits checks, "" when that is nothing.
func (f leaf) limits() string {
	least, most := f.tag.Get("min"), f.tag.Get("max")
	switch {
	case f.tag.Get("oneof") != "":
		words := strings.Split(f.tag.Get("oneof"), "|")
		last := len(words) - 1
		return strings.Join(words[:last], ", ") + " or " + words[last]
	case least != "" && most != "":
		return least + " to " + most
	case least != "":
		return "at least " + least
	}
	return ""
}

// mismatch is the error for a value of the wrong type. got names it.
func (f leaf) mismatch(got string) error {
	want := map[string]string{
		"string":   "a string in quotes",
		"secret":   "a string in quotes",
		"sha256":   "a string in quotes",
		"list":     "a string in quotes, or a list of them",
		"bool":     "true or false",
		"int":      "a whole number",
		"duration": `a duration in quotes with its unit, such as "10ms" or "30s"`,
		"size":     `a size in quotes with its unit, such as "64KiB" or "4MiB"`,
	}[typeName(f.value.Type())]
	if got == `""` {
		return errors.New("is empty; it must be " + want)
	}
	return fmt.Errorf("must be %s, not %s", want, got)
}

// tomlType names the type of a decoded value, never the value.
func tomlType(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case int64:
		return "a bare number"
	case float64:
		return "a number with a fraction"
	case time.Time:
		return "a date"
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "a list"
	}
	return "a value of another type"
}

// splitList splits at commas and drops what is empty.
func splitList(text string) []string {
	list := []string{}
	for s := range strings.SplitSeq(text, ",") {
		if s = strings.TrimSpace(s); s != "" {
			list = append(list, s)
		}
	}
	return list
}
