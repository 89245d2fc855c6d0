package fronted

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"relaymux/relay"
)

const (
	// trustedLength is up to where a Content-Length is believed before the
	// bytes are there: the size of an ordinary full answer. What comes
	// beyond it makes the slice grow as it comes.
	trustedLength = 4 << 20

	// pageSize is how much of a page is looked at for its cause. Google's
	// error pages carry some KiB of style sheet before their first word.
	pageSize = 32 << 10

	byteOrderMark = "\xef\xbb\xbf"
)

var (
	errTooLarge = errors.New("answer above the limit")
	errMemory   = errors.New("no memory for the answer")
)

// claimStep is how many bytes of an answer are claimed at least. As many are free: most
// answers are smaller. What is claimed is what the buffer grows by, before it does.
const claimStep = 64 << 10

// receive appends what a final answer holds to answer: its JSON text, or the
// bytes of a message of the link.
func (x *exchange) receive(resp *http.Response, answer []byte) ([]byte, error) {
	if resp.StatusCode != http.StatusOK {
		return answer, x.refused(resp)
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return answer, &relay.Failure{Kind: relay.Malformed, Detail: clean(fmt.Sprintf("the answer is encoded as %q", e))}
	}
	if x.binary && !isBinary(resp.Header) {
		return answer, x.notLink(resp)
	}
	if resp.ContentLength > x.config.MaxAnswer {
		return answer, errTooLarge
	}
	start := len(answer)
	answer, err := x.read(resp.Body, answer, int(min(resp.ContentLength, trustedLength)))
	if err != nil {
		return answer, err
	}
	if x.binary {
		if len(answer) == start {
			return answer, &relay.Failure{Kind: relay.Malformed, Detail: "an answer of no bytes"}
		}
		return answer, nil
	}
	text, ok := jsonOf(answer[start:])
	if !ok {
		return answer, classify(resp.StatusCode, resp.Header, text)
	}
	if f := exception(text); f != nil {
		return answer, f
	}
	if x.repeatsKey(text) {
		return answer, &relay.Failure{Kind: relay.Malformed, Detail: "the answer repeats the key"}
	}
	return append(answer[:start], text...), nil // moves nothing if text is all of it
}

// repeatsKey reports whether text has the key in it, from where it would come into errors
// and the log. Payload is base64, of which no part is a key by chance unless it is short.
func (x *exchange) repeatsKey(text []byte) bool {
	key := x.config.Key.Reveal()
	return len(key) >= 12 && bytes.Contains(text, []byte(key))
}

// refused is the outcome of a status that is not 200.
func (x *exchange) refused(resp *http.Response) *relay.Failure {
	page, _ := x.read(io.LimitReader(resp.Body, pageSize), nil, pageSize) // the status counts, also without a page
	f := classify(resp.StatusCode, resp.Header, page)
	if resp.Request.Method != http.MethodPost {
		f.Untouched = false // the script ran, and then redirected here
	} else if x.script && resp.StatusCode == http.StatusNotFound {
		f.Untouched = true // Google knows no such deployment
	}
	return f
}

// read appends all of body, which is about length bytes or, if that is negative, of any
// length, to p, straight into its spare capacity. It counts decoded bytes, so that a
// compressed bomb ends at the limit as well.
func (x *exchange) read(body io.Reader, p []byte, length int) ([]byte, error) {
	start, claimed := len(p), claimStep
	length += bytes.MinRead // its end is to be heard without growing
	for {
		used := len(p) - start
		if used >= claimed || used == 0 && length >= claimed {
			more := x.claimed(min(max(used, length-claimed, claimStep), trustedLength))
			if more == 0 {
				return p, errMemory
			}
			claimed += more
		}
		if len(p) == cap(p) {
			p = grown(p, min(max(512, used, length), claimed-used))
		}
		room := p[len(p):cap(p)]
		left := x.config.MaxAnswer - int64(used)
		n, err := body.Read(room[:min(int64(len(room)), left+1, int64(claimed-used))])
		p = p[:len(p)+n]
		switch {
		case int64(n) > left:
			return p, errTooLarge
		case errors.Is(err, io.EOF):
			return p, nil
		case err != nil:
			return p, err
		case n > 0:
			x.watch.moved(receiving)
		}
	}
}

// claimed is how many bytes of memory the answer gets that wants n, at least claimStep: as
// many, or less if there are not as many, or none.
func (x *exchange) claimed(n int) int {
	for ; n >= claimStep; n /= 2 {
		if x.claim == nil || x.claim(n) {
			return n
		}
	}
	return 0
}

// grown is p with room for n bytes more and not, as append and slices.Grow have it, for
// half as many again.
func grown(p []byte, n int) []byte { return append(make([]byte, 0, len(p)+n), p...) }

// jsonOf is the JSON object in an answer: the whole of it, or what stands
// between words that a relay has put around it. A page of HTML, which has its
// braces too, is none; then ok is false and text is all there is.
func jsonOf(all []byte) (text []byte, ok bool) {
	text = bytes.TrimSpace(bytes.TrimPrefix(all, []byte(byteOrderMark)))
	if len(text) == 0 || text[0] == '<' {
		return text, false
	}
	first, last := bytes.IndexByte(text, '{'), bytes.LastIndexByte(text, '}')
	if first == 0 {
		return text, true // also if it is truncated: what is wrong with it the parser says
	}
	if first < 0 || last < first {
		return text, false
	}
	return text[first : last+1], true
}
