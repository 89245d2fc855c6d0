package config

import "crypto/tls"

func (l *loader) checkNode() {
	n := &l.cfg.Node
	isLoopback, err := parseListen(n.Listen)
	if err != nil {
		l.fail("node.listen", "%v", err)
	}
	if n.Plain && !isLoopback {
		l.warn("node.plain", "keys and traffic cross the network in clear unless a proxy with TLS stands in front; "+
			`then listen on "127.0.0.1:8443"`)
	}
	l.checkNodeTLS()
	l.checkNodeKey(l.readSecret("node", "key", &n.Key, n.KeyFile))
	l.checkClients()
	l.checkRules("node.egress.allow", n.Egress.Allow)
	l.checkRules("node.egress.deny", n.Egress.Deny)
}

// checkNodeTLS wants exactly one of a certificate, a made one, and none.
func (l *loader) checkNodeTLS() {
	n := &l.cfg.Node
	hasFiles := n.TLSCert != "" || n.TLSKey != ""
	byACME := n.TLS == TLSACME
	if !byACME && !l.cfg.Embedded {
		l.refuseACME()
	}
	switch ways := count(hasFiles, n.SelfSigned, n.Plain, byACME); {
	case ways == 0:
		l.fail("node.tls_cert", "is missing; write tls_cert and tls_key, or tls = \"acme\", or self_signed = true, "+
			"or plain = true behind a proxy with TLS")
	case ways > 1:
		l.fail(l.firstSet("node.tls_cert", "node.tls_key", "node.self_signed", "node.plain"),
			"tls_cert with tls_key, tls = \"acme\", self_signed and plain exclude each other; keep one")
	case byACME:
		l.checkACME()
	case hasFiles && !l.src.Elsewhere:
		l.checkCertificate(n.TLSCert, n.TLSKey)
	}
}

func (l *loader) checkCertificate(cert, key string) {
	if cert == "" {
		l.fail("node.tls_cert", "is missing; tls_key needs it")
		return
	}
	if key == "" {
		l.fail("node.tls_key", "is missing; tls_cert needs it")
		return
	}
	certText, _, err := readBounded(cert, maxFile)
	if err != nil {
		l.fail("node.tls_cert", "%v", err)
		return
	}
	keyText, mode, err := readBounded(key, maxFile)
	if err != nil {
		l.fail("node.tls_key", "%v", err)
		return
	}
	if _, err := tls.X509KeyPair([]byte(certText), []byte(keyText)); err != nil {
		l.fail("node.tls_cert", "%s and %s: %v", cert, key, err)
	}
	// The group may read it: Debian keeps such keys with the group ssl-cert.
	if readableByOthers(mode &^ 0o070) {
		l.fail("node.tls_key", "everybody may read this file; run: chmod 640 %s", key)
	}
}

// checkNodeKey wants a key at path, or clients: without either nobody could come
// in. Without a key the node has no JSON wire.
func (l *loader) checkNodeKey(path string) {
	switch n := &l.cfg.Node; {
	case n.Key.IsSet():
		l.checkStrength(path, n.Key, minKey)
	case len(n.Clients) == 0:
		l.fail(path, "is missing, and so is any [[node.client]] with a secret; %s", makeOne)
	}
}

// checkClients wants a secret of its own for each: by it the node knows whose
// link it is, and it can be taken from one without the others.
func (l *loader) checkClients() {
	n := &l.cfg.Node
	names, owners := make(map[string]bool), make(map[Secret]string)
	for i := range n.Clients {
		c, at := &n.Clients[i], entry("node.client", i)
		l.checkName(join(at, "name"), c.Name, names)
		path := l.readSecret(at, "secret", &c.Secret, c.SecretFile)
		l.checkStrength(path, c.Secret, minSecret)
		owner, taken := owners[c.Secret]
		switch {
		case !c.Secret.IsSet():
		case taken:
			l.fail(path, "is also the secret of client %q; %s", owner, makeOne)
		case c.Secret == n.Key:
			l.fail(path, "is also the node's key, which relays know; %s", makeOne)
		}
		owners[c.Secret] = c.Name
	}
}

// firstSet returns the first of paths that a source sets.
func (l *loader) firstSet(paths ...string) string {
	for _, p := range paths {
		if l.isSet(p) {
			return p
		}
	}
	return paths[0]
}

func count(conditions ...bool) int {
	n := 0
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}
