package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Shortest secrets in characters.
const (
	minKey    = 16 // of the JSON wire, where scripts in use have such keys
	minSecret = 32 // of the link
)

// maxSecretFile bounds a file with a secret in bytes.
const maxSecretFile = 4 << 10

// makeOne is how to make a secret that passes every check here: 24 random
// bytes are 32 characters.
const makeOne = "make one with: head -c 24 /dev/urandom | base64"

// readSecret fills inline from file, where the keys name and name_file of the
// table at path hold them. In the environment, either overrides both of the
// file (no flag sets a secret); in one source both are a contradiction. It
// returns the path of the key that the secret comes from.
func (l *loader) readSecret(path, name string, inline *Secret, file string) string {
	at, fileAt := join(path, name), join(path, name+"_file")
	if file == "" {
		return at
	}
	if inline.IsSet() {
		switch inlineByEnv, fileByEnv := l.from[at] != "", l.from[fileAt] != ""; {
		case inlineByEnv == fileByEnv:
			l.fail(fileAt, "excludes %s; keep one of them", name)
			return fileAt
		case inlineByEnv:
			return at
		}
	}
	secret, mistake := readSecretFile(file)
	if mistake != "" {
		l.fail(fileAt, "%s", mistake)
	}
	*inline = secret
	return fileAt
}

// ReadSecret returns the secret in a file, which nobody else may read and which has one
// line.
func ReadSecret(path string) (Secret, error) {
	secret, mistake := readSecretFile(path)
	if mistake != "" {
		return Secret{}, errors.New(mistake)
	}
	return secret, nil
}

// readSecretFile returns the first and only line of a file that nobody else
// may read, or what is wrong with it.
func readSecretFile(path string) (secret Secret, mistake string) {
	text, mode, err := readBounded(path, maxSecretFile)
	if err != nil {
		return Secret{}, err.Error()
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case readableByOthers(mode):
		return Secret{}, fmt.Sprintf("others may read this file; run: chmod 600 %s", path)
	case text == "":
		return Secret{}, fmt.Sprintf("%s: is empty", path)
	case !isPrintable(text):
		return Secret{}, fmt.Sprintf("%s: must hold one line of text", path)
	}
	return NewSecret(text), ""
}

// checkStrength refuses a secret that could be guessed.
func (l *loader) checkStrength(path string, s Secret, least int) {
	if m := weakness(s.Reveal(), least); m != "" {
		l.fail(path, "%s; %s", m, makeOne)
	}
}

// weakness says why secret could be guessed, "" if it could not.
func weakness(secret string, least int) string {
	switch {
	case secret == "":
		return "is missing"
	case isExample(secret):
		return "is an example, which everybody knows"
	case isRepetition(secret):
		return "only repeats itself"
	case len(secret) < least:
		return fmt.Sprintf("has %d characters, but needs at least %d", len(secret), least)
	}
	return ""
}

// KeyWeakness says why a node would not take key for the JSON wire, "" if it would.
func KeyWeakness(key string) string { return weakness(key, minKey) }

// isExample recognises what stands in documents and templates in the place of
// a secret or a password.
func isExample(secret string) bool {
	plain := strings.Map(letterOrDigit, strings.ToLower(secret))
	for _, part := range []string{"changeme", "replaceme", "yourkey", "yoursecret", "yourpassword", "keyhere", "secrethere", "passwordhere"} {
		if strings.Contains(plain, part) {
			return true
		}
	}
	words := []string{"", "secret", "password", "example", "examplekey", "examplesecret", "test", "key", "todo"}
	return slices.Contains(words, plain)
}

// letterOrDigit drops every other character; those of all scripts count, for a password
// may be in Persian.
func letterOrDigit(r rune) rune {
	if unicode.IsLetter(r) || unicode.IsDigit(r) {
		return r
	}
	return -1
}

// isRepetition reports whether s is one shorter string again and again: then,
// and only then, s stands in s+s also somewhere in the middle.
func isRepetition(s string) bool {
	return len(s) > 1 && strings.Contains((s + s)[1:2*len(s)-1], s)
}
