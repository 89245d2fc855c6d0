package account

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// A Ledger keeps the windows of all accounts, in a file if it can. It is safe
// for concurrent use.
//
// The file is written ahead: it says block more than was counted, and is
// written again when half of that is used. So a program that is killed has
// counted too much, by at most a block, half a percent of the quota; what was
// quiet for two minutes is in the file as it is. It has counted too little only
// where more than half a block leaves within writeEvery: of 20,000 a day, above
// 50 attempts a second. Then it is by what leaves in that second, within a
// percent up to 250 a second, at which the quota lasts 80 seconds. An account
// has at most quota / (block / 2) = 400 such writes a day.
type Ledger struct {
	log  *slog.Logger
	path string       // of the file
	held *flock.Flock // nil: in memory only

	mu       sync.Mutex
	why      error // that the counts are not written, although there is a dir
	accounts map[string]*Account

	wake     chan struct{} // of one place: an account is further than the file
	stop     chan struct{}
	stopOnce sync.Once
	done     chan struct{} // closed when keep has returned
}

// block is how far ahead of the count the file may be.
func block(quota int) int {
	if quota == 0 {
		return 100 // nobody waits for this number
	}
	return max(1, quota/200)
}

const (
	writeEvery  = time.Second // spares the flash
	retryEvery  = time.Minute // after a failure
	settleEvery = time.Minute // a hold is shorter, so what is in use does not settle
)

// Open returns the ledger in dir, which it makes if need be; "" is none, and
// the ledger is in memory. It never fails: when the file cannot be had, because
// another program has it, the counts that it could read go on in memory; a
// damaged line is left out. The log says so, which must not be nil.
//
// Close must be called in the end.
func Open(dir string, log *slog.Logger) *Ledger {
	l := &Ledger{
		log:      log,
		path:     filepath.Join(dir, "quota"),
		accounts: make(map[string]*Account),
		wake:     make(chan struct{}, 1),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
	}
	if dir == "" {
		close(l.done)
		return l
	}
	err := l.take(dir)
	l.load()
	if l.setKept(err); err != nil {
		log.Warn("counts of this run's exchanges will not be kept", "file", l.path, "error", err)
		close(l.done)
		return l
	}
	go l.keep()
	return l
}

// ErrTaken says that the lock is another program's.
var ErrTaken = errors.New("another relaymux keeps it")

// Kept returns why the counts are not kept now, nil if they are, or if there is no dir to
// keep them in.
func (l *Ledger) Kept() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}

func (l *Ledger) setKept(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = why
}

// take makes dir and locks the file in it. The lock is a file of its own, as
// the other is replaced at each write.
func (l *Ledger) take(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock := flock.New(l.path+".lock", flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	switch {
	case err != nil:
		return err
	case !ok:
		return ErrTaken
	}
	l.held = lock
	return nil
}

// Account returns the account of that name, with so many slots, and so many
// attempts per window, 0 for no quota. Asked for again, as after a reload, it
// is the same one with the new numbers.
func (l *Ledger) Account(name string, slots, daily int) *Account {
	a := l.account(name)
	a.configure(slots, daily)
	return a
}

func (l *Ledger) account(name string) *Account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.accounts[name]
	if !ok {
		a = &Account{name: name, ledger: l, wait: probeEvery, still: true}
		l.accounts[name] = a
	}
	return a
}

// Close writes the counts as they are and gives the file back. Accounts go on
// in memory.
func (l *Ledger) Close() {
	l.stopOnce.Do(func() { close(l.stop) })
	<-l.done
}

// nudge has the file written soon.
func (l *Ledger) nudge() {
	select {
	case l.wake <- struct{}{}:
	default: // it will be anyway; or there is nobody, in memory
	}
}

// keep is the goroutine that writes the file, until Close.
func (l *Ledger) keep() {
	defer close(l.done)
	settle := time.NewTicker(settleEvery)
	defer settle.Stop()
	failed := false
	for open := true; open; {
		select {
		case <-l.wake:
		case <-settle.C:
			if !l.settles() {
				continue
			}
		case <-l.stop:
			open = false
		}
		rest := writeEvery
		err := l.save(open)
		l.setKept(err)
		switch {
		case err != nil:
			rest = retryEvery
			l.nudge()
			if !failed {
				l.log.Warn("counts of exchanges are not kept for now", "file", l.path, "error", err)
			}
		case failed:
			l.log.Info("counts of exchanges are kept again", "file", l.path)
		}
		failed = err != nil
		if open {
			l.rest(rest)
		}
	}
	if err := l.held.Unlock(); err != nil {
		l.log.Warn("giving the counts of exchanges to other programs", "file", l.path, "error", err)
	}
}

// rest waits, or less if Close is called.
func (l *Ledger) rest(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.stop:
	}
}

// settles reports whether an account has been still since the last time, and
// the file is ahead of it.
func (l *Ledger) settles() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := false
	for _, a := range l.accounts {
		a.mu.Lock()
		found = found || a.still && a.written > a.window.used
		a.still = true
		a.mu.Unlock()
	}
	return found
}
