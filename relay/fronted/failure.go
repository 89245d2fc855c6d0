package fronted

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"relaymux/relay"
)

// failure is the outcome of an exchange that ended with err.
func (x *exchange) failure(ctx context.Context, err error) *relay.Failure {
	f := x.explain(ctx, err)
	if !x.sent.Load() {
		f.Untouched = true
	}
	// What an unreachable relay's text says is ours, else it may be a page's.
	if f.Kind != relay.Unreachable && (echoes(f.Detail, x.head) || echoes(f.Detail, []byte(x.config.Key.Reveal()))) {
		f.Detail = "the answer repeats the request"
	}
	return f
}

func (x *exchange) explain(ctx context.Context, err error) *relay.Failure {
	if f, ok := errors.AsType[*relay.Failure](err); ok {
		return f
	}
	if f := gaveUp(context.Cause(ctx)); f != nil {
		return f
	}
	if d, ok := errors.AsType[*DialError](err); ok {
		what, hint := d.Explain()
		return &relay.Failure{Kind: relay.Unreachable, Detail: clean(d.Doing + ": " + what), Hint: hint, Err: err}
	}
	if errors.Is(err, errTooLarge) {
		return &relay.Failure{Kind: relay.TooLarge, Err: err,
			Detail: fmt.Sprintf("the answer is larger than %d bytes", x.config.MaxAnswer)}
	}
	if errors.Is(err, errMemory) {
		return &relay.Failure{Kind: relay.NoMemory, Detail: err.Error(), Hint: "limits.memory is in use: raise it", Err: err}
	}
	return &relay.Failure{Kind: relay.Broken, Detail: clean(err.Error()), Err: err}
}

// gaveUp is the outcome of an exchange that was ended from this side, by its
// watch or by the caller; nil if it was not.
func gaveUp(cause error) *relay.Failure {
	if cause == nil {
		return nil
	}
	f := &relay.Failure{Kind: relay.Cancelled, Detail: "given up", Err: cause}
	if o, ok := errors.AsType[*overdue](cause); ok {
		f.Kind, f.Detail, f.Hint = relay.Timeout, o.Error(), o.phase.hint()
		if o.phase == waiting {
			f.Kind = relay.Unreachable
		}
	} else if errors.Is(cause, context.DeadlineExceeded) {
		f.Kind, f.Detail = relay.Timeout, "no answer by the caller's deadline"
	}
	return f
}

func (p phase) hint() string {
	switch p {
	case sending:
		return "the way up is slow or blocked: lower max_bytes in [batch]"
	case answering:
		return "is the node up? else raise the deployment's exchange_limit"
	}
	return ""
}

// Explain tells the causes apart that a user mends in different places.
func (d *DialError) Explain() (what, hint string) {
	if what, hint, ok := d.explainTLS(); ok {
		return what, hint
	}
	if e, ok := errors.AsType[*net.DNSError](d.Err); ok {
		if e.IsNotFound {
			return "the name does not exist", "check url and connect_to; an address in connect_to needs no DNS"
		}
		return "the name could not be looked up", "is this machine online? an address in connect_to needs no DNS"
	}
	switch {
	case errors.Is(d.Err, context.DeadlineExceeded), errors.Is(d.Err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("no answer within %v", d.Limit), cmp.Or(d.Silent, "the address may be blocked: try another connect_to")
	case errors.Is(d.Err, syscall.ECONNREFUSED):
		return "connection refused", "nothing listens there: check url and connect_to"
	case errors.Is(d.Err, syscall.ECONNRESET):
		return "connection reset", "the name or the address may be blocked: try another server_name or connect_to"
	case errors.Is(d.Err, syscall.ENETUNREACH), errors.Is(d.Err, syscall.EHOSTUNREACH):
		return "no route", "is this machine online?"
	}
	return d.Err.Error(), ""
}

func (d *DialError) explainTLS() (what, hint string, ok bool) {
	if errors.Is(d.Err, errPin) {
		return errPin.Error(), d.distrust("someone is in between, or the server has a new certificate: update pin_sha256"), true
	}
	if _, ok := errors.AsType[x509.HostnameError](d.Err); ok {
		return "the certificate is for another name",
			d.distrust("check url and server_name; set pin_sha256 for a node with a certificate of its own making"), true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](d.Err); ok {
		return "the certificate is signed by an unknown CA", d.distrust("set ca_file or pin_sha256, unless someone is in between"), true
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](d.Err); ok {
		if e.Reason == x509.Expired {
			return "the certificate is expired or not yet valid", "check this machine's clock, then the server", true
		}
		return "the certificate is not valid: " + e.Error(), "", true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](d.Err); ok {
		return "the server does not speak TLS", "check the port, and http against https", true
	}
	if e, ok := errors.AsType[*net.OpError](d.Err); ok && e.Op == "remote error" { // crypto/tls: an alert
		return "the server refuses: " + e.Err.Error(), "try another server_name", true
	}
	return "", "", false
}

// distrust is the hint about a certificate that does not verify. Google's always does:
// who pins another instead hands the script's key to whoever shows it.
func (d *DialError) distrust(hint string) string {
	if d.Script {
		return "someone may be in between, or connect_to is not Google's: try another address there, and check server_name"
	}
	return hint
}
