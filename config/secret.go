package config

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a key, a password or a token. Whatever prints it prints
// "[secret]"; only Reveal gives it away.
type Secret struct{ text string }

// hidden is what a Secret looks like from outside.
const hidden = "[secret]"

// NewSecret returns text as a Secret.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the secret itself, "" when there is none.
func (s Secret) Reveal() string { return s.text }

// IsSet reports whether there is one.
func (s Secret) IsSet() bool { return s.text != "" }

func (Secret) String() string               { return hidden }
func (Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Format hides the secret from the verbs that ask for no String, such as %d
// and %#v.
func (Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, hidden) }

// UnmarshalText takes text as it is.
func (s *Secret) UnmarshalText(text []byte) error {
	s.text = string(text)
	return nil
}
