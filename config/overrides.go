package config

import (
	"fmt"
	"slices"
	"strings"
)

// envPrefix begins the names of all our variables.
const envPrefix = "RELAYMUX_"

// envConfig names the file. It overrides no key.
const envConfig = envPrefix + "CONFIG"

// Flags are the overriding flags that were given: name without dashes -> value
// as typed. Load parses the values, so that it can tell their mistakes
// together with all others.
type Flags map[string]string

// A FlagSet declares a flag whose value a function takes, as those of flag and pflag do.
type FlagSet interface {
	Func(name, usage string, take func(value string) error)
}

// Register declares every flag that overrides a key. Parsing fs then fills f,
// which must not be nil.
func (f Flags) Register(fs FlagSet) {
	for _, k := range Keys() {
		if k.Flag == "" {
			continue
		}
		usage := k.Doc
		if k.Default != "" {
			usage += fmt.Sprintf("; default %s", k.Default)
		}
		fs.Func(k.Flag, usage, func(value string) error {
			f[k.Flag] = value
			return nil
		})
	}
}

// readEnviron applies RELAYMUX_<SECTION>_<KEY>.
func (l *loader) readEnviron() {
	given := ownVariables(l.src.Environ)
	names := []string{envConfig}
	for _, f := range leaves(l.cfg) {
		name := f.env()
		if name == "" {
			continue
		}
		names = append(names, name)
		if text, ok := given[name]; ok {
			l.override(f, name, text)
		}
	}
	l.warnUnknown(l.src.Environ, names)
}

// readFlags applies the flags. One that belongs to the entries of an array
// applies to each of them.
func (l *loader) readFlags() {
	for _, f := range leaves(l.cfg) {
		name := f.tag.Get("flag")
		if text, ok := l.src.Flags[name]; ok && name != "" {
			l.override(f, "--"+name, text)
		}
	}
}

// override sets f from the variable or flag of that name.
func (l *loader) override(f leaf, name, text string) {
	l.from[f.path] = name
	if err := f.setText(text); err != nil {
		l.fail(f.path, "%v", err)
	}
}

// warnUnknown tells of variables that look like ours. They are no mistakes:
// Kubernetes sets RELAYMUX_PORT and more for a service called relaymux.
func (l *loader) warnUnknown(environ, known []string) {
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(known, name) {
			continue
		}
		text := "no key has this name, so it is ignored"
		if s := nearest(name, known); s != "" {
			text += "; did you mean " + s + "?"
		}
		l.warnings = append(l.warnings, Problem{Key: name, Text: text})
	}
}

// ownVariables returns the variables that begin with our prefix. Of two of one
// name the last counts, as it does for os/exec.
func ownVariables(environ []string) map[string]string {
	own := make(map[string]string)
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(name, envPrefix) {
			own[name] = value
		}
	}
	return own
}

// WithoutSecrets is an environment without the variables that set a secret.
func WithoutSecrets(environ []string) []string {
	var names []string
	for _, f := range declared() {
		if name := f.env(); name != "" && f.isSecret() {
			names = append(names, name)
		}
	}
	return slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) // on Windows case does not count
	})
}
