package config

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span, written "10ms" or "1m30s". It has no form without
// a unit, because a bare 90 would have to be guessed.
type Duration time.Duration

// UnmarshalText parses text as time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf(`%q is not a duration; write it with a unit, such as "10ms" or "30s"`, text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func (d Duration) String() string { return time.Duration(d).String() }

// Size is a number of bytes, written "4MiB" or, with powers of 1000, "4MB".
type Size int64

// sizeUnits has the larger unit first, so that String finds the shortest form.
var sizeUnits = [...]struct {
	name  string
	bytes int64
}{
	{"GiB", 1 << 30}, {"GB", 1e9},
	{"MiB", 1 << 20}, {"MB", 1e6},
	{"KiB", 1 << 10}, {"KB", 1e3},
	{"B", 1},
}

// UnmarshalText parses a whole number and its unit.
func (s *Size) UnmarshalText(text []byte) error {
	digits := strings.TrimRight(string(text), "KMGiB")
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return fmt.Errorf(`%q is not a size; write a whole number with its unit, such as "64KiB" or "4MiB"`, text)
	}
	for _, u := range sizeUnits {
		if u.name != string(text[len(digits):]) {
			continue
		}
		if int64(n) > math.MaxInt64/u.bytes {
			return fmt.Errorf("%q is too large", text)
		}
		*s = Size(int64(n) * u.bytes)
		return nil
	}
	return fmt.Errorf(`%q needs a unit: B, KiB, MiB, GiB, KB, MB or GB`, text)
}

// MarshalText is the inverse of UnmarshalText.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Size) String() string {
	for _, u := range sizeUnits {
		if n := int64(s); n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// Pin is the SHA-256 of a certificate: 32 bytes, or nil when there is none.
type Pin []byte

// pinSize is the length of a SHA-256 (FIPS 180-4).
const pinSize = 32

// UnmarshalText parses hex, with or without colons, or base64. An empty text
// is no pin.
func (p *Pin) UnmarshalText(text []byte) error {
	*p = nil
	if len(text) == 0 {
		return nil
	}
	s := string(text)
	if _, after, ok := strings.Cut(s, "Fingerprint="); ok { // as openssl prints it
		s = after
	}
	if b, err := hex.DecodeString(strings.ReplaceAll(s, ":", "")); err == nil && len(b) == pinSize {
		*p = b
		return nil
	}
	if b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "=")); err == nil && len(b) == pinSize {
		*p = b
		return nil
	}
	return errors.New("is not a SHA-256; write its 64 hex digits, with or without colons, or its 32 bytes in base64")
}

// MarshalText is the hex form.
func (p Pin) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

func (p Pin) String() string { return hex.EncodeToString(p) }
