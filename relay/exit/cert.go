package exit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
)

var errNoCert = errors.New("neither a certificate, nor a CA, nor self-signed, nor plain")

// aead are the suites of TLS 1.2 that HTTP/2 has not forbidden (RFC 9113, appendix A).
// crypto/tls would take those with CBC too, which invite attacks on padding. TLS 1.3
// has suites of its own.
var aead = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// useTLS sets the server up with the certificate that t asks for.
func (s *Server) useTLS(t TLS) error {
	config := &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: aead}
	switch {
	case t.SelfSigned:
		cert, err := selfSigned()
		if err != nil {
			return fmt.Errorf("making a certificate: %w", err)
		}
		s.fingerprint = fingerprint(&cert)
		config.Certificates = []tls.Certificate{cert}
	case t.CertFile != "":
		files := &certFiles{cert: t.CertFile, key: t.KeyFile, log: s.node.log}
		if err := files.load(); err != nil {
			return err
		}
		config.GetCertificate = files.get
		s.fingerprint = fingerprint(files.loaded)
	case t.ACME != nil:
		certs, err := newACMECerts(*t.ACME, s.node.log)
		if err != nil {
			return err
		}
		s.acme, config.GetCertificate = certs, certs.get
		if t.ACME.Port80 == nil {
			config.NextProtos = []string{"h2", "http/1.1", acme.ALPNProto}
		}
	default:
		return errNoCert
	}
	s.http.TLSConfig = config
	return nil
}

// fingerprint is by what a client can pin the certificate.
func fingerprint(cert *tls.Certificate) string {
	sum := sha256.Sum256(cert.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// selfSigned makes a certificate that lasts as long as anybody runs the program,
// for a client that pins it; its names do not matter.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280: <= 20 octets
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		NotBefore:    now.Add(-24 * time.Hour), // for clocks that are late
		NotAfter:     now.AddDate(10, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// certFiles is a certificate in files, which are looked at again when a client
// comes, at most once a second.
type certFiles struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex
	looked time.Time
	stamp  fileStamp // of the files as last read, good or not
	loaded *tls.Certificate
}

const certLookEvery = time.Second

// fileStamp tells whether two files have changed.
type fileStamp struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

// get is a tls.Config's GetCertificate. New files that cannot be used leave the
// old certificate in place, and are logged once.
func (c *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= certLookEvery {
		c.looked = now
		if stamp, err := c.stat(); err != nil || stamp != c.stamp {
			c.reload(stamp)
		}
	}
	return c.loaded, nil
}

// reload reads the files, of which stamp is the zero one if they are not there.
func (c *certFiles) reload(stamp fileStamp) {
	again := stamp == c.stamp
	err := c.load()
	c.stamp = stamp
	switch {
	case err == nil:
		c.log.Info("certificate read anew", "file", c.cert)
	case !again:
		c.log.Error("new certificate not usable, the old one stays", "err", err)
	}
}

// load reads the files, and changes nothing if that fails.
func (c *certFiles) load() error {
	stamp, err := c.stat()
	if err != nil {
		return fmt.Errorf("looking at the certificate: %w", err)
	}
	cert, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("reading the certificate %s: %w", c.cert, err)
	}
	c.loaded, c.stamp = &cert, stamp
	return nil
}

func (c *certFiles) stat() (fileStamp, error) {
	cert, err := os.Stat(c.cert)
	if err != nil {
		return fileStamp{}, err
	}
	key, err := os.Stat(c.key)
	if err != nil {
		return fileStamp{}, err
	}
	return fileStamp{cert.ModTime(), key.ModTime(), cert.Size(), key.Size()}, nil
}
