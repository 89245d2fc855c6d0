// Package relay is the way across: what carries one request to the node and
// its answer back. The transports live in packages below it (fronted), the
// other end is relay/exit.
//
// Words: an exchange is one request and its answer; a deployment is one relay
// URL. A transport belongs to one deployment.
package relay

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Transport carries exchanges of one deployment. It is safe for concurrent
// use; how many may be in flight at once is the caller's business.
type Transport interface {
	// Exchange sends x.Body and appends the answer to x.Answer. It borrows
	// the former; the latter belongs to the caller (see there). While it runs
	// it keeps x.Progress up to date, and nothing of x is written any more
	// once it has returned.
	//
	// An error is always a *Failure.
	Exchange(ctx context.Context, x *Exchange) error

	// Close drops idle connections. Exchanges in flight end by their context.
	Close()
}

// A Piper is a Transport that can keep an exchange open both ways, where nobody on
// the way waits for the end of a request before passing it on, or of an answer.
type Piper interface {
	// Pipe begins an exchange by sending first, which it borrows, and returns when
	// the answer begins. What is written follows first at once, and what is read is
	// the answer as it comes; Close ends both. One goroutine may read beside one
	// that writes. ctx bounds Pipe alone. An error of Pipe is always a *Failure.
	Pipe(ctx context.Context, first []byte) (io.ReadWriteCloser, error)
}

// Kind is the kind of a failed exchange. Its String is the outcome label of
// the counters and the log.
type Kind uint8

const (
	Unreachable Kind = iota + 1 // name, connect or TLS: the request never left
	Timeout                     // sent, and no whole answer within the limit
	Broken                      // the connection ended in the middle of the answer
	RetryAfter                  // 429 or 503: come back later (Failure.RetryAfter if the relay said when)
	Quota                       // the relay's page says that its daily or hourly quota is used up
	SignIn                      // the relay wants a person to sign in: deployed for the wrong audience
	Decoy                       // a page where an answer was due: wrong key, wrong deployment, or not deployed anew
	Refused                     // another 4xx: wrong URL, wrong key at the node
	ServerError                 // another 5xx
	Redirected                  // a redirect that must not or cannot be followed
	TooLarge                    // request refused for its size, or an answer above the limit
	Malformed                   // 200, but empty, truncated or not the wire's JSON
	Rejected                    // a top-level "e": the script or the node refused the whole batch
	NoMemory                    // this program has none for the answer: not the relay's fault
	Cancelled                   // we gave it up ourselves
)

var kindText = [...]string{
	Unreachable: "unreachable", Timeout: "timeout", Broken: "broken", RetryAfter: "retry_after",
	Quota: "quota", SignIn: "sign_in", Decoy: "decoy", Refused: "refused", ServerError: "server_error",
	Redirected: "redirected", TooLarge: "too_large", Malformed: "malformed", Rejected: "rejected",
	Cancelled: "cancelled", NoMemory: "no_memory",
}

func (k Kind) String() string {
	if int(k) < len(kindText) && kindText[k] != "" {
		return kindText[k]
	}
	return fmt.Sprintf("kind(%d)", k)
}

// Failure is the typed outcome of an exchange that brought no usable answer.
type Failure struct {
	Kind Kind

	// Untouched: the node has certainly not seen the request, so that its
	// ops may go out again through another deployment without being
	// executed twice.
	Untouched bool

	// RetryAfter is what the relay asked for, 0 if it did not say.
	RetryAfter time.Duration

	// Detail is what happened, and Hint what its user can do about it. Both
	// are free of secrets and of control characters.
	Detail, Hint string

	Err error // the cause, if there is one below
}

func (f *Failure) Error() string {
	s := f.Kind.String()
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	if f.Hint != "" {
		s += " (" + f.Hint + ")"
	}
	return s
}

func (f *Failure) Unwrap() error { return f.Err }
