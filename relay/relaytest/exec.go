package relaytest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxUpload is what Google accepts as the body of a request to a script. A
// Worker takes twice as much, which nobody here sends.
const maxUpload = 50 << 20

// queueStep is how often an execution that waits looks for a slot.
const queueStep = 10 * time.Millisecond

// reply is what an execution ends with: an answer, a page, or nothing.
type reply struct {
	outcome     Outcome
	text        *[]byte // the node's or the script's, from the Relay's buffers
	contentType string  // of the text
	page        string  // HTML instead
	status      int     // 0 is 200
}

// exec serves one exchange of a script.
func (r *Relay) exec(w http.ResponseWriter, req *http.Request) {
	if d := r.scriptOf(w, req); d != nil {
		r.exchange(w, req, d, r.script)
	}
}

// visit is what a script shows in a browser.
func (r *Relay) visit(w http.ResponseWriter, req *http.Request) {
	d := r.scriptOf(w, req)
	if d == nil {
		return
	}
	if k := d.now(); k.Loop {
		w.Header().Set("Location", req.URL.RequestURI())
		writePage(w, k.Status, statusPage)
		return
	}
	writePage(w, http.StatusOK, ofScript.wrongKey.page)
}

// scriptOf is the script that a request is for, nil if there is none, which it is told.
func (r *Relay) scriptOf(w http.ResponseWriter, req *http.Request) *deployment {
	d := r.deployments[req.PathValue("id")]
	if d == nil || d.faces != &ofScript {
		writePage(w, http.StatusNotFound, missingPage)
		return nil
	}
	return d
}

// exchange serves one exchange, whatever does the job. What follows the upload
// goes on if the client leaves, as at Google.
func (r *Relay) exchange(w http.ResponseWriter, req *http.Request, d *deployment, do job) {
	r.running.Add(1)
	defer r.running.Done()
	k, f := d.draw()
	body, err := r.upload(req)
	if err != nil {
		d.note(func(s *Stats) { s.count(BadUpload) })
		panic(http.ErrAbortHandler)
	}
	d.note(func(s *Stats) { s.Up += int64(len(*body)) })
	r.wait(f.there)
	got := r.admit(d, &k, f, do, body)
	d.note(func(s *Stats) { s.count(got.outcome) })
	r.wait(f.back)
	r.respond(w, req, d, &k, got)
}

// upload reads a request's body at the pace of the line.
func (r *Relay) upload(req *http.Request) (*[]byte, error) {
	body := r.buffer(int(min(max(req.ContentLength, 0), maxUpload)) + 1)
	err := r.up.read(r.ctx, io.LimitReader(req.Body, maxUpload), body)
	if err != nil {
		r.recycle(body)
		return nil, err
	}
	return body, nil
}

// admit gives an execution its slot. It owns body.
func (r *Relay) admit(d *deployment, k *Knobs, f fate, do job, body *[]byte) reply {
	if k.Status != 0 {
		r.recycle(body)
		return reply{outcome: Status, page: statusPage, status: k.Status}
	}
	if k.MaxBody > 0 && len(*body) > k.MaxBody {
		r.recycle(body)
		return reply{outcome: TooLarge, page: statusPage, status: http.StatusRequestEntityTooLarge}
	}
	start, ok := d.acquire(k)
	for !ok && k.Queue && r.ctx.Err() == nil {
		r.wait(queueStep)
		start, ok = d.acquire(k)
	}
	if !ok {
		r.recycle(body)
		return d.faces.busy
	}
	defer d.release()
	ctx, cancel := r.ctx, context.CancelFunc(func() {})
	if k.ExchangeLimit > 0 {
		ctx, cancel = context.WithTimeout(ctx, k.ExchangeLimit)
	}
	defer cancel()
	r.wait(start + k.Run)
	got := r.execute(ctx, d, k, f, do, body)
	if got.outcome != LostBefore {
		r.wait(f.late)
	}
	return got
}

// execute does the job, once or twice. It owns body.
func (r *Relay) execute(ctx context.Context, d *deployment, k *Knobs, f fate, do job, body *[]byte) reply {
	if f.loseBefore {
		r.recycle(body)
		return reply{outcome: LostBefore}
	}
	var again *[]byte
	if f.twice {
		again = r.buffer(len(*body))
		*again = append(*again, *body...)
	}
	got := r.run(ctx, d, k, do, body)
	switch {
	case f.twice && f.second: // as if the first run's answer had got lost inside
		r.drop(got)
		got = r.run(ctx, d, k, do, again)
	case f.twice:
		r.running.Go(func() { r.drop(r.run(r.ctx, d, k, do, again)) })
	}
	if f.loseAfter {
		r.drop(got)
		return reply{outcome: LostAfter}
	}
	return got
}

func (r *Relay) drop(got reply) {
	if got.text != nil {
		r.recycle(got.text)
	}
}

// respond sends a reply: of a script by a redirect, of a Worker at once. It owns
// the text.
func (r *Relay) respond(w http.ResponseWriter, req *http.Request, d *deployment, k *Knobs, got reply) {
	switch {
	case got.text != nil:
		*got.text = (*got.text)[:min(len(*got.text), k.maxAnswer())]
		if d.faces == &ofWorker {
			r.send(w, d, got)
			return
		}
		w.Header().Set("Location", r.location(req, r.answers.put(d, got.text)))
		writePage(w, http.StatusFound, movedPage)
	case got.page != "":
		if k.RetryAfter != "" {
			w.Header().Set("Retry-After", k.RetryAfter)
		}
		if k.Loop {
			w.Header().Set("Location", req.URL.RequestURI())
		}
		writePage(w, max(got.status, http.StatusOK), got.page)
	default:
		panic(http.ErrAbortHandler) // the connection breaks
	}
}

// send writes an answer at the pace of the line. It owns its text.
func (r *Relay) send(w http.ResponseWriter, d *deployment, a reply) {
	defer r.recycle(a.text)
	w.Header()["Content-Type"] = nil // else net/http makes one up
	if a.contentType != "" {
		w.Header().Set("Content-Type", a.contentType)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(*a.text)))
	w.WriteHeader(max(a.status, http.StatusOK))
	n, err := r.down.write(r.ctx, w, *a.text)
	d.note(func(s *Stats) { s.Down += int64(n) })
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// timedOut tells an execution that ran out of its time from one whose node
// failed.
func timedOut(ctx context.Context) bool { return errors.Is(ctx.Err(), context.DeadlineExceeded) }

// writePage answers with HTML, as relays do for everything but the answers.
func writePage(w http.ResponseWriter, status int, page string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, page)
}
