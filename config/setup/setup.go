// Package setup makes what somebody who begins needs: secrets, a certificate, the
// config files of both sides, the relays' scripts, units for systemd and a PAC file; and
// says what to do with them.
//
// The files in the order of a run: setup (the run), answers and node_tls (what has to be
// known, asked for or given by flags), takeover (what an older setup knew), plan (what
// follows from that), then the texts: tomls, units, pac, and next (the steps that
// are the user's); certificate and write are what their names say.
package setup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"relaymux/relay/script"
)

// Options are what the flags of `relaymux init` say. The zero value asks for
// everything.
type Options struct {
	Dir     string   // where the files go; it is made
	Node    string   // host:port at which relays and clients reach the node
	NodeTLS string   // SelfSigned, ACME, Behind, Files or Plain; empty: by what the relays accept
	Relays  []string // kind, or kind=url
	From    []string // files of an mhrv-rs setup
	Client  string   // the client's name at the node; empty is DefaultClient
	Yes     bool     // ask nothing: take the defaults
	Force   bool     // overwrite
}

// DefaultClient is the name of a client that is given none.
const DefaultClient = "laptop"

// asks reports whether anything is said of what the files are to hold.
func (o *Options) asks() bool {
	return o.Node != "" || o.NodeTLS != "" || len(o.Relays) > 0 || len(o.From) > 0 || o.Client != ""
}

// check refuses what would be refused of any setup. What is missing it does not mind.
func (o *Options) check() error {
	if o.Node != "" {
		if _, _, err := splitNode(o.Node); err != nil {
			return err
		}
	}
	if _, err := parseRelays(o.Relays); err != nil {
		return err
	}
	if o.NodeTLS != "" && !slices.Contains(NodeTLSWays(), o.NodeTLS) {
		return &UsageError{"node-tls", notAWay(o.NodeTLS)}
	}
	_, err := takeOver(o.From)
	return err
}

// A Setup is one run.
type Setup struct {
	Console

	// Binary is where the program will be; empty is /usr/local/bin/relaymux.
	Binary string

	// Self is the file of this program; empty: the one that runs.
	Self string
}

// A UsageError is a flag that is missing or wrong.
type UsageError struct {
	Flag string // without the hyphens
	Text string
}

func (e *UsageError) Error() string { return "--" + e.Flag + " " + e.Text }

var errStopped = errors.New("nothing was written")

// Run asks what it has to, and writes the files. Without a terminal it asks
// nothing: what is missing is a *UsageError.
func (s *Setup) Run(o Options) error {
	if o.Dir == "" {
		o.Dir = "relaymux-setup"
	}
	if s.Binary == "" {
		s.Binary = "/usr/local/bin/relaymux"
	}
	if s.Self == "" {
		s.Self = s.Binary
		if self, err := os.Executable(); err == nil {
			s.Self = self
		}
	}
	if err := o.check(); err != nil {
		return err
	}
	there, err := existing(o.Dir, secretFiles())
	if err != nil {
		return err
	}
	if len(there) > 0 && !o.Force {
		return s.leave(o, there)
	}
	a, err := s.answers(o)
	if err != nil {
		return err
	}
	p, err := newPlan(a)
	if err != nil {
		return err
	}
	files, err := s.files(p)
	if err != nil {
		return err
	}
	if isEmpty(o.Dir) { // nobody else's, where more is that git is to see
		files = append(files, file{name: ".gitignore", text: "*\n", mode: 0o644})
	}
	if there, err = existing(o.Dir, files); err != nil {
		return err
	}
	if len(there) > 0 && o.Force {
		s.say("Overwrites in %s: %s.", o.Dir, strings.Join(there, ", "))
		s.say("The secrets in them are gone then: the node and every client need the new files.")
		if ok, err := s.confirm("Overwrite?", o.Yes); err != nil || !ok {
			return errors.Join(err, errStopped)
		}
	}
	left, err := write(o.Dir, files, p.forCheck(), o.Force)
	if err != nil {
		return err
	}
	s.report(o.Dir, files, left, p)
	return nil
}

// leave says of a setup that is there what it has, and what it lacks. It changes
// nothing: the secrets of all these files belong together. Who has asked for something
// by flags has not got it.
func (s *Setup) leave(o Options, there []string) error {
	dir := o.Dir
	s.say("%s has %s already; they are left as they are.", dir, strings.Join(there, ", "))
	for _, f := range secretFiles() {
		if f.needed && !slices.Contains(there, f.name) {
			return fmt.Errorf("%s has no %s, and one with the secrets of the others cannot be made again; "+
				"bring it back, or make everything anew with --force", dir, f.name)
		}
	}
	if o.asks() {
		return fmt.Errorf("%s has files of an earlier run, so what the flags say was not done and nothing was changed; "+
			"make everything anew, with other secrets, by --force, or name another --dir", dir)
	}
	s.say("Nothing was changed. To make new secrets: relaymux init --dir %s --force", quote(dir))
	return nil
}

// secretFiles are those whose secrets belong together. The certificate is not needed
// where the node has none of its own.
func secretFiles() []file {
	return []file{
		{name: clientFile, needed: true}, {name: nodeFile, needed: true}, {name: keyFile}, {name: certFile},
	}
}

// files are all that p asks for.
func (s *Setup) files(p *plan) ([]file, error) {
	files := []file{
		{name: clientFile, text: p.client(), mode: 0o600},
		{name: nodeFile, text: p.node(), mode: 0o600},
	}
	if p.cert != nil {
		files = append(files, p.cert.files()...)
	}
	files = append(files,
		file{name: "relaymux.service", text: clientUnit(s.Binary), mode: 0o644},
		file{name: "relaymux-node.service", text: nodeUnit(s.Binary, p.low()), mode: 0o644},
		file{name: "proxy.pac", text: pacText(), mode: 0o644})
	for _, f := range p.scripts() {
		text, err := script.Fill(f.kind, f.values)
		if err != nil {
			return nil, fmt.Errorf("filling in %s: %w", f.name, err)
		}
		files = append(files, file{name: f.name, text: text, mode: 0o600})
	}
	return files, nil
}

// report says what was written, what is to be known of it, and what is next.
func (s *Setup) report(dir string, files []file, left []string, p *plan) {
	var names []string
	for _, f := range files {
		if !slices.Contains(left, f.name) {
			names = append(names, f.name)
		}
	}
	s.say("Wrote to %s: %s.", dir, strings.Join(names, ", "))
	if len(left) > 0 {
		s.say("Left as they were: %s.", strings.Join(left, ", "))
	}
	if p.tlsWhy != "" {
		s.say("The node's certificate: %s, %s (--node-tls chooses another).", p.nodeTLS, p.tlsWhy)
	}
	if p.cert != nil {
		pins := ""
		if p.has(Direct) {
			pins = "; the client's config pins it"
		}
		s.say("The node's certificate has the SHA-256 fingerprint %s%s.", p.cert.fingerprint, pins)
	}
	for _, w := range p.warnings {
		s.say("Note: %s", w)
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	s.say("")
	s.next(dir, p)
}

// isEmpty reports whether there is nothing in dir, or no dir.
func isEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return len(entries) == 0 && (err == nil || errors.Is(err, os.ErrNotExist))
}

// existing are the names of those files that are in dir.
func existing(dir string, files []file) (names []string, err error) {
	for _, f := range files {
		switch _, err := os.Lstat(filepath.Join(dir, f.name)); {
		case err == nil:
			names = append(names, f.name)
		case !errors.Is(err, os.ErrNotExist):
			return nil, fmt.Errorf("looking for earlier files: %w", err)
		}
	}
	return names, nil
}
