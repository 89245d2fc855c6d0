package daemon

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"relaymux/config"
	"relaymux/relay/exit"
)

var errNoState = errors.New(`tls = "acme" needs a place for the certificate: write dir under [state], or set $STATE_DIRECTORY`)

// tlsOf is what the node's listener speaks. What it keeps is in dir.
func tlsOf(c *config.ExitNode, dir string) (exit.TLS, error) {
	t := exit.TLS{CertFile: c.TLSCert, KeyFile: c.TLSKey, SelfSigned: c.SelfSigned, Plain: c.Plain}
	if c.TLS != config.TLSACME {
		return t, nil
	}
	if dir == "" {
		return t, errNoState
	}
	a := &c.ACME
	t.ACME = &exit.ACME{Domains: a.Domains, Email: a.Email, Directory: a.Directory, Dir: dir}
	if a.CAFile != "" {
		text, err := os.ReadFile(a.CAFile)
		if err != nil {
			return t, fmt.Errorf("reading ca_file under [node.acme]: %w", err)
		}
		t.ACME.Roots = x509.NewCertPool()
		t.ACME.Roots.AppendCertsFromPEM(text) // the config's checks have seen that it does
	}
	if !c.ByHTTP() {
		return t, nil
	}
	ln, err := net.Listen("tcp", a.HTTPListen)
	if err != nil {
		return t, fmt.Errorf("opening the port at which the CA asks: %w (http_listen under [node.acme]; a port below 1024 wants "+
			`CAP_NET_BIND_SERVICE, which the unit of relaymux init has; with listen = "0.0.0.0:443" the CA asks there instead)`, err)
	}
	t.ACME.Port80 = ln
	return t, nil
}

// closeACME closes what tlsOf has opened for a server that did not come to be.
func closeACME(t exit.TLS) {
	if t.ACME != nil && t.ACME.Port80 != nil {
		t.ACME.Port80.Close()
	}
}
