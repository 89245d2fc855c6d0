// Package config turns the TOML file, the environment and the flags into one
// checked Config, and tells every mistake in them at once.
//
// A key is declared once, by a field of Config and its tags:
//
//	toml     its name in the file; the names of the sections around it make its path
//	default  its value when nobody sets it, written as in the environment
//	min, max the range of a number, a Duration or a Size, both ends included
//	oneof    the words it may be, separated by |
//	flag     the flag of `relaymux run` that overrides it
//	file     present on a path: a relative one counts from the file's directory
//	doc      its line in the table of keys
//
// Names of environment variables, the detection of unknown keys and the table
// of keys (Keys) all come from that declaration. What cannot be said by a tag
// is checked by the check functions, one per section.
//
// Words: a key is a leaf such as batch.max_ops; its path also counts the
// entries of arrays, such as deployment[1].url; a source is where its value
// was set: file, environment or flag.
package config

import "slices"

// Role says what the configuration is for, and so which sections must make
// sense. Types, ranges and unknown keys are checked in all of them.
type Role int

const (
	Any  Role = iota // whatever the file has sections for: `relaymux check`
	Run              // the local proxy
	Node             // the exit node
)

// Source is everything that a configuration is made of. Besides it, Load only
// reads the files that it names.
type Source struct {
	Role    Role
	Path    string   // the file, as Find returns it; "" when there is none
	Environ []string // as os.Environ returns it
	Flags   Flags    // as typed; nil when there are none

	// Elsewhere: the config may be that of another machine, so the node's certificate need
	// not be here.
	Elsewhere bool
}

// Load reads, completes and checks a configuration. Flags win over the
// environment, that over the file, and the file over the defaults.
//
// Warnings do not stop the program. An error is always an *Error, which holds
// every mistake.
func Load(src Source) (cfg *Config, warnings []Problem, err error) {
	l := newLoader(src)
	l.readFile()
	l.completeClient()
	l.readEnviron()
	l.readFlags()
	if l.cfg.Embedded {
		l.cfg.embedNode()
	}
	if !l.broken && !l.otherSide() {
		l.check()
	}
	if len(l.problems) > 0 {
		return nil, inOrder(l.warnings), &Error{problems: inOrder(l.problems)}
	}
	return l.cfg, inOrder(l.warnings), nil
}

// loader is one run of Load.
type loader struct {
	src   Source
	cfg   *Config
	lines lines             // where the keys of the file stand
	from  map[string]string // path of each key and table that was set -> name of the variable or flag, "" for the file
	told  map[string]bool   // what has a problem already: one each is enough

	ownAccounts        int  // those of cfg.Accounts that the file has; the others were added
	broken             bool // nothing could be read from the file
	problems, warnings []Problem
}

func newLoader(src Source) *loader {
	l := &loader{
		src:  src,
		cfg:  new(Config),
		from: make(map[string]string),
		told: make(map[string]bool),
	}
	setDefaults(l.cfg)
	return l
}

// check runs what tags cannot say, on the final values.
func (l *loader) check() {
	if l.checks(Run) {
		l.checkProxy()
		l.checkAdmin()
		l.checkBatch()
		l.checkLink()
		l.checkRoute()
		l.checkDNS()
		l.checkListeners()
		l.checkDeployments()
		l.checkAccounts()
	}
	if l.checks(Node) || l.cfg.Embedded {
		l.checkNode()
	}
}

// checks reports whether the sections of role r have to make sense.
func (l *loader) checks(r Role) bool {
	if l.src.Role != Any {
		return l.src.Role == r
	}
	hasNode, hasOther := false, false
	for path, name := range l.from {
		isNode := under(path, "node")
		hasNode = hasNode || name == "" && isNode
		hasOther = hasOther || name == "" && !isNode && !under(path, "state") // which both have
	}
	if r == Node {
		return hasNode
	}
	return hasOther || !hasNode // an empty file is a proxy's
}

// isSet reports whether any source sets the key at path or one below it.
func (l *loader) isSet(path string) bool {
	for p := range l.from {
		if under(p, path) {
			return true
		}
	}
	return false
}

// fail records a mistake at path, unless that key has one already: a url of
// the wrong type need not also be reported missing.
func (l *loader) fail(path, format string, args ...any) {
	p := l.problem(path, format, args...)
	if id := idOf(path, p); !l.told[id] {
		l.told[id] = true
		l.problems = append(l.problems, p)
	}
}

// idOf is what one problem is enough of: the path or, as one flag may be set
// in many places, the name of the variable or flag.
func idOf(path string, p Problem) string {
	if p.File == "" {
		return p.Key
	}
	return path
}

// warn records what the user should know about the key at path, unless it has
// a problem.
func (l *loader) warn(path, format string, args ...any) {
	if p := l.problem(path, format, args...); !l.told[idOf(path, p)] {
		l.warnings = append(l.warnings, p)
	}
}

// inOrder sorts problems by line; those outside the file come last, in the
// order in which they were found.
func inOrder(problems []Problem) []Problem {
	slices.SortStableFunc(problems, Problem.compare)
	return problems
}
