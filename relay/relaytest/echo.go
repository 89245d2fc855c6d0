package relaytest

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// answerLife is how long an answer waits to be fetched by its redirect. Those
// of clients that gave up would stay for ever.
const answerLife = 2 * time.Minute

// answers are the scripts' answers that wait for the GET of their redirect.
type answers struct {
	mu      sync.Mutex
	waiting map[string]waitingAnswer
}

type waitingAnswer struct {
	of    *deployment
	text  *[]byte
	until time.Time
}

// put keeps an answer, whose text it owns, under the one-time id it returns.
func (a *answers) put(d *deployment, text *[]byte) string {
	id := rand.Text()
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = make(map[string]waitingAnswer)
	}
	for old, w := range a.waiting {
		if now.After(w.until) {
			delete(a.waiting, old)
		}
	}
	a.waiting[id] = waitingAnswer{d, text, now.Add(answerLife)}
	return id
}

// take hands the answer of an id over, once.
func (a *answers) take(id string) (waitingAnswer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w, ok := a.waiting[id]
	delete(a.waiting, id)
	return w, ok
}

// location is where the answer with that id is fetched.
func (r *Relay) location(req *http.Request, id string) string {
	to := url.URL{Scheme: "http", Host: req.Host}
	if r.config.Echo != nil {
		to.Scheme, to.Host = r.config.Echo.Scheme, r.config.Echo.Host
	}
	to.Path = "/macros/echo"
	to.RawQuery = url.Values{"user_content_key": {id}}.Encode()
	return to.String()
}

// echo serves the GET of a redirect.
func (r *Relay) echo(w http.ResponseWriter, req *http.Request) {
	got, ok := r.answers.take(req.FormValue("user_content_key"))
	if !ok {
		writePage(w, http.StatusNotFound, missingPage)
		return
	}
	r.send(w, got.of, reply{text: got.text, contentType: "application/json; charset=utf-8"})
}
