package fronted

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
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

// claimStep is how many bytes of an answer are claimed at a time. As many are free: most
// answers are smaller.
const claimStep = 256 << 10

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
	answer = slices.Grow(answer, int(max(512, min(resp.ContentLength, trustedLength))))
	answer, err := x.read(resp.Body, answer)
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
	page, _ := x.read(io.LimitReader(resp.Body, pageSize), nil) // the status counts, also without a page
	f := classify(resp.StatusCode, resp.Header, page)
	if resp.Request.Method != http.MethodPost {
		f.Untouched = false // the script ran, and then redirected here
	} else if x.script && resp.StatusCode == http.StatusNotFound {
		f.Untouched = true // Google knows no such deployment
	}
	return f
}

// read appends all of body to p, straight into its spare capacity. It counts
// decoded bytes, so that a compressed bomb ends at the limit as well.
func (x *exchange) read(body io.Reader, p []byte) ([]byte, error) {
	start, claimed := len(p), claimStep
	for {
		if len(p)-start >= claimed {
			if x.claim != nil && !x.claim(claimStep) {
				return p, errMemory
			}
			claimed += claimStep
		}
		if len(p) == cap(p) {
			p = slices.Grow(p, max(512, min(len(p), trustedLength)))
		}
		room := p[len(p):cap(p)]
		left := x.config.MaxAnswer - int64(len(p)-start)
		n, err := body.Read(room[:min(int64(len(room)), left+1, int64(claimed-(len(p)-start)))])
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
