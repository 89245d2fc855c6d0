package config

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// ExitNode is the section [node]: the exit node.
type ExitNode struct {
	Listen      string     `toml:"listen" default:"0.0.0.0:8443" doc:"address of the node, TCP, and UDP for HTTP/3"`
	TLSCert     string     `toml:"tls_cert" file:"" doc:"PEM file of the certificate; needs tls_key"`
	TLSKey      string     `toml:"tls_key" file:"" doc:"PEM file of the certificate's key"`
	SelfSigned  bool       `toml:"self_signed" default:"false" doc:"make a certificate, instead of tls_cert; a new one at each start, so for a pin that lasts use tls_cert"`
	Plain       bool       `toml:"plain" default:"false" doc:"speak HTTP without TLS, behind a proxy that has it"`
	TLS         string     `toml:"tls" default:"auto" oneof:"auto|acme" doc:"acme gets a certificate from a CA, and renews it: see node.acme; auto is what tls_cert, self_signed or plain say"`
	ACME        ACME       `toml:"acme"`
	Key         Secret     `toml:"key" doc:"key of the JSON wire, at least 16 characters; without it only a client may come in"`
	KeyFile     string     `toml:"key_file" file:"" doc:"file that holds the key, instead of key"`
	Diagnostics bool       `toml:"diagnostics" default:"false" doc:"say why a request is refused, and answer /health to everyone"`
	Clients     []Client   `toml:"client"`
	Egress      Egress     `toml:"egress"`
	Limits      NodeLimits `toml:"limits"`
	UDP         UDP        `toml:"udp"`
}

// OwnCertificate reports whether the node's certificate is of its own making, so that
// no CA vouches for it. An error is that the file of it cannot be read here.
func (n *ExitNode) OwnCertificate() (bool, error) {
	if n.SelfSigned || n.TLSCert == "" {
		return n.SelfSigned, nil
	}
	text, _, err := readBounded(n.TLSCert, maxFile)
	if err != nil {
		return false, err
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return false, fmt.Errorf("%s: holds no certificate in PEM form", n.TLSCert)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return false, fmt.Errorf("%s: %w", n.TLSCert, err)
	}
	return bytes.Equal(cert.RawIssuer, cert.RawSubject) && // and not of a CA with the same name
		cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil, nil
}

// TLSACME is [node] tls, with a certificate by ACME.
const TLSACME = "acme"

// How a CA sees that a domain leads to the node (RFC 8555 section 8.3, RFC 8737).
const (
	TLSALPN01 = "tls-alpn-01" // it asks at port 443 of the domain, by TLS
	HTTP01    = "http-01"     // it asks at port 80 of the domain, by HTTP
)

// ACME is how the node gets its certificate from a CA.
type ACME struct {
	Domains    []string `toml:"domains" doc:"names in the certificate, which lead to this machine"`
	Email      string   `toml:"email" doc:"where the CA may write to; it can be left out"`
	Challenge  string   `toml:"challenge" default:"auto" oneof:"auto|tls-alpn-01|http-01" doc:"how the CA sees that the domains lead here: it asks by TLS at port 443, or by HTTP at port 80; auto: the former if node.listen has port 443"`
	HTTPListen string   `toml:"http_listen" default:"0.0.0.0:80" doc:"address for http-01, to which port 80 of the domains leads"`
	Directory  string   `toml:"directory" default:"https://acme-v02.api.letsencrypt.org/directory" doc:"URL of the CA's directory; the default is Let's Encrypt"`
	CAFile     string   `toml:"ca_file" file:"" doc:"PEM file of the CAs to trust at the directory"`
}

// Client may open links to the node.
type Client struct {
	Name       string `toml:"name" doc:"name in logs"`
	Secret     Secret `toml:"secret" doc:"secret of its [link], at least 32 characters"`
	SecretFile string `toml:"secret_file" file:"" doc:"file that holds the secret, instead of secret"`
}

// Egress is what the node connects to. A rule is an IP address, a CIDR, a
// domain name (which covers the names below it), a port, or host:port.
type Egress struct {
	AllowPrivate bool     `toml:"allow_private" default:"false" doc:"connect to private addresses too"`
	Allow        []string `toml:"allow" doc:"destinations allowed in spite of the other rules"`
	Deny         []string `toml:"deny" doc:"destinations refused"`
}

// NodeLimits bounds what the node uses.
type NodeLimits struct {
	Memory               Size     `toml:"memory" default:"256MiB" min:"16MiB" doc:"bytes of buffers"`
	Streams              int      `toml:"streams" default:"4096" min:"1" max:"1000000" doc:"open connections to targets"`
	DialsPerSecond       int      `toml:"dials_per_second" default:"0" min:"0" max:"100000" doc:"new connections per second; 0 is no limit"`
	ClientStreams        int      `toml:"client_streams" default:"0" min:"0" max:"1000000" doc:"of them, of one client; 0: three quarters if there are several, else all"`
	ClientDialsPerSecond int      `toml:"client_dials_per_second" default:"10000" min:"0" max:"100000" doc:"new connections of one client per second; 0 is no limit"`
	Reap                 Duration `toml:"reap" default:"180s" min:"10s" max:"1h" doc:"time without a sign of the client that ends a stream"`
}
