package doctor

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"relaymux/relay/fronted"
)

// name looks the host's address up.
func (e *exam) name(ctx context.Context) bool {
	host, _, _ := net.SplitHostPort(e.d.DialAddr()) // which made it
	if _, err := netip.ParseAddr(host); err == nil {
		e.add(Leg{Name: LegName, Status: OK, Detail: host + " is an address"})
		return true
	}
	lookup := e.Lookup
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, e.d.StepLimit())
	defer cancel()
	began := time.Now()
	addrs, err := lookup(ctx, host)
	l := Leg{Name: LegName, Status: OK, Millis: since(began)}
	if err != nil {
		l.Status = Broken
		l.Detail, l.Remedy = e.explain("looking up "+host, err)
		e.add(l)
		e.skip("not reached", LegConnect, LegTLS)
		return false
	}
	list := make([]string, 0, len(addrs))
	for _, a := range addrs {
		list = append(list, a.Unmap().String())
	}
	l.Detail = host + " is " + strings.Join(list[:min(len(list), 3)], ", ")
	e.add(l)
	return true
}

// connect connects and, where there is TLS, shakes hands.
func (e *exam) connect(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, e.d.StepLimit())
	defer cancel()
	dial := e.d.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	addr := e.d.DialAddr()
	began := time.Now()
	conn, err := dial(ctx, "tcp", addr)
	l := Leg{Name: LegConnect, Status: OK, Millis: since(began), Detail: "by TCP to " + addr}
	if err != nil {
		l.Status = Broken
		l.Detail, l.Remedy = e.explain("connecting to "+addr, err)
		if e.d.direct() {
			l.Remedy += "; is the node running (systemctl status relaymux-node), and its port open in the server's firewall?"
		}
		e.add(l)
		e.skip("not reached", LegTLS)
		return false
	}
	e.add(l)
	defer conn.Close()
	if e.d.URL.Scheme != "https" {
		e.skip("the url has no TLS", LegTLS)
		return true
	}
	return e.shake(ctx, conn)
}

// shake is the handshake of TLS, verified as exchanges verify it.
func (e *exam) shake(ctx context.Context, conn net.Conn) bool {
	config := e.d.TLS(e.protocols()...)
	if config.ServerName == "" {
		config.ServerName = e.d.URL.Hostname()
	}
	var shown []*x509.Certificate
	if verify := config.VerifyConnection; verify != nil {
		config.VerifyConnection = func(s tls.ConnectionState) error {
			shown = s.PeerCertificates
			return verify(s)
		}
	}
	began := time.Now()
	c := tls.Client(conn, config)
	err := c.HandshakeContext(ctx)
	l := Leg{Name: LegTLS, Status: OK, Millis: since(began)}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		shown = bad.UnverifiedCertificates
	}
	if err != nil {
		l.Status = Broken
		l.Detail, l.Remedy = e.explain("TLS with "+config.ServerName, err)
		if len(shown) > 0 {
			l.Detail += "; it shows " + describe(shown[0])
			if now := time.Now(); now.Before(shown[0].NotBefore) && len(e.d.PinSHA256) == 0 {
				l.Detail = fmt.Sprintf("the certificate is not yet valid: %s; this machine's clock says %s", describe(shown[0]), day(now))
				l.Remedy = "set this machine's clock (timedatectl set-ntp true); if it is right, the server's certificate was made with a wrong one"
			}
		}
		e.add(l)
		return false
	}
	state := c.ConnectionState()
	l.Detail = cmp.Or(state.NegotiatedProtocol, "http/1.1") + " by " + tls.VersionName(state.Version) + ", " + describe(state.PeerCertificates[0])
	if left := time.Until(state.PeerCertificates[0].NotAfter); left < soon && len(e.d.PinSHA256) == 0 {
		l.Status, l.Remedy = Warning, "the server's certificate has to be renewed"
	}
	e.add(l)
	return true
}

// soon is when the end of a certificate is worth a word.
const soon = 14 * 24 * time.Hour

// protocols are what exchanges would offer.
func (e *exam) protocols() []string {
	switch {
	case e.d.HTTP == "2":
		return []string{"h2"}
	case e.d.HTTP == "1.1" || e.d.Script():
		return []string{"http/1.1"}
	}
	return []string{"h2", "http/1.1"}
}

// explain is the cause of a failed connection, and what to do.
func (e *exam) explain(doing string, err error) (detail, remedy string) {
	d := &fronted.DialError{Doing: doing, Limit: e.d.StepLimit(), Script: e.d.Script(), Err: err}
	what, hint := d.Explain()
	return plain(doing + ": " + what), hint
}

// describe is a certificate as a person compares it.
func describe(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	issuer := "issued by " + c.Issuer.String()
	if c.Issuer.String() == c.Subject.String() {
		issuer = "of its own making"
	}
	return plain(fmt.Sprintf("%s, %s, sha256 %s, %s", cmp.Or(c.Subject.String(), "no name"), issuer, hex.EncodeToString(sum[:]), validity(c)))
}

func validity(c *x509.Certificate) string {
	switch left := time.Until(c.NotAfter); {
	case time.Now().Before(c.NotBefore):
		return "valid from " + day(c.NotBefore)
	case left < 0:
		return "expired on " + day(c.NotAfter)
	default:
		return fmt.Sprintf("%d days left", int(left.Hours()/24))
	}
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }
