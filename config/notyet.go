package config

import "reflect"

// gap is a key whose part of the program is not in this version. Its values
// are checked all the same, so that files need not change when it comes.
type gap struct {
	key  string // a key or a section
	part string // what there is none of: "this version has no ... yet"

	// instead is what to write: the program must not start, for to ignore the
	// key would break a promise.
	instead string
}

// gaps returns them all. When a part is built, its line goes.
func gaps() []gap {
	const without = "remove this key"
	return []gap{
		{key: "route.direct", part: "routing", instead: without + ": everything goes through the tunnel"},
		{key: "route.block", part: "routing", instead: without + ", or use deny under [node.egress]"},
		{key: "route.tunnel", part: "routing", instead: without + ": everything goes through the tunnel"},
	}
}

// checkNotYet tells of each gap that the configuration runs into. Defaults and
// empty values ask for nothing.
func (l *loader) checkNotYet() {
	all := leaves(l.cfg)
	for _, g := range gaps() {
		for _, f := range all {
			if l.asksFor(g, f) {
				l.tell(g, f)
			}
		}
	}
}

// asksFor reports whether a source sets f, and to what g stands for.
func (l *loader) asksFor(g gap, f leaf) bool {
	_, isSet := l.from[f.path]
	return isSet && under(keyOf(f.path), g.key) && !isEmpty(f)
}

func (l *loader) tell(g gap, f leaf) {
	l.fail(f.path, "this version has no %s yet; %s", g.part, g.instead)
}

func isEmpty(f leaf) bool {
	return f.value.IsZero() || f.value.Kind() == reflect.Slice && f.value.Len() == 0
}
