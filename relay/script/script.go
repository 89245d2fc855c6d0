// Package script holds the relays that users put up themselves: the text of a script
// for Google Apps Script, of a Cloudflare Worker, and of what nginx and Caddy need to be
// one. Fill writes a user's own addresses and keys into it.
package script

import (
	"embed"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"relaymux/mux/secret"
)

//go:embed Code.gs worker.js nginx.conf Caddyfile
var files embed.FS

// The kinds of relays.
const (
	AppsScript = "apps-script"
	Worker     = "worker"
	Nginx      = "nginx"
	Caddy      = "caddy"
)

// Kinds are all of them.
func Kinds() []string { return []string{AppsScript, Worker, Nginx, Caddy} }

// Values are what is filled in. What is "" stays the placeholder that it is, which no
// relay takes for a value, but for the path of a Worker: without one it has none.
type Values struct {
	Node    string      // the node's address, http or https
	Key     secret.Text // what the proxy shows to the relay; none is asked for by nginx and Caddy
	NodeKey secret.Text // what a script shows to the node
	Path    string      // below which a binary relay is

	// SkipVerify has a script of Google's take any certificate for the node's: the only
	// kind that can be told so.
	SkipVerify bool

	// Trusted is the PEM file, on the machine of nginx or Caddy, of the certificate that
	// the node has made for itself; "" is that it has one of a public CA.
	Trusted string
}

// The placeholders.
const (
	nodeHere    = "PUT-THE-NODE-ADDRESS-HERE"
	keyHere     = "PUT-THE-DEPLOYMENT-KEY-HERE"
	nodeKeyHere = "PUT-THE-NODE-KEY-HERE"
	pathHere    = "PUT-THE-PATH-HERE"
)

// NodeCertificate is where nginx and Caddy have the node's certificate (Values.Trusted).
const NodeCertificate = "/etc/relaymux/cert.pem"

// What the other values change.
const (
	verify       = "VERIFY_CERTIFICATE = true"
	nginxTrusted = "proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt"
	caddyTrusted = "# tls_trusted_ca_certs /etc/relaymux/cert.pem"
)

// Fill is the text of a relay of that kind with v filled in. An error says which value
// cannot be written there.
func Fill(kind string, v Values) (string, error) {
	v, err := v.checked(kind)
	if err != nil {
		return "", err
	}
	switch kind {
	case AppsScript:
		return fill("Code.gs", quoted(nodeHere, v.Node), quoted(keyHere, v.Key.Reveal()), quoted(nodeKeyHere, v.NodeKey.Reveal()),
			substitution{verify, "VERIFY_CERTIFICATE = false"}.unless(!v.SkipVerify))
	case Worker:
		path := substitution{js(pathHere), js(v.Path)}
		return fill("worker.js", quoted(nodeHere, v.Node), quoted(keyHere, v.Key.Reveal()), path)
	case Nginx:
		return fill("nginx.conf", plain(nodeHere, v.Node), plain(pathHere, v.Path),
			substitution{nginxTrusted, "proxy_ssl_trusted_certificate " + v.Trusted}.unless(v.Trusted == ""))
	case Caddy:
		return fill("Caddyfile", plain(nodeHere, v.Node), plain(pathHere, v.Path),
			substitution{caddyTrusted, "tls_trusted_ca_certs " + v.Trusted}.unless(v.Trusted == ""))
	}
	return "", fmt.Errorf("there is no relay %q: it is one of %s", kind, strings.Join(Kinds(), ", "))
}

// Missing are the placeholders that are left in a filled text, each once.
func Missing(text string) []string {
	left := regexp.MustCompile(`PUT-THE-[A-Z-]+-HERE`).FindAllString(text, -1)
	slices.Sort(left)
	return slices.Compact(left)
}

// A substitution puts new in the place of old.
type substitution struct{ old, new string }

// quoted is for a string of JavaScript.
func quoted(placeholder, value string) substitution {
	return plain(js(placeholder), js(value)).unless(value == "")
}

// plain is for a value that needs no quoting (Values.checked).
func plain(placeholder, value string) substitution {
	return substitution{placeholder, value}.unless(value == "")
}

func (s substitution) unless(empty bool) substitution {
	if empty {
		s.new = s.old
	}
	return s
}

// fill makes the substitutions all at once, so that no value is taken for a placeholder.
func fill(file string, subs ...substitution) (string, error) {
	text, err := files.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the relay's text: %w", err)
	}
	var pairs []string
	for _, s := range subs {
		pairs = append(pairs, s.old, s.new)
	}
	return strings.NewReplacer(pairs...).Replace(string(text)), nil
}
