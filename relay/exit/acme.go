package exit

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
)

// ACME says how a server gets its certificate from a CA (RFC 8555). The domains must
// lead to it: the CA looks whether they do.
//
// The order is made by golang.org/x/crypto/acme, but not by its autocert: that begins
// one whenever a stranger connects, always tries the port that may not be open first,
// and keeps the CA's reasons to itself.
type ACME struct {
	Domains   []string       // one certificate for all of them
	Email     string         // told to the CA; may be empty
	Directory string         // the URL of the CA's directory
	Roots     *x509.CertPool // for the directory; nil: the system's
	Dir       string         // where the certificate and the account are kept; it is made

	// Port80 is where the CA asks by HTTP (http-01), which Serve closes; nil: it asks by
	// TLS (tls-alpn-01), at port 443.
	Port80 net.Listener
}

// acmeCerts is the certificate of a server, which run gets and renews. Handshakes only
// read it: nobody who connects can make it ask the CA for anything.
type acmeCerts struct {
	ACME
	log    *slog.Logger
	client *acme.Client // of run
	loaded atomic.Pointer[tls.Certificate]

	mu      sync.Mutex
	proofs  map[string]*tls.Certificate // what a CA that asks by TLS is shown, by domain
	answers map[string]string           // what one that asks by HTTP is told, by path
}

// Times of orders. Let's Encrypt allows five failed ones for a name in an hour.
const (
	orderLimit   = 5 * time.Minute
	firstRetry   = 2 * time.Minute
	longestRetry = time.Hour
	lookEvery    = time.Hour // at the clock, which may have been set
)

var (
	errNoCertYet = errors.New("there is no certificate yet")
	errNoProof   = errors.New("no such challenge")
)

func newACMECerts(a ACME, log *slog.Logger) (*acmeCerts, error) {
	c := &acmeCerts{ACME: a, log: log, proofs: make(map[string]*tls.Certificate), answers: make(map[string]string)}
	key, err := loadAccount(a.Dir, a.Directory)
	if err != nil {
		return nil, err
	}
	c.client = &acme.Client{
		Key: key, DirectoryURL: a.Directory, UserAgent: "relaymux",
		HTTPClient: &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: a.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: headerLimit, IdleConnTimeout: headerLimit}},
	}
	if cert := loadCertificate(ACMEFile(a.Dir, a.Directory), a.Domains); cert != nil {
		c.loaded.Store(cert)
	}
	return c, nil
}

// get is a tls.Config's GetCertificate. Whatever name is asked for, there is one
// certificate.
func (c *acmeCerts) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if proof := c.proofs[strings.ToLower(hello.ServerName)]; proof != nil {
			return proof, nil
		}
		return nil, errNoProof
	}
	if cert := c.loaded.Load(); cert != nil {
		return cert, nil
	}
	return nil, errNoCertYet
}

// ServeHTTP answers the CA at port 80. To everybody else there is nothing.
func (c *acmeCerts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	answer := c.answers[r.URL.Path]
	c.mu.Unlock()
	if answer == "" {
		page(w, http.StatusNotFound, "404 page not found\n")
		return
	}
	page(w, http.StatusOK, answer)
}

// start has run go on until stop, which waits for its end.
func (c *acmeCerts) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { c.run(ctx) })
	server := &http.Server{
		Handler: c, ReadHeaderTimeout: headerLimit, ReadTimeout: headerLimit, WriteTimeout: headerLimit, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug), DisableGeneralOptionsHandler: true}
	if c.Port80 != nil {
		all.Go(func() {
			if err := server.Serve(c.Port80); !errors.Is(err, http.ErrServerClosed) {
				c.log.Error("the CA is not answered any more", "err", err)
			}
		})
	}
	return func() {
		cancel()
		_ = server.Close()
		all.Wait()
		c.client.HTTPClient.CloseIdleConnections()
	}
}

// run keeps the certificate good until ctx ends.
func (c *acmeCerts) run(ctx context.Context) {
	for failures := 0; ; {
		wait := min(untilDue(c.loaded.Load(), time.Now()), lookEvery)
		if wait <= 0 {
			wait = lookEvery // also if it is due again by this machine's clock
			if err := c.renew(ctx); err == nil {
				failures = 0
			} else if ctx.Err() == nil {
				failures++
				wait = retryAfter(err, failures)
				c.complain(err, wait)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// untilDue is the time until cert, which may be nil, has a third of its life left.
func untilDue(cert *tls.Certificate, now time.Time) time.Duration {
	if cert == nil {
		return 0
	}
	life := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)
	return cert.Leaf.NotAfter.Add(-life / 3).Sub(now)
}

// retryAfter is when to try again after so many failures in a row: in 2, 8, 32 minutes,
// then every hour, unless the CA wants more time.
func retryAfter(err error, failures int) time.Duration {
	wait := min(firstRetry<<min(2*(failures-1), 20), longestRetry)
	if e, ok := errors.AsType[*acme.Error](err); ok {
		if asked, ok := acme.RateLimit(e); ok {
			wait = max(wait, min(asked, 24*time.Hour), longestRetry)
		}
	}
	return wait
}

// complain tells why there is no new certificate, and what the CA wants.
func (c *acmeCerts) complain(err error, wait time.Duration) {
	port, by := "443", "tls-alpn-01"
	if c.Port80 != nil {
		port, by = "80", "http-01"
	}
	c.log.Error("no certificate from the CA", "err", err, "domains", c.Domains, "again_in", wait.String(),
		"hint", fmt.Sprintf("%s: port %s of each domain must lead to this node from everywhere; check its DNS records and the firewall", by, port))
}

// renew gets a new certificate, and keeps it.
func (c *acmeCerts) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, orderLimit)
	defer cancel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	chain, err := c.order(ctx, key)
	if err != nil {
		return err
	}
	cert, text, err := certificateOf(chain, key)
	if err != nil {
		return fmt.Errorf("reading what the CA made: %w", err)
	}
	c.loaded.Store(cert)
	if err := keep(ACMEFile(c.Dir, c.Directory), text); err != nil {
		c.log.Error("the certificate is not kept, and the next start asks for another", "err", err)
	}
	c.log.Info("certificate from the CA", "domains", c.Domains, "issuer", cert.Leaf.Issuer.String(), "until", cert.Leaf.NotAfter.UTC().Format(time.DateOnly))
	return nil
}

// order is the exchange with the CA (RFC 8555 section 7.4): it returns the chain of a
// certificate for key, in DER.
func (c *acmeCerts) order(ctx context.Context, key *ecdsa.PrivateKey) ([][]byte, error) {
	account := new(acme.Account)
	if c.Email != "" {
		account.Contact = []string{"mailto:" + c.Email}
	}
	if _, err := c.client.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("registering at %s: %w", c.Directory, err)
	}
	o, err := c.client.AuthorizeOrder(ctx, acme.DomainIDs(c.Domains...))
	if err != nil {
		return nil, fmt.Errorf("ordering: %w", err)
	}
	for _, url := range o.AuthzURLs {
		if err := c.authorize(ctx, url); err != nil {
			return nil, err
		}
	}
	if o, err = c.client.WaitOrder(ctx, o.URI); err != nil {
		return nil, fmt.Errorf("waiting for the order: %w", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: c.Domains}, key)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	chain, _, err := c.client.CreateCertFromOrder(ctx, o, csr, true)
	if err != nil {
		return nil, fmt.Errorf("finishing the order: %w", err)
	}
	return chain, nil
}

// authorize shows the CA that a domain leads here.
func (c *acmeCerts) authorize(ctx context.Context, url string) error {
	z, err := c.client.GetAuthorization(ctx, url)
	if err != nil {
		return fmt.Errorf("asking how to prove a domain: %w", err)
	}
	if z.Status == acme.StatusValid { // of an earlier order
		return nil
	}
	kind, domain := "tls-alpn-01", z.Identifier.Value
	if c.Port80 != nil {
		kind = "http-01"
	}
	i := slices.IndexFunc(z.Challenges, func(ch *acme.Challenge) bool { return ch.Type == kind })
	if i < 0 {
		return fmt.Errorf("the CA does not take %s for %s", kind, domain)
	}
	hide, err := c.show(z.Challenges[i], domain)
	if err != nil {
		return fmt.Errorf("answering for %s: %w", domain, err)
	}
	defer hide()
	if _, err := c.client.Accept(ctx, z.Challenges[i]); err != nil {
		return fmt.Errorf("having %s looked at: %w", domain, err)
	}
	if _, err := c.client.WaitAuthorization(ctx, url); err != nil {
		return fmt.Errorf("the CA does not find this node at %s: %w", domain, err)
	}
	return nil
}

// show has the CA find what it looks for, until hide.
func (c *acmeCerts) show(ch *acme.Challenge, domain string) (hide func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Port80 != nil {
		path := c.client.HTTP01ChallengePath(ch.Token)
		if c.answers[path], err = c.client.HTTP01ChallengeResponse(ch.Token); err != nil {
			return nil, err
		}
		return func() { c.mu.Lock(); delete(c.answers, path); c.mu.Unlock() }, nil
	}
	proof, err := c.client.TLSALPN01ChallengeCert(ch.Token, domain)
	if err != nil {
		return nil, err
	}
	domain = strings.ToLower(domain)
	c.proofs[domain] = &proof
	return func() { c.mu.Lock(); delete(c.proofs, domain); c.mu.Unlock() }, nil
}
