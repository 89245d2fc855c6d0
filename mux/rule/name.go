package rule

import "strings"

// Lengths of names in bytes (RFC 1035, section 2.3.4; 253 is what 255 bytes on
// the wire leave for the text).
const (
	maxDomain = 253
	maxLabel  = 63
)

// IsName reports whether s is a domain name of letters, digits, hyphens and,
// as some hosts have them, underscores. The last label cannot be a number: that
// would be a mistaken IP address.
func IsName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > maxDomain {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return false
		}
	}
	return !IsDigits(labels[len(labels)-1])
}

func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	}) < 0
}

// IsDigits reports whether s has nothing but decimal digits.
func IsDigits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}
