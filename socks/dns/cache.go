package dns

import (
	"container/list"
	"sync"
	"time"
)

// What all answers that are kept may take.
const (
	cacheEntries = 4096
	cacheBytes   = 4 << 20
)

// A cache keeps answers until they are too old, or others need the room: then those go
// that nobody has asked for the longest.
type cache struct {
	entries, bytes int // at most

	mu    sync.Mutex
	by    map[string]*list.Element
	order *list.List // of *kept, the last used first
	size  int
}

type kept struct {
	key      string
	answer   []byte // nobody changes it
	since    time.Time
	lifetime time.Duration
}

func newCache(entries, bytes int) *cache {
	return &cache{entries: entries, bytes: bytes, by: make(map[string]*list.Element), order: list.New()}
}

// get returns an answer and how old it is, nil if there is none.
func (c *cache) get(key string) (answer []byte, age time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.by[key]
	if e == nil {
		return nil, 0
	}
	k := e.Value.(*kept)
	if age = time.Since(k.since); age >= k.lifetime {
		c.remove(e)
		return nil, 0
	}
	c.order.MoveToFront(e)
	return k.answer, age
}

// put keeps an answer for that long. It is the cache's from now on.
func (c *cache) put(key string, answer []byte, lifetime time.Duration) {
	if lifetime <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.by[key]; e != nil {
		c.remove(e)
	}
	c.by[key] = c.order.PushFront(&kept{key, answer, time.Now(), lifetime})
	c.size += len(key) + len(answer)
	for len(c.by) > c.entries || c.size > c.bytes {
		c.remove(c.order.Back())
	}
}

// remove forgets e. mu is held.
func (c *cache) remove(e *list.Element) {
	k := c.order.Remove(e).(*kept)
	delete(c.by, k.key)
	c.size -= len(k.key) + len(k.answer)
}
