package socks

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"relaymux/mux/rule"
)

// A source may be wrong badLoginBurst times at once and then once per
// badLoginEvery. 17,280 guesses a day are nothing against a password of 128
// bits, and a person who mistypes does not notice.
const (
	badLoginBurst = 10
	badLoginEvery = 5 * time.Second

	// maxBadSources bounds the memory: about 200 bytes each.
	maxBadSources = 1024
)

var (
	errWrongLogin = errors.New("wrong user name or password")
	errTooManyBad = errors.New("too many wrong passwords from this source")
)

// guard knows the users, and slows down who guesses.
type guard struct {
	users    atomic.Pointer[[]digests]
	failures atomic.Int64

	mu  sync.Mutex
	bad map[netip.Prefix]*rate.Limiter // sources that were wrong lately
}

// digests stand for a User. They are of one length whatever they are made of,
// so that comparing them tells nothing.
type digests struct{ name, password [sha256.Size]byte }

func newGuard(users []User) *guard {
	g := &guard{bad: make(map[netip.Prefix]*rate.Limiter)}
	g.setUsers(users)
	return g
}

func (g *guard) setUsers(users []User) {
	list := make([]digests, 0, len(users))
	for _, u := range users {
		list = append(list, digestsOf(u.Name, u.Password))
	}
	g.users.Store(&list)
}

func digestsOf(name, password string) digests {
	return digests{sha256.Sum256([]byte(name)), sha256.Sum256([]byte(password))}
}

// needed tells whether clients who connect must log in.
func (g *guard) needed() bool { return len(*g.users.Load()) > 0 }

// neededOf tells whether c must: also because it did when it connected.
func (g *guard) neededOf(c *client) bool { return c.login || g.needed() }

// check returns nil, errWrongLogin or errTooManyBad. The last does not tell
// whether the password was right. A loopback source is never locked out: it
// may be the owner beside a program that guesses.
func (g *guard) check(source netip.Addr, name, password string) error {
	ok := g.match(name, password)
	if !ok {
		g.failures.Add(1)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	key := rule.Source(source)
	limit := g.bad[key]
	switch {
	case limit != nil && limit.Tokens() < 1:
		return errTooManyBad
	case ok:
		return nil
	case limit == nil && !source.IsLoopback():
		limit = g.remember(key)
	}
	if limit != nil {
		limit.Allow()
	}
	return errWrongLogin
}

// match compares with every user to the end, in the same time for an unknown
// user and for a wrong password.
func (g *guard) match(name, password string) bool {
	given := digestsOf(name, password)
	found := 0
	users := *g.users.Load()
	for i := range users {
		u := &users[i]
		found |= subtle.ConstantTimeCompare(u.name[:], given.name[:]) & subtle.ConstantTimeCompare(u.password[:], given.password[:])
	}
	return found == 1 && name != "" && password != ""
}

// remember starts a limit for key, and makes room for it: first by those who
// have long been quiet, then by anyone.
func (g *guard) remember(key netip.Prefix) *rate.Limiter {
	for k, l := range g.bad {
		if len(g.bad) < maxBadSources {
			break
		}
		if l.Tokens() >= badLoginBurst {
			delete(g.bad, k)
		}
	}
	for k := range g.bad {
		if len(g.bad) < maxBadSources {
			break
		}
		delete(g.bad, k)
	}
	limit := rate.NewLimiter(rate.Every(badLoginEvery), badLoginBurst)
	g.bad[key] = limit
	return limit
}

// door is the guard towards one source: the library's CredentialStore.
type door struct {
	guard  *guard
	source netip.Addr
}

// Valid implements socks5.CredentialStore.
func (d door) Valid(user, password string) bool {
	return d.guard.check(d.source, user, password) == nil
}
