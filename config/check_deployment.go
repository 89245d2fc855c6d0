package config

import (
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

func (l *loader) checkDeployments() {
	if l.cfg.Embedded {
		return
	}
	if len(l.cfg.Deployments) == 0 {
		l.fail("deployment", "there is none, so nothing could leave this machine; write [[deployment]] with a url and a key below it")
	}
	seen := make(map[string]bool)
	accounts := accountNames(l.cfg.Accounts)
	for i := range l.cfg.Deployments {
		d, at := &l.cfg.Deployments[i], entry("deployment", i)
		l.checkName(join(at, "name"), d.Name, seen)
		l.checkAddress(d, at)
		l.warnPlaceholder(d, at)
		l.checkTLS(d, at)
		l.checkWire(d, at)
		l.checkHTTP(d, at)
		l.checkDeploymentKey(d, at)
		if !accounts[d.Account] {
			l.fail(join(at, "account"), "there is no [[account]] with the name %q", d.Account)
		}
	}
}

// checkDeploymentKey wants a key where one is asked for: by a script, and by the
// node on the JSON wire. A weak one is the node's to refuse: here it may be that
// of a script whose owner is somebody else.
func (l *loader) checkDeploymentKey(d *Deployment, at string) {
	keyAt := l.readSecret(at, "key", &d.Key, d.KeyFile)
	if !d.Key.IsSet() {
		if d.Script() || !l.cfg.Links(d) {
			l.fail(keyAt, `is missing; write key = "..." or key_file = "...", the key that the script or the node was given`)
		}
		return
	}
	if d.Key == l.cfg.Link.Secret {
		l.fail(keyAt, "is also the secret of [link], so the relay could read what that seals; %s", makeOne)
	}
	switch m := weakness(d.Key.Reveal(), minKey); {
	case m == "":
	case isExample(d.Key.Reveal()) && d.Script():
		l.warn(keyAt, "is an example; copy the AUTH_KEY of the script, and if it is one there too: %s", makeOne)
	case isExample(d.Key.Reveal()) && !l.cfg.Links(d):
		l.warn(keyAt, "is an example; copy the key of [node] from the node's config")
	case isExample(d.Key.Reveal()):
		l.warn(keyAt, "is an example; copy the key that the relay asks for, or leave it out if it asks for none")
	default:
		l.warn(keyAt, "%s; %s", m, makeOne)
	}
}

// checkAddress checks where the exchanges of d go.
func (l *loader) checkAddress(d *Deployment, at string) {
	if m := urlMistake(d.URL); m != "" {
		l.fail(join(at, "url"), "%s", m)
	}
	if d.ConnectTo != "" && !isHostPort(d.ConnectTo) {
		l.fail(join(at, "connect_to"), `%q must be host:port, such as "216.239.38.120:443"`, d.ConnectTo)
	}
	if d.ServerName != "" && !isHost(d.ServerName) {
		l.fail(join(at, "server_name"), `%q must be a host name, such as "www.google.com"`, d.ServerName)
	}
}

// checkTLS checks what d's relay has to prove.
func (l *loader) checkTLS(d *Deployment, at string) {
	if d.PinSHA256 != nil && strings.HasPrefix(d.URL, "http://") {
		l.fail(join(at, "pin_sha256"), "is of no use where url has no TLS: write https:// in url, or leave it out")
	}
	if d.InsecureSkipVerify && (d.PinSHA256 != nil || d.CAFile != "") {
		l.fail(join(at, "insecure_skip_verify"), "contradicts pin_sha256 and ca_file, which would not be looked at; remove it")
	}
	l.warnUnverified(d, at)
	if d.CAFile != "" {
		l.checkCAFile(join(at, "ca_file"), d.CAFile)
	}
}

// warnUnverified says who may be in between.
func (l *loader) warnUnverified(d *Deployment, at string) {
	if u, err := url.Parse(d.URL); !d.InsecureSkipVerify || err == nil && isLoopbackHost(u.Hostname()) {
		return
	}
	what := "the key"
	if !l.cfg.Links(d) {
		what = "the key and what your programs do not encrypt"
	}
	l.warn(join(at, "insecure_skip_verify"), "has whoever stands in between read %s; "+
		"pin_sha256 trusts one certificate, and ca_file those of one CA", what)
}

// checkCAFile wants certificates that nobody else can put there.
func (l *loader) checkCAFile(at, file string) {
	text, mode, err := readBounded(file, maxFile)
	switch {
	case err != nil:
		l.fail(at, "%v", err)
	case writableByAll(mode):
		l.fail(at, "everybody may write to this file; run: chmod o-w %s", file)
	case !x509.NewCertPool().AppendCertsFromPEM([]byte(text)):
		l.fail(at, "%s: holds no certificate in PEM form", file)
	}
}

// urlMistake says what is wrong with a relay's address, "" if nothing is. It
// does not quote it: a person may have put the key there.
func urlMistake(text string) string {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return `is missing; write the address of the relay, such as "https://relay.example/path"`
	case err != nil || !isHost(hostIn(u)) || !isPortIn(u):
		return `is not an address; write it as "https://host/path"`
	case u.Scheme != "https" && u.Scheme != "http":
		return "must begin with https://"
	case u.Scheme == "http" && !isLoopbackHost(u.Hostname()):
		return "would send the key in clear; write https:// (http:// is only for 127.0.0.1)"
	case u.User != nil:
		return "must hold no user name or password; the key has its own place, key or key_file"
	case strings.ContainsAny(text, "?#"):
		return "must end before the ? or #"
	case strings.HasPrefix(u.Path, "/macros/s/") && strings.HasSuffix(u.Path, "/dev"):
		return "is the script's test address, which only its author may open; use the one of a deployment, which ends in /exec"
	}
	return ""
}

// hostIn is the host of u, "" when u is opaque or relative.
func hostIn(u *url.URL) string {
	if u == nil || u.Opaque != "" {
		return ""
	}
	return u.Hostname()
}

// isPortIn reports whether u has a usable port, or none and no colon for it.
func isPortIn(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	return isPort(u.Port())
}

func (l *loader) checkAccounts() {
	seen := make(map[string]bool)
	for i, a := range l.cfg.Accounts[:l.ownAccounts] {
		l.checkName(join(entry("account", i), "name"), a.Name, seen)
	}
}

// maxName bounds the names of deployments and accounts in bytes; they are
// labels of counters.
const maxName = 64

// checkName checks a name and enters it in seen.
func (l *loader) checkName(path, name string, seen map[string]bool) {
	switch {
	case name == "":
		l.fail(path, "is missing; give it a name")
	case len(name) > maxName && l.isSet(path):
		l.fail(path, "has %d bytes; it may have %d", len(name), maxName)
	case !isPrintable(name):
		l.fail(path, "%q has characters that cannot be printed", name)
	case seen[name]:
		l.fail(path, "%q is there twice; rename one", name)
	}
	seen[name] = true
}

func isPrintable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	return err == nil && isHost(host) && isPort(port)
}

// isLoopbackHost reports whether host certainly is this machine. A name other
// than localhost may resolve to anything.
func isLoopbackHost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
