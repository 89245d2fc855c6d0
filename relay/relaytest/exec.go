package relaytest

import (
	"context"
	"errors"
	"io"
	"net/http"
)

// maxUpload is what Google accepts as the body of a request to a script.
const maxUpload = 50 << 20

// reply is what an execution ends with: an answer, a page, or nothing.
type reply struct {
	outcome Outcome
	text    *[]byte // the script's JSON, from the Relay's buffers
	page    string  // HTML instead
	status  int     // of the page, 0 is 200
}

// exec serves one exchange. What follows the upload goes on if the client
// leaves, as at Google.
func (r *Relay) exec(w http.ResponseWriter, req *http.Request) {
	d := r.deployments[req.PathValue("id")]
	if d == nil {
		writePage(w, http.StatusNotFound, missingPage)
		return
	}
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
	got := r.admit(d, &k, f, body)
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
func (r *Relay) admit(d *deployment, k *Knobs, f fate, body *[]byte) reply {
	if k.Status != 0 {
		r.recycle(body)
		return reply{outcome: Status, page: statusPage, status: k.Status}
	}
	start, ok := d.acquire(k)
	if !ok {
		r.recycle(body)
		return reply{outcome: Busy, page: busyPage, status: http.StatusTooManyRequests}
	}
	defer d.release()
	ctx, cancel := r.ctx, context.CancelFunc(func() {})
	if k.ExchangeLimit > 0 {
		ctx, cancel = context.WithTimeout(ctx, k.ExchangeLimit)
	}
	defer cancel()
	r.wait(start)
	got := r.execute(ctx, d, k, f, body)
	if got.outcome != LostBefore {
		r.wait(f.late)
	}
	return got
}

// execute runs the script, once or twice. It owns body.
func (r *Relay) execute(ctx context.Context, d *deployment, k *Knobs, f fate, body *[]byte) reply {
	if f.loseBefore {
		r.recycle(body)
		return reply{outcome: LostBefore}
	}
	var again *[]byte
	if f.twice {
		again = r.buffer(len(*body))
		*again = append(*again, *body...)
	}
	got := r.script(ctx, d, k, body)
	switch {
	case f.twice && f.second: // as if the first run's answer had got lost inside
		r.drop(got)
		got = r.script(ctx, d, k, again)
	case f.twice:
		r.running.Go(func() { r.drop(r.script(r.ctx, d, k, again)) })
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

// respond sends a reply. It owns its text.
func (r *Relay) respond(w http.ResponseWriter, req *http.Request, d *deployment, k *Knobs, got reply) {
	switch {
	case got.text != nil:
		*got.text = (*got.text)[:min(len(*got.text), k.maxAnswer())]
		w.Header().Set("Location", r.location(req, r.answers.put(d, got.text)))
		writePage(w, http.StatusFound, movedPage)
	case got.page != "":
		if k.RetryAfter != "" {
			w.Header().Set("Retry-After", k.RetryAfter)
		}
		writePage(w, max(got.status, http.StatusOK), got.page)
	default:
		panic(http.ErrAbortHandler) // the connection breaks
	}
}

// timedOut tells an execution that ran out of its time from one whose node
// failed.
func timedOut(ctx context.Context) bool { return errors.Is(ctx.Err(), context.DeadlineExceeded) }

// writePage answers with HTML, as Google does for everything but the answers.
func writePage(w http.ResponseWriter, status int, page string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, page)
}
