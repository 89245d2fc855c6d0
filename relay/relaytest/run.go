package relaytest

import (
	"bytes"
	"context"
)

// job is what one kind of deployment does with a request. It owns body.
type job func(ctx context.Context, d *deployment, k *Knobs, body *[]byte) reply

// run is a job done once, with the hooks around it. It owns body.
func (r *Relay) run(ctx context.Context, d *deployment, k *Knobs, do job, body *[]byte) reply {
	c := &r.config
	var request []byte
	if c.Capture != nil {
		request = bytes.Clone(*body) // body is gone when the answer is there
	}
	replace(c.OnRequest, d.id, body)
	got := do(ctx, d, k, body)
	if c.Capture != nil {
		var answer []byte
		if got.text != nil {
			answer = *got.text
		}
		c.Capture(d.id, request, answer)
	}
	if got.text != nil {
		replace(c.OnAnswer, d.id, got.text)
	}
	return got
}

// replace puts into p what a hook makes of it.
func replace(hook func(id string, body []byte) []byte, id string, p *[]byte) {
	if hook == nil {
		return
	}
	if other := hook(id, *p); other != nil {
		*p = append((*p)[:0], other...) // also right if other is a piece of it
	}
}
