package relaytest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"relaymux/mux/wire"
)

// script is one run of the stock script's doPost. It owns body.
func (r *Relay) script(ctx context.Context, d *deployment, k *Knobs, body *[]byte) reply {
	path, up, refused := r.rebuild(*body, k)
	if refused != nil {
		r.recycle(body)
		return *refused
	}
	d.note(func(s *Stats) { s.NodeRuns++ })
	text, err := r.fetch(ctx, path, up, k.maxAnswer())
	if up.spent() {
		r.recycle(body)
	} // else net/http may still read it: the garbage collector's
	switch {
	case timedOut(ctx):
		return reply{outcome: TimedOut, page: timeLimitPage}
	case err != nil:
		return r.failed(err)
	}
	return reply{outcome: OK, text: text}
}

// rebuild is what the script sends to the node in place of body, whose bytes it
// borrows, or why it does not.
func (r *Relay) rebuild(body []byte, k *Knobs) (path string, up *upward, refused *reply) {
	e, err := wire.ParseEnvelope(body)
	switch {
	case err != nil:
		failed := r.failed(fmt.Errorf("SyntaxError: %w", err))
		return "", nil, &failed
	case string(e.Key) != r.config.AuthKey:
		return "", nil, &reply{outcome: WrongKey, page: decoyPage}
	case k.Decoy:
		return "", nil, &reply{outcome: Decoyed, page: decoyPage}
	case k.QuotaPage:
		return "", nil, &reply{outcome: QuotaUsed, page: quotaPage}
	case string(e.Type) == "batch":
		return "tunnel/batch", r.batch(e.Ops), nil
	}
	up, err = r.single(body)
	if err != nil {
		failed := r.failed(err)
		return "", nil, &failed
	}
	return "tunnel", up, nil
}

// batch forwards k and ops and nothing else: other fields of the request do
// not get through a script.
func (r *Relay) batch(ops []byte) *upward {
	if len(ops) == 0 {
		ops = []byte("[]")
	}
	head := fmt.Appendf(nil, `{"k":%s,"ops":`, quote(r.config.TunnelKey))
	return newUpward(head, ops, []byte("}"))
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
	return newUpward(out), nil
}

// failed is the script's catch clause: JSON with a 200.
func (r *Relay) failed(err error) reply {
	text := r.buffer(0)
	*text = fmt.Appendf(*text, `{"e":%s}`, quote(err.Error()))
	return reply{outcome: Failed, text: text}
}

// fetch is the script's UrlFetchApp.fetch of the node. Bytes beyond limit are
// not read.
func (r *Relay) fetch(ctx context.Context, path string, up *upward, limit int) (*[]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.config.Node.JoinPath("/", path).String(), up)
	if err != nil {
		return nil, fmt.Errorf("fetching from the node: %w", err)
	}
	req.ContentLength = up.size
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.config.Transport.RoundTrip(req)
	if err != nil {
		//lint:ignore ST1005 these are the words of the script's runtime
		return nil, fmt.Errorf("Exception: Address unavailable: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("tunnel HTTP %d", resp.StatusCode)
	}
	text := r.buffer(int(min(max(resp.ContentLength, 0), int64(limit))) + 1)
	if err := newLine().read(ctx, io.LimitReader(resp.Body, int64(limit)), text); err != nil {
		r.recycle(text)
		//lint:ignore ST1005 these are the words of the script's runtime
		return nil, fmt.Errorf("Exception: reading the node's answer: %w", err)
	}
	return text, nil
}

// upward is the body of a request to the node: parts that are sent one after
// another, without being joined.
type upward struct {
	parts [][]byte
	size  int64
	left  atomic.Int64
}

func newUpward(parts ...[]byte) *upward {
	u := &upward{parts: parts}
	for _, p := range parts {
		u.size += int64(len(p))
	}
	u.left.Store(u.size)
	return u
}

func (u *upward) Read(p []byte) (int, error) {
	for len(u.parts) > 0 && len(u.parts[0]) == 0 {
		u.parts = u.parts[1:]
	}
	if len(u.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(p, u.parts[0])
	u.parts[0] = u.parts[0][n:]
	u.left.Add(int64(-n))
	return n, nil
}

// spent reports whether nothing of the parts will be read any more. net/http
// may read on after RoundTrip has returned, when the node answers early.
func (u *upward) spent() bool { return u.left.Load() == 0 }

// quote is s as a JSON string.
func quote(s string) []byte {
	text, _ := json.Marshal(s) // a string always has one
	return text
}
