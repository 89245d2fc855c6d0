package config

import (
	"reflect"
	"slices"
)

// Diff returns the names of the keys by which two configs differ, and no values, for
// some are secret: "batch.max_ops". What an array of tables has is known by its name:
// "deployment.home.url" has changed, "+deployment.home" is new and "-deployment.home"
// gone. In which order they stand does not count.
func Diff(old, now *Config) []string {
	return diffTable(reflect.ValueOf(old).Elem(), reflect.ValueOf(now).Elem(), "")
}

func diffTable(a, b reflect.Value, path string) (keys []string) {
	for f := range a.Type().Fields() {
		name := f.Tag.Get("toml")
		if name == "-" {
			continue
		}
		x, y, at := a.FieldByIndex(f.Index), b.FieldByIndex(f.Index), join(path, name)
		switch shapeOf(f.Type) {
		case table:
			keys = append(keys, diffTable(x, y, at)...)
		case tables:
			keys = append(keys, diffTables(x, y, at)...)
		case scalar:
			if !equal(x, y) {
				keys = append(keys, at)
			}
		}
	}
	return keys
}

// equal compares two values of a key. A list without entries is none.
func equal(x, y reflect.Value) bool {
	if x.Kind() == reflect.Slice && x.Len() == 0 {
		return y.Len() == 0
	}
	return reflect.DeepEqual(x.Interface(), y.Interface())
}

// diffTables compares arrays of tables by the names of their entries.
func diffTables(a, b reflect.Value, path string) (keys []string) {
	was, is := named(a), named(b)
	for _, name := range was.names {
		x := was.by[name]
		if y, stays := is.by[name]; stays {
			keys = append(keys, diffTable(x, y, join(path, name))...)
		} else {
			keys = append(keys, "-"+join(path, name))
		}
	}
	for _, name := range is.names {
		if _, there := was.by[name]; !there {
			keys = append(keys, "+"+join(path, name))
		}
	}
	return keys
}

// A roster is the entries of an array, by name, and their names in its order.
type roster struct {
	names []string
	by    map[string]reflect.Value
}

func named(array reflect.Value) roster {
	e := roster{by: make(map[string]reflect.Value)}
	for i := range array.Len() {
		name := array.Index(i).FieldByName("Name").String()
		if !slices.Contains(e.names, name) {
			e.names = append(e.names, name)
		}
		e.by[name] = array.Index(i)
	}
	return e
}
