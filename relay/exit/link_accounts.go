package exit

import (
	"container/list"
	"sync"
	"time"
)

// A relay's account may serve many clients, each of which sees its own exchanges
// only: the node adds them up.
const (
	accountsMost  = 4096           // accounts at a time, of some 150 bytes
	accountWindow = 24 * time.Hour // of a quota, from its first exchange on

	// What a client was told is told again when it has grown by tellStep, or by
	// one part in tellShare.
	tellStep  = 10
	tellShare = 100

	toldMost = 256 // accounts of one link
)

// accounts counts the exchanges of each account, over all links.
type accounts struct {
	mu    sync.Mutex
	all   map[uint64]*list.Element
	order list.List // of *account, the last used first
}

type account struct {
	tag   uint64
	since time.Time
	count uint64
}

// add counts an exchange, and returns how many there were in the window.
func (a *accounts) add(tag uint64, now time.Time) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.all[tag]
	if e == nil {
		e = a.enter(tag, now)
	}
	a.order.MoveToFront(e)
	c := e.Value.(*account)
	if now.Sub(c.since) >= accountWindow {
		c.since, c.count = now, 0
	}
	c.count++
	return c.count
}

func (a *accounts) enter(tag uint64, now time.Time) *list.Element {
	if a.all == nil {
		a.all = make(map[uint64]*list.Element)
	}
	if len(a.all) >= accountsMost {
		oldest := a.order.Back()
		delete(a.all, a.order.Remove(oldest).(*account).tag)
	}
	e := a.order.PushFront(&account{tag: tag, since: now})
	a.all[tag] = e
	return e
}

// reports are what a link's client was told last, by account.
type reports map[uint64]uint64

// due reports whether the client should hear of count, and notes that it does.
func (t reports) due(tag, count uint64) bool {
	last, known := t[tag]
	moved := count - last
	if known && count >= last && moved < tellStep && moved*tellShare < last {
		return false
	}
	if len(t) >= toldMost {
		clear(t) // it will be told once more
	}
	t[tag] = count
	return true
}
