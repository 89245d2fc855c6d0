package relaytest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"relaymux/mux/wire"
)

// script is one run of the stock script's doPost: a job.
func (r *Relay) script(ctx context.Context, d *deployment, k *Knobs, body *[]byte) reply {
	up, refused := r.rebuild(*body, d.faces, k)
	if refused != nil {
		r.recycle(body)
		return *refused
	}
	got, err := r.forward(ctx, d, k, up, body)
	switch {
	case timedOut(ctx):
		r.drop(got)
		return d.faces.timedOut
	case err != nil:
		//lint:ignore ST1005 these are the words of the script's runtime
		return r.failed(fmt.Errorf("Exception: Address unavailable: %w", err))
	case got.status != http.StatusOK:
		r.drop(got)
		return r.failed(fmt.Errorf("tunnel HTTP %d", got.status))
	}
	return got
}

// rebuild is what the script sends to the node in place of body, whose bytes it
// borrows, or why it does not.
func (r *Relay) rebuild(body []byte, f *faces, k *Knobs) (up *upward, refused *reply) {
	e, err := wire.ParseEnvelope(body)
	if err != nil || string(e.Key) != r.config.AuthKey {
		return nil, &f.wrongKey
	}
	if refused := f.refusal(k); refused != nil {
		return nil, refused
	}
	if string(e.Type) == "batch" {
		return r.batch(e.Ops), nil
	}
	up, err = r.single(body)
	if err != nil {
		failed := r.failed(err)
		return nil, &failed
	}
	return up, nil
}

// batch forwards k and ops and nothing else: other fields of the request do
// not get through a script.
func (r *Relay) batch(ops []byte) *upward {
	if len(ops) == 0 {
		ops = []byte("[]")
	}
	head := fmt.Appendf(nil, `{"k":%s,"ops":`, quote(r.config.TunnelKey))
	return newUpward(batchPath, jsonType, head, ops, []byte("}"))
}

// single renames the fields of a single op.
func (r *Relay) single(body []byte) (*upward, error) {
	var in struct {
		T    string `json:"t"`
		H    string `json:"h"`
		P    int    `json:"p"`
		SID  string `json:"sid"`
		Data string `json:"d"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("TypeError: %w", err)
	}
	out, err := json.Marshal(struct {
		K    string `json:"k"`
		Op   string `json:"op"`
		Host string `json:"host,omitempty"`
		Port int    `json:"port,omitempty"`
		SID  string `json:"sid,omitempty"`
		Data string `json:"data,omitempty"`
	}{r.config.TunnelKey, in.T, in.H, in.P, in.SID, in.Data})
	if err != nil {
		return nil, err
	}
	return newUpward("tunnel", jsonType, out), nil
}

const jsonType = "application/json"

// failed is the script's catch clause: JSON with a 200.
func (r *Relay) failed(err error) reply {
	text := r.buffer(0)
	*text = fmt.Appendf(*text, `{"e":%s}`, quote(err.Error()))
	return reply{outcome: Failed, text: text}
}

// quote is s as a JSON string.
func quote(s string) []byte {
	text, _ := json.Marshal(s) // a string always has one
	return text
}
