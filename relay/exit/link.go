package exit

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"relaymux/mux/link"
	"relaymux/mux/secret"
)

// How many links are kept that have no stream. A client that comes back within
// linkIdle pays no handshake; one of them takes about a KiB, and who has a secret
// may make as many as he likes.
const (
	linkIdle      = 24 * time.Hour
	linksMost     = 1024
	linksOfClient = 64

	// linksUnproven is how many may be of a hello that no record has followed:
	// everybody who has seen a hello can bring it again.
	linksUnproven = 256

	// unprovenOfClient is how many of one client: who makes them by the hundred is not to
	// end those of others, whose first record may be seconds away.
	unprovenOfClient = 64
)

// errNoLink is of a request for a link that is not there, or whose records are
// not of its client.
var errNoLink = errors.New("link: unknown")

// links are the node's ends of links, with what it takes to make them. Its lock is
// an inner one: no link's is taken under it.
type links struct {
	node, epoch link.ID
	responder   *link.Responder
	answers     *link.Answers
	accounts    accounts
	on          atomic.Bool // there are clients
	count       linkCounters

	mu      sync.Mutex
	all     map[link.LinkID]*linkEnd
	clients []link.Client
	uses    map[string]*clientUse

	clientDials float64 // a second, of one client; 0 is no limit
	turn        int     // how often the clients were set
	closed      bool
}

// init makes the table of a node that is known by what identity is, or by nothing
// that outlives it if that is none.
func (t *links) init(identity secret.Text) {
	if identity.IsSet() {
		h := hmac.New(sha256.New, []byte(identity.Reveal()))
		_, _ = h.Write([]byte("relaymux node id")) // a hash takes everything
		copy(t.node[:], h.Sum(nil))
	} else {
		_, _ = rand.Read(t.node[:]) // never fails
	}
	_, _ = rand.Read(t.epoch[:])
	t.responder, t.answers = link.NewResponder(), link.NewAnswers()
	t.all, t.uses = make(map[link.LinkID]*linkEnd), make(map[string]*clientUse)
}

func (t *links) find(id link.LinkID) *linkEnd {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all[id]
}

// enter takes in a link of a hello that was read in a turn. Those that have to go
// for it are ended.
func (t *links) enter(l *linkEnd, turn int) error {
	t.mu.Lock()
	if t.closed || turn != t.turn {
		t.mu.Unlock()
		return link.ErrStranger
	}
	l.use = t.uses[l.client]
	t.all[l.id] = l
	dropped := t.excess(time.Now())
	t.mu.Unlock()
	end(dropped)
	return nil
}

// drop forgets a link that has ended.
func (t *links) drop(l *linkEnd) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, l.id)
}

// reap ends the streams of clients that are silent, and links that are of no use.
func (t *links) reap(silence time.Duration) {
	now := time.Now()
	t.mu.Lock()
	dropped := t.excess(now)
	all := t.list()
	t.mu.Unlock()
	end(dropped)
	for _, l := range all {
		l.reap(silence)
	}
}

// excess takes out the links that are too many, or too old.
func (t *links) excess(now time.Time) (out []*linkEnd) {
	var unproven, idle []*linkEnd
	of, fresh := make(map[string][]*linkEnd), make(map[string][]*linkEnd)
	for _, l := range t.all {
		switch {
		case l.live.Load() > 0:
		case now.Sub(l.seen()) > linkIdle:
			out = append(out, l)
		case !l.proven.Load():
			fresh[l.client] = append(fresh[l.client], l)
		default:
			of[l.client] = append(of[l.client], l)
		}
	}
	for _, list := range of {
		rest, more := newest(list, linksOfClient)
		idle, out = append(idle, rest...), append(out, more...)
	}
	for _, list := range fresh {
		rest, more := newest(list, unprovenOfClient)
		unproven, out = append(unproven, rest...), append(out, more...)
	}
	_, more := newest(idle, linksMost)
	out = append(out, more...)
	_, more = newest(unproven, linksUnproven)
	out = append(out, more...)
	for _, l := range out {
		delete(t.all, l.id)
	}
	return out
}

// size is how many links there are, and how many streams they have.
func (t *links) size() (links, streams int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.all {
		streams += int(l.live.Load())
	}
	return len(t.all), streams
}

func (t *links) list() []*linkEnd {
	all := make([]*linkEnd, 0, len(t.all))
	for _, l := range t.all {
		all = append(all, l)
	}
	return all
}

// close lets no link in any more, and has those that are there tell their clients
// what there is to tell.
func (t *links) close() {
	t.mu.Lock()
	t.closed = true
	all := t.list()
	t.mu.Unlock()
	for _, l := range all {
		l.close()
	}
}
