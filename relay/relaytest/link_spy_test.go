package relaytest

import (
	"bytes"
	"encoding/base64"
	"sync"
	"time"

	"relaymux/mux/link"
)

// messageOf is the message of the link that a request or an answer carries, by
// either carriage; nil if there is none.
func messageOf(body []byte) []byte {
	if len(body) == 0 || body[0] != '{' {
		return body
	}
	_, text, _ := aroundText(body)
	message, err := base64.StdEncoding.DecodeString(string(text))
	if text == nil || err != nil {
		return nil
	}
	return message
}

// withMessage is body with another message in it.
func withMessage(body, message []byte) []byte {
	before, old, after := aroundText(body)
	if body[0] != '{' || old == nil {
		return bytes.Clone(message)
	}
	text := base64.StdEncoding.EncodeToString(message)
	return bytes.Join([][]byte{before, []byte(text), after}, nil)
}

// aroundText splits a JSON body at the base64 that is in it, which is nil if there
// is none. (A regular expression takes seconds for what these tests see.)
func aroundText(body []byte) (before, text, after []byte) {
	key := []byte(`"d":"`)
	from := bytes.Index(body, key)
	if from < 0 {
		return nil, nil, nil
	}
	from += len(key)
	n := bytes.IndexByte(body[from:], '"')
	if n < 0 {
		return nil, nil, nil
	}
	return body[:from], body[from : from+n], body[from+n:]
}

// A sighting is what a relay got to see of one exchange.
type sighting struct {
	id              string
	at              time.Time // when the answer was there
	request, answer []byte
}

// A spy keeps what relays see.
type spy struct {
	mu   sync.Mutex
	seen []sighting
	came [][]byte // requests, also those that are not answered yet
}

// watch is a RelayConfig's change.
func (s *spy) watch(c *RelayConfig) {
	c.OnRequest = func(_ string, body []byte) []byte {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.came = append(s.came, bytes.Clone(body))
		return nil
	}
	c.Capture = func(id string, request, answer []byte) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = append(s.seen, sighting{id, time.Now(), bytes.Clone(request), bytes.Clone(answer)})
	}
}

// since returns what was seen from the n-th on.
func (s *spy) since(n int) []sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[n:len(s.seen):len(s.seen)]
}

// requests returns the messages that came from the n-th on, handshakes aside, as
// they were wrapped; and how many there are.
func (s *spy) requests(n int) (bodies [][]byte, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, body := range s.came[n:] {
		if link.KindOf(messageOf(body)) == link.KindRecords {
			bodies = append(bodies, body)
		}
	}
	return bodies, len(s.came)
}

func (s *spy) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}
