package script

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// js is a string literal of JavaScript (ECMA-262 section 12.9.4). What could end one,
// or the <script> around one, or is no printable ASCII, is escaped by its UTF-16 code.
func js(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, u := range utf16.Encode([]rune(s)) {
		if u < ' ' || u > '~' || strings.ContainsRune("\"\\<>&'`$", rune(u)) {
			fmt.Fprintf(&b, `\u%04x`, u)
		} else {
			b.WriteByte(byte(u))
		}
	}
	b.WriteByte('"')
	return b.String()
}

// safe are the characters of addresses and paths that mean nothing but themselves in
// nginx's and Caddy's files, as well as between quotes.
const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/"

// checked is v as it is written into a relay of that kind, or which value cannot be.
func (v Values) checked(kind string) (Values, error) {
	var err error
	if v.Node, err = checkNode(kind, v.Node); err != nil {
		return v, fmt.Errorf("the node's address: %w", err)
	}
	if v.Path = strings.Trim(v.Path, "/"); v.Path != "" {
		v.Path = "/" + v.Path
	}
	if strings.Trim(v.Path, safe) != "" || strings.Contains(v.Path, "//") || strings.Contains(v.Path, "/.") {
		return v, errors.New("the path: may only have letters, digits and - _ ~ . between its slashes")
	}
	if strings.Trim(v.Trusted, safe) != "" {
		return v, errors.New("the certificate's file: may only have letters, digits and - _ ~ . / in its name")
	}
	if err := checkKey(v.Key.Reveal(), kind == Worker); err != nil {
		return v, fmt.Errorf("the deployment's key: %w", err)
	}
	if err := checkKey(v.NodeKey.Reveal(), false); err != nil {
		return v, fmt.Errorf("the node's key: %w", err)
	}
	return v, nil
}

// checkNode returns an address without the slashes at its end.
func checkNode(kind, address string) (string, error) {
	if address == "" {
		return "", nil
	}
	address = strings.TrimRight(address, "/")
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return "", errors.New(`must be one such as "https://node.example.com:8443"`)
	case u.Scheme != "https" && u.Scheme != "http":
		return "", errors.New("must begin with https://")
	case u.User != nil || strings.ContainsAny(address, "?#"):
		return "", errors.New("must hold no user name, and end before the ? or #")
	case strings.Trim(address, safe+":[]") != "":
		return "", errors.New("has a character that has no place in an address")
	case kind == Caddy && u.Path != "":
		return "", errors.New("must end with the host: Caddy passes requests on to no path")
	}
	return address, nil
}

// checkKey refuses what is no text, and no header's value where it is to be one.
func checkKey(key string, header bool) error {
	if !utf8.ValidString(key) {
		return errors.New("is not UTF-8")
	}
	for _, r := range key {
		if r < ' ' || r == 0x7f || header && r > '~' {
			return fmt.Errorf("has the character %U, which cannot be sent", r)
		}
	}
	return nil
}
