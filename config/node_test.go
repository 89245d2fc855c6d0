package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
)

// TestOwnCertificate: one that its own key has signed is, one that another key has signed
// is not, though it has the same name.
func TestOwnCertificate(t *testing.T) {
	t.Parallel()
	var keys [2]*ecdsa.PrivateKey
	for i := range keys {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = key
	}
	file := func(issuer string, by *ecdsa.PrivateKey) string {
		cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node.example"}}
		parent := &x509.Certificate{Subject: pkix.Name{CommonName: issuer}}
		der, err := x509.CreateCertificate(rand.Reader, cert, parent, &keys[0].PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		return write(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	}
	for _, c := range []struct {
		name string
		n    ExitNode
		own  bool
		bad  bool
	}{
		{"self-signed", ExitNode{TLSCert: file("node.example", keys[0])}, true, false},
		{"of a CA", ExitNode{TLSCert: file("a CA", keys[1])}, false, false},
		{"of a CA of the same name", ExitNode{TLSCert: file("node.example", keys[1])}, false, false},
		{"made at each start", ExitNode{SelfSigned: true}, true, false},
		{"none", ExitNode{Plain: true}, false, false},
		{"not here", ExitNode{TLSCert: "/does/not/exist"}, false, true},
		{"no certificate", ExitNode{TLSCert: write(t, "cert.pem", "text")}, false, true},
	} {
		if own, err := c.n.OwnCertificate(); own != c.own || (err != nil) != c.bad {
			t.Errorf("%s: %v, %v", c.name, own, err)
		}
	}
}
