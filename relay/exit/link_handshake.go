package exit

import (
	"errors"
	"fmt"
	"time"

	"relaymux/mux/link"
)

// streamWindow is what a client may send of a stream at first, in bytes: as much
// as most requests have, and what a slow target may cost. Of a small memory it is
// less.
const streamWindow = 256 << 10

func (n *Node) streamWindow() int {
	return int(min(max(n.uploads.Limit()/256-windowLeast, windowLeast), streamWindow))
}

// errStranger is what a client on the text carriage is told.
var errStranger = errors.New("link refused: the node knows no such secret")

// hello answers a hello of a known client, and makes a link with it. The same
// hello within 10 minutes gets the same answer, and makes none.
func (n *Node) hello(body []byte) ([]byte, error) {
	t := &n.links
	answer, err := t.answers.Do(time.Now(), body, func() ([]byte, error) { return n.welcome(body) })
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, link.ErrVersion), errors.Is(err, errClientHellos):
		return nil, fmt.Errorf("link refused: %w", err)
	}
	return nil, errStranger
}

func (n *Node) welcome(body []byte) ([]byte, error) {
	t := &n.links
	turn := t.turnNow()
	a, err := t.responder.Accept(body)
	if err != nil {
		return nil, err
	}
	if !t.mayGreet(a.Client) {
		return nil, errClientHellos
	}
	p, err := link.ParseHelloParams(a.Payload)
	if err != nil {
		return nil, err
	}
	prev := t.find(p.Prev)
	say := link.AnswerParams{
		Node: t.node, Epoch: t.epoch, Known: prev != nil && prev.client == a.Client,
		Age:    uint64(time.Since(n.began).Milliseconds()),
		Window: uint64(n.streamWindow()), Credit: n.linkCredit(),
	}
	answer, keys, err := a.Answer(say.Append(nil))
	if err != nil {
		return nil, err
	}
	l := newLinkEnd(n, keys, a.Client, link.Config{
		Window: n.streamWindow(), Credit: say.Credit, Peer: p.Credit, Early: n.uploads, Unacked: n.downloads,
	})
	return answer, t.enter(l, turn)
}

// mayGreet counts a handshake of a client's, and reports whether it may be made.
func (t *links) mayGreet(client string) bool {
	t.mu.Lock()
	u := t.uses[client]
	t.mu.Unlock()
	return u == nil || u.hellos.Allow()
}

// turnNow is how often the clients were set.
func (t *links) turnNow() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.turn
}

// creditLeast is what a link may always send of all its streams together: little,
// for whoever has a secret may have as many links as streams.
const creditLeast = 64 << 10

// linkCredit is what one link may send beyond what is here already: half of what is
// free.
func (n *Node) linkCredit() uint64 { return uint64(max(creditLeast, n.uploads.Free()/2)) }

// credit renews it: what waits for targets that do not read is not to be in the way
// of others, as long as there is memory for both.
func (l *linkEnd) credit() {
	most := l.node.linkCredit()
	if !l.node.drowns() {
		most += l.conn.Held()
	}
	l.conn.SetCredit(most)
}

// drowns reports whether uploads take twice the memory that there is for them. Each
// link was promised half of what was free, and many may ask for it at once.
func (n *Node) drowns() bool { return n.uploads.Free() < -n.uploads.Limit() }
