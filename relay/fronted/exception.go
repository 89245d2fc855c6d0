package fronted

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"relaymux/relay"
)

// The codes by which the project's own script (relay/script) says why it has no answer:
// {"e":"words","code":"CODE"}.
const (
	codeFetch    = "FETCH_FAILED"     // its fetch from the node failed, and the words are the exception's
	codeStatus   = "NODE_STATUS_"     // and the status, which is not 200
	codeTooLarge = "ANSWER_TOO_LARGE" // for a script
)

// exception knows the errors that a script reports as JSON and that concern the
// deployment: those with a code, and of any script that it may not fetch any more today.
// Others are for the reader of the JSON.
func exception(text []byte) *relay.Failure {
	const longest = 2 << 10
	if len(text) > longest || !bytes.HasPrefix(text, []byte(`{"e":`)) {
		return nil
	}
	said, code := wordsAndCode(text)
	p := pageOf(bytes.ToLower(text))
	if p != nil && (p.kind == relay.Quota || code == codeFetch) {
		return p.failure("")
	}
	status, isStatus := strings.CutPrefix(code, codeStatus)
	switch {
	case isStatus:
		return nodeStatus(status)
	case code == codeFetch:
		return &relay.Failure{Kind: relay.ServerError, Detail: detail("the script could not fetch", words(said)),
			Hint: "is the node running, is NODE_URL in the script its address, and its certificate one that Google trusts?"}
	case code == codeTooLarge:
		return &relay.Failure{Kind: relay.TooLarge, Detail: "the answer is larger than a script may fetch"}
	}
	return nil
}

// wordsAndCode are those of a script's error, "" if it has no code. Within a string of
// JSON the quotes around the code would be escaped.
func wordsAndCode(text []byte) (said []byte, code string) {
	const between = `","code":"`
	rest, ok := bytes.CutSuffix(text, []byte(`"}`))
	at := bytes.LastIndex(rest, []byte(between))
	if !ok || at < 0 {
		return nil, ""
	}
	return bytes.TrimPrefix(rest[:at], []byte(`{"e":"`)), string(rest[at+len(between):])
}

// nodeStatus is what a status of the node means that a script tells.
func nodeStatus(text string) *relay.Failure {
	status, err := strconv.Atoi(text)
	if err != nil || status < 100 || status > 599 || status == 200 {
		return nil
	}
	f := byStatus(status, nil)
	f.Detail = fmt.Sprintf("the node answers the script with status %d", status)
	if status == http.StatusNotFound { // of whom the node knows, it refuses nobody like that
		f.Detail += ": NODE_KEY in the script must be its key, and NODE_URL its address"
	}
	return f
}
