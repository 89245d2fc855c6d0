// Package secret is the type of every key, password and token that the program holds as a
// text, so that none gets into a log, a status or an error by somebody printing what it is in.
package secret

import (
	"fmt"
	"io"
	"log/slog"
	"unique"
)

// A Text is a key, a password or a token. Whatever prints it prints "[secret]"; only Reveal
// gives it away. Two of the same text are equal. The zero value is none.
//
// As an unexported field of another struct its methods do not help: package fmt looks into
// those by itself. There it finds an address, for what a Handle points to it does not follow.
type Text struct{ held unique.Handle[string] }

// hidden is what a Text looks like from outside.
const hidden = "[secret]"

// New returns text as a Text.
func New(text string) Text {
	if text == "" {
		return Text{}
	}
	return Text{unique.Make(text)}
}

// Reveal returns the secret itself, "" when there is none.
func (s Text) Reveal() string {
	if !s.IsSet() {
		return ""
	}
	return s.held.Value()
}

// IsSet reports whether there is one.
func (s Text) IsSet() bool { return s != Text{} }

// String hides it.
func (Text) String() string { return hidden }

// LogValue hides it from logs.
func (Text) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides it from what is encoded, as JSON, TOML or XML.
func (Text) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Format hides it from the verbs that ask for no String, such as %d and %#v.
func (Text) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, hidden) }

// UnmarshalText takes text as it is.
func (s *Text) UnmarshalText(text []byte) error {
	*s = New(string(text))
	return nil
}
