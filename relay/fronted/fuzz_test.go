package fronted_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"relaymux/mux/secret"
	"relaymux/relay"
	"relaymux/relay/fronted"
)

// A fakeRelay answers the first request of all its connections by the first of answers,
// the next by the next, and keeps what was asked.
type fakeRelay struct {
	answers [][]byte
	working sync.WaitGroup

	mu    sync.Mutex
	asked []*http.Request // with their bodies
}

func (r *fakeRelay) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	r.working.Go(func() {
		defer there.Close()
		br := bufio.NewReader(there)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(req.Body)
			req.Body = io.NopCloser(bytes.NewReader(body))
			r.mu.Lock()
			n := len(r.asked)
			r.asked = append(r.asked, req)
			r.mu.Unlock()
			if n >= len(r.answers) {
				return
			}
			if _, err := there.Write(r.answers[n]); err != nil {
				return
			}
		}
	})
	return here, nil
}

// FuzzAnswer: whatever a relay says, what comes of it is an answer below the limit, or a
// failure of a known kind with short, printable words that give nothing away; and what is
// asked after the first request is asked of nobody but the relay and its front, without
// the key.
func FuzzAnswer(f *testing.F) {
	const head = "HTTP/1.1 200 OK\r\n"
	for _, s := range []string{
		head + "Content-Length: 8\r\n\r\n{\"r\":[]}", head + "Transfer-Encoding: chunked\r\n\r\n8\r\n{\"r\":[]}\r\n0\r\n\r\n",
		head + "Content-Type: application/octet-stream\r\nContent-Length: 2\r\n\r\n\x82x",
		head + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", head + "Content-Length: 99999999\r\n\r\n{",
		head + "\r\n<!DOCTYPE html><title>%K &lt;&#0;\u202e</title>", head + "Content-Length: 20\r\n\r\n{\"e\":\"%K\"}",
		head + "Content-Length: 52\r\n\r\n{\"e\":\"Address unavailable: %K\",\"code\":\"FETCH_FAILED\"}", "HTTP/1.1 %K\r\n\r\n", "%K", "",
		"HTTP/1.1 429 x\r\nRetry-After: 99999999999\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 503 %K\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n\r\n%K",
		"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + head + "Content-Length: 2\r\n\r\n{}",
	} {
		for how := range byte(3) {
			f.Add([]byte(s), []byte{}, how)
		}
	}
	for _, to := range []string{
		"https://script.googleusercontent.com/x", "http://script.googleusercontent.com/x?%K", "/y", "//evil.example/", "http://evil.example/", "http://u:p@127.0.0.1/",
		"http://127.0.0.1:80/z", "http://127.0.0.1@evil.example/", "http:///", "ftp://127.0.0.1/", "http://accounts.google.com/", "http://evil.google.com.example/", "?%00", "",
	} {
		f.Add([]byte("HTTP/1.1 302 x\r\nLocation: "+to+"\r\nContent-Length: 0\r\n\r\n"), []byte(head+"Content-Length: 8\r\n\r\n{\"r\":[]}"), byte(0))
		f.Add([]byte("HTTP/1.1 307 x\r\nLocation: "+to+"\r\nContent-Length: 0\r\n\r\n"), []byte(head+"Content-Length: 8\r\n\r\n{\"r\":[]}"), byte(1))
	}
	f.Fuzz(func(t *testing.T, first, second []byte, how byte) {
		const key, most, before = "a-key-that-nobody-may-see-1234", 1 << 10, "before"
		first, second = bytes.ReplaceAll(first, []byte("%K"), []byte(key)), bytes.ReplaceAll(second, []byte("%K"), []byte(key))
		synctest.Test(t, func(t *testing.T) {
			r := &fakeRelay{answers: [][]byte{first, second}}
			at := []string{script, node, node}[how%3]
			u, _ := url.Parse(at)
			c := fronted.Config{Name: "test", URL: u, Dial: r.dial, HTTP: "1.1", Key: secret.New(key), MaxAnswer: most}
			if how%3 == 0 {
				c.ConnectTo = server
			}
			tr, err := fronted.New(c)
			if err != nil {
				t.Fatal(err)
			}
			x := relay.Exchange{Body: request, Answer: []byte(before), Binary: how%3 == 2}
			err = tr.Exchange(t.Context(), &x)
			tr.Close()
			time.Sleep(2 * time.Minute) // connections that are idle end
			r.working.Wait()
			rest, ok := bytes.CutPrefix(x.Answer, []byte(before))
			switch {
			case !ok:
				t.Errorf("what was there before has become %q", x.Answer)
			case err == nil && (len(rest) == 0 || len(rest) > most || !x.Binary && rest[0] != '{'):
				t.Errorf("an answer of %d bytes: %.100q", len(rest), rest)
			case err != nil:
				checkFailure(t, err, key)
			}
			checkAsked(t, u, r.asked)
		})
	})
}

func checkFailure(t *testing.T, err error, key string) {
	f, ok := err.(*relay.Failure)
	if !ok {
		t.Fatalf("%T: %v", err, err)
	}
	said := f.Error()
	if strings.HasPrefix(f.Kind.String(), "kind(") || f.RetryAfter < 0 || f.RetryAfter > 365*24*time.Hour || len(f.Detail) > 400 {
		t.Errorf("%v, in %v", f, f.RetryAfter)
	}
	if !utf8.ValidString(said) || strings.ContainsFunc(said, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("not printable: %q", said)
	}
	if strings.Contains(said, key[:12]) || strings.Contains(said, key[len(key)-12:]) {
		t.Errorf("the key is in %q", said)
	}
	if errors.Is(err, context.Canceled) {
		t.Errorf("nobody has given it up: %v", err)
	}
}

// checkAsked holds every request to where it may go, and all but the first to have
// nothing in it.
func checkAsked(t *testing.T, u *url.URL, asked []*http.Request) {
	for i, req := range asked {
		body, _ := io.ReadAll(req.Body)
		host := strings.ToLower(req.Host)
		name, _, _ := strings.Cut(host, ":")
		google := u.String() == script && (strings.HasSuffix(name, ".googleusercontent.com") || strings.HasSuffix(name, ".google.com"))
		if host != u.Host && !google && name != "127.0.0.1" && name != "localhost" && !strings.HasPrefix(name, "127.") && !strings.HasPrefix(host, "[") {
			t.Errorf("%s %s is asked of %s", req.Method, req.URL, req.Host)
		}
		if i == 0 {
			if req.Method != http.MethodPost || !bytes.Equal(body, request) {
				t.Errorf("%s of %q", req.Method, body)
			}
			continue
		}
		if req.Method != http.MethodGet || len(body) > 0 || req.Header.Get("Authorization") != "" || req.Header.Get("Cookie") != "" {
			t.Errorf("%s %s with %v and %q", req.Method, req.URL, req.Header, body)
		}
	}
}
