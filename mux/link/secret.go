package link

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
)

const (
	// pskInfo keeps the key of this protocol apart from every other key that
	// somebody may derive from the same text (RFC 5869 section 3.2).
	pskInfo = "relaymux link v1 psk"
	pskSize = 32 // what Noise takes, section 9.1 of its specification
)

// A Secret is what one client shares with its node. It cannot be printed.
type Secret struct {
	veil
	psk func() []byte // not the bytes: see veil
}

// NewSecret derives a Secret from a text. The derivation does not make a
// guessable text strong: the first message can be tried against guesses by
// everyone who sees it, so the text has to be random, of 32 characters or
// more. That is the configuration's to check.
func NewSecret(text string) Secret {
	key, err := hkdf.Key(sha256.New, []byte(text), nil, pskInfo, pskSize)
	if err != nil { // only for a size that no hash has
		panic("link: " + err.Error())
	}
	return Secret{psk: func() []byte { return key }}
}

// key is what Noise gets. A Secret that nobody made must not become a
// handshake without one, which is what the library makes of no key.
func (s Secret) key() []byte {
	if s.psk == nil {
		panic("link: a Secret that NewSecret did not make")
	}
	return s.psk()
}

// hidden is what a veil looks like.
const hidden = "[secret]"

// A veil hides the type that it is embedded in from everything that prints. As
// an unexported field of another struct it does not help: package fmt looks
// into those by itself, and through one pointer. What must not be seen is
// therefore kept in a function, or behind a pointer to an interface, both of
// which print as an address.
type veil struct{}

func (veil) String() string               { return hidden }
func (veil) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (veil) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Format hides it from the verbs that ask for no String, such as %d and %#v.
func (veil) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, hidden) }
