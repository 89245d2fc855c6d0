package exit

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/gzip"
)

// TestVectors runs testdata/wire/*.txt against a node. Such a file is
//
//	# what it is about
//	key: value      path, encoding (gzip), status; of all requests
//
//	request
//	---
//	answer, byte for byte
//
// and any number of further requests and answers, each after a line "---". The
// key is $key. The first $name in an answer stands for a sid, which later ones,
// and requests, must repeat. The hosts are those of rig_test.go, and time is
// virtual.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "wire", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			v := readVector(t, file)
			synctest.Test(t, func(t *testing.T) { v.run(t) })
		})
	}
}

type vector struct {
	header map[string]string
	steps  []string // request, answer, request, answer
	sids   map[string]string
}

func readVector(t *testing.T, file string) *vector {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, body, ok := strings.Cut(string(raw), "\n\n")
	if !ok {
		t.Fatal("no blank line after the header")
	}
	v := &vector{header: make(map[string]string), sids: make(map[string]string)}
	for line := range strings.Lines(head) {
		if key, value, ok := strings.Cut(line, ": "); ok && line[0] != '#' {
			v.header[key] = strings.TrimSpace(value)
		}
	}
	for part := range strings.SplitSeq(body, "\n---\n") {
		v.steps = append(v.steps, strings.Trim(part, "\n"))
	}
	if len(v.steps)%2 != 0 {
		t.Fatal("a request without an answer")
	}
	return v
}

func (v *vector) run(t *testing.T) {
	r := newRig(t, Config{})
	path := v.header["path"]
	if path == "" {
		path = pathBatch
	}
	for i := 0; i < len(v.steps); i += 2 {
		body := []byte(v.fill(v.steps[i]))
		if v.header["encoding"] == "gzip" {
			body = zip(body)
		}
		w := r.post(t.Context(), path, body)
		if status := v.header["status"]; status != "" && status != http.StatusText(w.Code) {
			t.Errorf("status %d, want %s", w.Code, status)
		}
		v.match(t, v.steps[i+1], strings.Trim(w.Body.String(), "\n"))
	}
}

// fill puts the key and the known sids in.
func (v *vector) fill(s string) string {
	s = strings.ReplaceAll(s, "$key", testKey)
	for name, sid := range v.sids {
		s = strings.ReplaceAll(s, "$"+name, sid)
	}
	return s
}

var placeholder = regexp.MustCompile(`\\\$([a-z]+)`)

// match compares an answer, and learns the sids that are new in it.
func (v *vector) match(t *testing.T, want, got string) {
	t.Helper()
	pattern := placeholder.ReplaceAllString(regexp.QuoteMeta(v.fill(want)), `(?P<$1>[A-Z2-7]{26})`)
	re := regexp.MustCompile(`^` + pattern + `$`)
	m := re.FindStringSubmatch(got)
	if m == nil {
		t.Fatalf("answer\n%s\nwant\n%s", got, v.fill(want))
	}
	for i, name := range re.SubexpNames() {
		if name != "" {
			v.sids[name] = m[i]
		}
	}
}

func zip(p []byte) []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	_, _ = z.Write(p)
	_ = z.Close()
	return b.Bytes()
}
