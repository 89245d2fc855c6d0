package link

import (
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

const (
	// answersFor is how long a hello gets the same answer: longer than any
	// relay takes to repeat a request.
	answersFor = 10 * time.Minute
	// answersMost bounds the answers that are remembered. Only who has a
	// secret can make one; at some 300 bytes each they take 0.5 MiB.
	answersMost = 1024
)

// Answers remembers how hellos were answered. A relay that runs a request
// twice hands back either answer; were they two, the client would speak to one
// link and the node keep two. It is safe for concurrent use.
type Answers struct {
	mu    sync.Mutex
	known map[helloSum]*helloAnswer
	order []helloAge // of those with an answer, the oldest first
}

// errUnanswered is what is left of an answer that panicked.
var errUnanswered = errors.New("link: the answer to this hello was not finished")

type helloSum = [sha256.Size]byte

type helloAnswer struct {
	done chan struct{} // closed when body and err are final
	body []byte
	err  error
}

type helloAge struct {
	sum   helloSum
	until time.Time
}

// NewAnswers returns an empty memory.
func NewAnswers() *Answers { return &Answers{known: make(map[helloSum]*helloAnswer)} }

// Do returns the answer to hello, the whole message: what answer returned for
// the same one in the last 10 minutes, or is about to return, or else what it
// returns now. Everybody gets the same bytes, which nobody may change. An error
// is passed on to those who waited for it and is not remembered, so that
// strangers take up no room.
func (a *Answers) Do(now time.Time, hello []byte, answer func() ([]byte, error)) ([]byte, error) {
	sum := sha256.Sum256(hello)
	h, first := a.get(now, sum)
	if !first {
		<-h.done
		return h.body, h.err
	}
	defer a.settle(now, sum, h) // also when answer panics: others wait for it
	h.body, h.err = answer()
	return h.body, h.err
}

// get returns the entry of a hello, and whether it is the caller who fills it.
func (a *Answers) get(now time.Time, sum helloSum) (h *helloAnswer, first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.order) > 0 && !now.Before(a.order[0].until) {
		a.dropOldest()
	}
	if h = a.known[sum]; h != nil {
		return h, false
	}
	h = &helloAnswer{done: make(chan struct{}), err: errUnanswered}
	a.known[sum] = h
	return h, true
}

func (a *Answers) settle(now time.Time, sum helloSum, h *helloAnswer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(h.done)
	if h.err != nil {
		delete(a.known, sum)
		return
	}
	a.order = append(a.order, helloAge{sum, now.Add(answersFor)})
	if len(a.order) > answersMost {
		a.dropOldest()
	}
}

func (a *Answers) dropOldest() {
	delete(a.known, a.order[0].sum)
	a.order = a.order[1:]
}
