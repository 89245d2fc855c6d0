package exit

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// ACMEFile is the file below dir in which a server keeps what the CA of that directory
// gave it: the key, the certificate and its chain, in PEM. Each CA has its own, so that
// one of a trial is not taken for a real one.
func ACMEFile(dir, directory string) string {
	return filepath.Join(acmeDir(dir, directory), "certificate.pem")
}

func acmeDir(dir, directory string) string {
	host := "ca"
	if u, err := url.Parse(directory); err == nil && strings.Trim(u.Host, ".") != "" { // ".." would lead elsewhere
		host = strings.Map(func(r rune) rune {
			if strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-", r) {
				return r
			}
			return '_'
		}, strings.ToLower(u.Host))
	}
	return filepath.Join(dir, "acme", host)
}

// loadAccount is the key of the node's account at the CA, which it makes if there is
// none.
func loadAccount(dir, directory string) (crypto.Signer, error) {
	path := filepath.Join(acmeDir(dir, directory), "account.pem")
	text, err := os.ReadFile(path)
	if err == nil {
		block, _ := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("%s holds no key; remove it for a new account at the CA", path)
		}
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s holds no key that can be read: %w; remove it for a new account at the CA", path, err)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the account's key: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the account's key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("writing the account's key: %w", err)
	}
	return key, keep(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

// loadCertificate is what path has for these domains, nil if nothing.
func loadCertificate(path string, domains []string) *tls.Certificate {
	cert, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		return nil
	}
	for _, d := range domains {
		if cert.Leaf.VerifyHostname(d) != nil {
			return nil
		}
	}
	return &cert
}

// certificateOf is the certificate of a chain and its key, and both as ACMEFile has them.
func certificateOf(chain [][]byte, key *ecdsa.PrivateKey) (*tls.Certificate, []byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	var text bytes.Buffer
	_ = pem.Encode(&text, &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}) // a buffer takes everything
	for _, der := range chain {
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	cert, err := tls.X509KeyPair(text.Bytes(), text.Bytes())
	if err != nil {
		return nil, nil, err
	}
	return &cert, text.Bytes(), nil
}

// keep writes a file that only its owner may read, whole or not at all, and makes its
// directory.
func keep(path string, text []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+"-*") // 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // it has another name by then
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
