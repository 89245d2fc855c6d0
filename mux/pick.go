package mux

import (
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"relaymux/mux/secret"
	"relaymux/mux/stats"
	"relaymux/relay"
	"relaymux/relay/account"
)

// A Deployment is one relay URL that exchanges can go through.
type Deployment struct {
	Name      string
	Key       secret.Text   // goes into each body
	Script    bool          // speaks to a script, which wants "t" in a batch
	Link      bool          // carries the native link, not the JSON wire
	Limit     time.Duration // the longest that an exchange may take; 0 is 30 s
	Transport relay.Transport
	Account   *Account
	Stats     *stats.Deployment
}

// An Account is what deployments share: the slots.
type Account struct {
	slots    int
	sem      *semaphore.Weighted
	inFlight atomic.Int32

	tag uint64 // by which the node counts what all clients use of it

	// Quota counts what is used of a day's exchanges, and what other devices
	// leave of the slots; nil does not count.
	Quota *account.Account
}

// NewAccount returns an account of so many exchanges in flight at once. By its
// label, the same in all programs that share the account, the node counts what they
// use together; without one it does not.
func NewAccount(slots int, label string) *Account {
	return &Account{slots: slots, sem: semaphore.NewWeighted(int64(slots)), tag: Tag(label)}
}

// Tag is what the node knows the account of that label by; 0 of none.
func Tag(label string) uint64 {
	if label == "" {
		return 0
	}
	sum := sha256.Sum256([]byte("relaymux account " + label))
	return binary.BigEndian.Uint64(sum[:])
}

// free is how many more exchanges it has slots for.
func (a *Account) free() int { return a.most() - int(a.inFlight.Load()) }

// allowed reports whether its quota has not been said to be used up.
func (a *Account) allowed(now time.Time) bool { return a.Quota == nil || a.Quota.Allowed(now) }

// restsUntil is when it may be used again, now if it may.
func (a *Account) restsUntil(now time.Time) time.Time {
	if a.Quota == nil {
		return now
	}
	return now.Add(a.Quota.Rests(now))
}

// most is how many slots it has, less what other devices take of them.
func (a *Account) most() int {
	if a.Quota == nil {
		return a.slots
	}
	return min(a.slots, a.Quota.Slots(time.Now()))
}

// waitMost is how long a flow may wait to be sent at all: not at all if no account has
// any quota left by the end of that.
func waitMost(ds []*deployment, now time.Time) time.Duration {
	for _, d := range ds {
		if q := d.Account.Quota; q == nil || q.Rests(now) < openWait {
			return openWait
		}
	}
	return 0
}

// failedBy has the quota learn from the failure of an exchange that took so long.
func (a *Account) failedBy(f *relay.Failure, took time.Duration, now time.Time) {
	switch {
	case a.Quota == nil:
	case f.Kind == relay.Quota:
		a.Quota.Exhausted(now, f.RetryAfter)
	case f.Kind == relay.RetryAfter && f.Untouched: // 429: the relay has no slot left
		a.Quota.Busy(now, now.Add(-took), int(a.inFlight.Load())+1)
	}
}

// A deployment is what the loop knows of a Deployment.
type deployment struct {
	Deployment
	inFlight int
	probes   int           // of which ask whether it works again,
	asked    time.Time     // when the latest of these began if it is a poll of the JSON wire, which the node may hold
	rtt      time.Duration // average of exchanges that are no polls; 0: not measured
	floor    time.Duration // about the shortest of late, polls included
	ours     bool          // a RESULT with "off" came: larger bodies, two ops a flow
	noData   bool          // connect_data is unknown to its node

	fails     int // in a row
	until     time.Time
	failed    time.Time // the latest failure,
	good      time.Time // and the latest good answer; zero: there was none
	counted   time.Time // the latest that counts in fails
	mandated  bool      // the relay itself asked for the pause
	parkedFor relay.Kind
	lastWords string // of the latest failure, for a person,
	lastWhy   string // and for whom addresses and names do not concern
	said      string // its detail
	body      ceiling

	recent recent // what exchanges took of late

	left func(Deployment) // not nil: it is no more, and this awaits its last exchange

	line    line // what the link knows of it
	text    bool // its messages go as text although the relay is none for scripts
	reached bool // it has led to the link's node
	refused bool // the node wants no link by it, in whichever form: the latest handshake said so
	proven  bool // one that went as it is was answered: who refuses others refuses them for something else
}

// take takes a slot of its account, if one is free: other deployments may share it.
func (d *deployment) take() bool { return d.Account.free() > 0 && d.Account.sem.TryAcquire(1) }

// usable reports whether it may be picked: not cooling down; after a cool-down with one
// exchange at a time, until one comes back well; and as long as its account has something
// left of its quota.
func (d *deployment) usable(now time.Time) bool {
	return !now.Before(d.until) && (d.parkedFor == 0 || !d.probing(now)) && d.Account.allowed(now)
}

// probing reports whether an exchange asks whether it works again. A poll that the node may
// hold for that is not waited for, once.
func (d *deployment) probing(now time.Time) bool {
	return d.probes > 1 || d.probes == 1 && (d.asked.IsZero() || now.Before(d.askedUntil()))
}

// askedUntil is by when a poll comes back that is not held.
func (d *deployment) askedUntil() time.Time { return d.asked.Add(idleAge(d.floor)) }

// score is the expected time of an exchange, the worse the fuller it is, other devices
// counted. known stands for the round trip of one that was never measured.
func (d *deployment) score(known time.Duration) time.Duration {
	rtt := d.rtt
	if rtt == 0 {
		rtt = known
	}
	if d.Link && d.fails > 0 && time.Since(d.failed) < wary {
		rtt *= 2 // else one that is silent, and has nothing in flight, looks the best
	}
	return rtt + rtt*time.Duration(d.inFlight)/time.Duration(d.Account.most())
}

// wary is for how long a deployment of the link that failed is the second choice.
const wary = time.Minute

// pick chooses the deployment of the next exchange: of those that are usable
// the best that has reserve slots free and one more and that try takes, or nil
// if there is none now; if none is usable, the last resort.
func pick(ds []*deployment, now time.Time, reserve func(*deployment) int, try func(*deployment) bool) *deployment {
	var out []*deployment // what try did not take
	someUsable := false
	for {
		var best *deployment
		known := shortest(ds)
		for _, d := range ds {
			if !d.usable(now) || slices.Contains(out, d) {
				continue
			}
			someUsable = true
			if d.Account.free() > reserve(d) && (best == nil || d.better(best, known)) {
				best = d
			}
		}
		switch {
		case !someUsable:
			return lastResort(ds, now, try)
		case best == nil || try(best):
			return best
		}
		out = append(out, best)
	}
}

func (d *deployment) better(than *deployment, known time.Duration) bool {
	a, b := d.score(known), than.score(known)
	return a < b || a == b && d.inFlight < than.inFlight
}

// shortest is the shortest round trip that is known, 0 if none is.
func shortest(ds []*deployment) (rtt time.Duration) {
	for _, d := range ds {
		if d.rtt > 0 && (rtt == 0 || d.rtt < rtt) {
			rtt = d.rtt
		}
	}
	return rtt
}

// lastResort is for when every deployment is cooling down: the one that is
// due first is never given up. It is tried at short intervals, one exchange at
// a time; longer ones if the relay itself asked for a pause.
func lastResort(ds []*deployment, now time.Time, try func(*deployment) bool) *deployment {
	var first *deployment
	for _, d := range ds {
		if !d.probing(now) && d.Account.allowed(now) && !now.Before(d.retryAt()) && (first == nil || d.retryAt().Before(first.retryAt())) {
			first = d
		}
	}
	if first == nil || !try(first) {
		return nil
	}
	return first
}

// Intervals at which the last deployment is tried although it should rest.
const (
	lastTry         = time.Second
	lastTryMandated = 15 * time.Second
)

func (d *deployment) retryAt() time.Time {
	rest := lastTry
	if d.mandated {
		rest = lastTryMandated
	}
	if at := d.failed.Add(rest); at.Before(d.until) {
		return at
	}
	return d.until
}

// worked notes a good answer, and tells if that is news.
func (d *deployment) worked(log *slog.Logger, began time.Time, took time.Duration, poll bool) {
	d.Stats.Outcome[0].Add(1)
	d.good = time.Now()
	if d.parkedFor != 0 && began.After(d.failed) {
		log.Info("deployment works again", "deployment", d.Name)
	}
	if q := d.Account.Quota; q != nil {
		q.Served(time.Now(), began)
	}
	if !poll || d.Link { // of a poll of the JSON wire the time that it was held is not known
		d.recent.add(took)
	}
	d.succeed(began, took, poll)
}

// failedBy notes a failed exchange, whose body had so many bytes, of a deployment of ds,
// and tells of it. A rumour is what has to be looked into before anybody is alarmed.
func (d *deployment) failedBy(log *slog.Logger, f *relay.Failure, took time.Duration, bodyLen int, ds []*deployment, rumour bool) {
	d.Stats.Outcome[f.Kind].Add(1)
	if f.Kind == relay.Cancelled {
		return
	}
	if f.Kind == relay.NoMemory { // told once, not for each of those that come at once
		if d.said != f.Detail {
			d.said = f.Detail
			log.Warn("an answer was given up", "deployment", d.Name, "detail", f.Detail, "hint", f.Hint)
		}
		return
	}
	was, said, words, now := d.parkedFor, d.said, d.lastWords, time.Now()
	if !rumour {
		d.said = f.Detail
	}
	d.Account.failedBy(f, took, now)
	rest := d.fail(f, took, now)
	args := []any{"deployment", d.Name, "outcome", f.Kind.String(), "detail", f.Detail, "hint", f.Hint}
	switch {
	case f.Kind == relay.TooLarge && f.Untouched:
		if d.body.refused(bodyLen, now) {
			log.Warn("deployment refuses large bodies", append(args, "bytes", bodyLen, "trying", d.body.learned)...)
		}
	case rumour:
		log.Debug("exchange failed", args...)
	case rest > 0 && (was != f.Kind || said != f.Detail) && anyUsable(ds, now):
		log.Warn("deployment rests", append(args, "for", rest.Round(time.Millisecond).String())...)
	case rest > 0 && (was != f.Kind || said != f.Detail): // the last one is never given up
		log.Warn("deployment fails, and no other works", append(args, "tried_again_in", d.retryAt().Sub(now).Round(time.Millisecond).String())...)
	case d.good.IsZero() && words != d.lastWords:
		log.Warn("deployment fails, and has not worked yet", args...)
	default:
		log.Debug("exchange failed", args...)
	}
}

// succeed notes a good answer that took so long. Of an exchange that began
// before the latest failure it says nothing about the time since.
func (d *deployment) succeed(began time.Time, took time.Duration, poll bool) {
	if began.After(d.failed) {
		d.fails, d.until, d.mandated, d.parkedFor = 0, time.Time{}, false, 0
	} else if d.Link && d.parkedFor == 0 {
		d.fails = 0 // it works in part
	}
	switch {
	case d.floor == 0 || took < d.floor:
		d.floor = took
	case !poll:
		d.floor += (took - d.floor) / 64
	}
	if poll {
		return
	}
	if d.rtt == 0 {
		d.rtt = took
	}
	d.rtt += (took - d.rtt) / 8
}

// news reports whether a failure that began then tells anything new of a deployment
// of the link: what was under way when the last one that did became known has the
// same cause. A connection that breaks takes several exchanges with it, and of a
// page in the place of answers there are as many as are in flight.
func (d *deployment) news(began time.Time) bool {
	return !d.Link || d.fails == 0 || !began.Before(d.counted)
}

// acquit takes back the rest that it got for having said that the node does not know
// the link, which was true.
func (d *deployment) acquit() {
	if d.parkedFor == relay.Refused || d.parkedFor == relay.Rejected {
		d.fails, d.until, d.mandated, d.parkedFor = 0, time.Time{}, false, 0
	}
}

// patience is how many failures in a row may be the relay's ordinary losses.
const patience = 2

// fail notes a failed exchange that took so long, and returns for how long the deployment rests
// now, 0 if it does not.
func (d *deployment) fail(f *relay.Failure, took time.Duration, now time.Time) time.Duration {
	if d.news(now.Add(-took)) {
		d.fails++
		d.counted = now
	}
	d.failed = now
	d.lastWords = d.Name + ": " + f.Error()
	d.lastWhy = (&relay.Failure{Kind: f.Kind, Hint: f.Hint}).Error()
	rest, mandated := coolDown(f, d.fails)
	if rest == 0 {
		return 0
	}
	rest = max(rest, took)     // a probe is an op of somebody who waits for it
	rest += rand.N(rest/8 + 1) // so that many clients do not return together
	d.until, d.mandated, d.parkedFor = now.Add(rest), mandated, f.Kind
	return rest
}

// coolDown is how long a deployment rests after its fails-th failure in a row,
// and whether the relay itself asked for it. Pure.
func coolDown(f *relay.Failure, fails int) (rest time.Duration, mandated bool) {
	if f.Kind == relay.Cancelled || f.Kind == relay.TooLarge && f.Untouched { // a smaller body may pass
		return 0, false
	}
	switch f.Kind {
	case relay.RetryAfter:
		if f.RetryAfter > 0 {
			return min(f.RetryAfter, 5*time.Minute), true
		}
		return double(time.Second, fails-1, time.Minute), true
	case relay.Quota:
		return double(10*time.Minute, fails-1, time.Hour), true
	case relay.SignIn, relay.Decoy, relay.Refused, relay.Redirected:
		return double(30*time.Second, fails-1, 10*time.Minute), false
	}
	if fails < patience {
		return 0, false
	}
	return double(time.Second, fails-patience, time.Minute), false
}

// double returns base doubled n times, at most limit.
func double(base time.Duration, n int, limit time.Duration) time.Duration {
	for ; n > 0 && base < limit; n-- {
		base *= 2
	}
	return min(base, limit)
}
