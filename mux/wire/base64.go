package wire

import "github.com/emmansun/base64"

// appendBase64 appends the base64 of the chunks as if they were one slice.
// A chunk that does not end on a three-byte boundary lends its last bytes to
// a group that it shares with the next.
func appendBase64(dst []byte, chunks [][]byte) []byte {
	var group [3]byte
	n := 0 // bytes in group
	for _, c := range chunks {
		if n > 0 {
			k := copy(group[n:], c)
			n, c = n+k, c[k:]
			if n < len(group) {
				continue
			}
			dst = base64.StdEncoding.AppendEncode(dst, group[:])
			n = 0
		}
		whole := len(c) - len(c)%3
		dst = base64.StdEncoding.AppendEncode(dst, c[:whole])
		n = copy(group[:], c[whole:])
	}
	if n > 0 {
		dst = base64.StdEncoding.AppendEncode(dst, group[:n])
	}
	return dst
}

// Base64Len is the length of the base64 of n bytes.
func Base64Len(n int) int { return (n + 2) / 3 * 4 }

// decodeBase64 decodes text over itself: output never overtakes input, three
// bytes to four. TestDecodeBase64InPlace holds the library to it.
func decodeBase64(text []byte) ([]byte, bool) {
	n, err := base64.StdEncoding.Decode(text, text)
	return text[:n], err == nil
}
