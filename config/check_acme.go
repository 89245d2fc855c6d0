package config

import (
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"strings"

	"relaymux/mux/rule"
)

// Ports at which CAs ask (RFC 8555 section 8.3, RFC 8737 section 3). No other will do.
const (
	portHTTP01    = "80"
	portTLSALPN01 = "443"
)

// ByHTTP reports whether the CA is to ask by HTTP, given where the node listens.
func (n *ExitNode) ByHTTP() bool {
	_, port, _ := net.SplitHostPort(n.Listen)
	return n.ACME.Challenge == HTTP01 || n.ACME.Challenge == Auto && port != portTLSALPN01
}

// refuseACME tells of keys that nothing would read.
func (l *loader) refuseACME() {
	if l.isSet("node.acme") {
		l.fail(l.firstBelow("node.acme"), `is only read with tls = "acme" under [node]; write that, or remove [node.acme]`)
	}
}

// firstBelow is a key below path that a source sets.
func (l *loader) firstBelow(path string) string {
	for _, f := range leaves(l.cfg) {
		if _, ok := l.from[f.path]; ok && under(f.path, path) {
			return f.path
		}
	}
	return path
}

func (l *loader) checkACME() {
	n := &l.cfg.Node
	a := &n.ACME
	if len(a.Domains) == 0 {
		l.fail("node.acme.domains", `is missing; write the names that lead to this machine, such as domains = ["node.example.com"]`)
	}
	seen := make(map[string]bool)
	for _, d := range a.Domains {
		if m := domainMistake(d); m != "" {
			l.fail("node.acme.domains", "%q %s", d, m)
		}
		if seen[strings.ToLower(d)] {
			l.fail("node.acme.domains", "%q is there twice; remove one", d)
		}
		seen[strings.ToLower(d)] = true
	}
	if _, err := mail.ParseAddress(a.Email); a.Email != "" && (err != nil || strings.ContainsAny(a.Email, "<> ")) {
		l.fail("node.acme.email", `is no address, such as "me@example.com"`)
	}
	l.checkDirectory()
	l.checkPorts()
}

// domainMistake says why no public CA has a certificate for that name by these
// challenges, "" if it may.
func domainMistake(d string) string {
	_, err := netip.ParseAddr(d)
	switch {
	case err == nil:
		return "is an address; a CA wants a name that leads to it"
	case strings.HasPrefix(d, "*."):
		return "is a wildcard, which CAs give only by DNS; write the names one by one"
	case !rule.IsName(d) || strings.HasSuffix(d, ".") || strings.Contains(d, "_"):
		return "is no domain name"
	case !strings.Contains(d, "."):
		return "has no dot, so that no public CA has a certificate for it"
	}
	return ""
}

func (l *loader) checkDirectory() {
	a := &l.cfg.Node.ACME
	if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || !isHost(u.Hostname()) || u.User != nil {
		l.fail("node.acme.directory", `must be an https address, such as "https://acme-v02.api.letsencrypt.org/directory"`)
	}
	if a.CAFile != "" {
		l.checkCAFile("node.acme.ca_file", a.CAFile)
	}
}

// checkPorts says where a forwarded port is taken for granted.
func (l *loader) checkPorts() {
	n := &l.cfg.Node
	_, port, _ := net.SplitHostPort(n.Listen)
	if !n.ByHTTP() {
		if port != portTLSALPN01 {
			l.warn("node.acme.challenge", "the CA asks at port 443 of the domains, so that has to be forwarded to %s; "+
				`or write listen = "0.0.0.0:443", or challenge = "http-01" for port 80`, n.Listen)
		}
		return
	}
	if _, err := parseListen(n.ACME.HTTPListen); err != nil {
		l.fail("node.acme.http_listen", "%v", err)
		return
	}
	if _, port, _ := net.SplitHostPort(n.ACME.HTTPListen); port != portHTTP01 {
		l.warn("node.acme.http_listen", `the CA asks at port 80 of the domains, so that has to be forwarded to %s; or write "0.0.0.0:80"`,
			n.ACME.HTTPListen)
	}
}
