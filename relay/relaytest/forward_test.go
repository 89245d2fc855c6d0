package relaytest

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestPlainHTTP: requests in absolute form, through everything.
func TestPlainHTTP(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, s *Stack, addr string){
		"chunks and trailers": chunksAndTrailers, "100 Continue": hundredContinue, "upgrade": upgrade,
	} {
		for _, scripts := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s, %d scripts", name, scripts), func(t *testing.T) {
				virtual(t, StackConfig{Scripts: scripts}, func(t *testing.T, s *Stack) {
					h := http.NewServeMux()
					h.Handle("/", Origin())
					h.HandleFunc("POST /mirror", mirror)
					h.HandleFunc("POST /refuse", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })
					test(t, s, s.origin(t, h))
				})
			})
		}
	}
}

// mirror sends the body back as it comes, and its trailer after it.
func mirror(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).EnableFullDuplex()
	w.Header().Set("Trailer", "X-Sum")
	w.Header().Set("X-Encoding", strings.Join(r.TransferEncoding, ","))
	w.WriteHeader(http.StatusOK)
	_, _ = io.Copy(w, r.Body)
	w.Header().Set("X-Sum", r.Trailer.Get("X-Sum"))
}

func chunksAndTrailers(t *testing.T, s *Stack, addr string) {
	const size = 300_000
	c := s.Client(false)
	defer c.CloseIdleConnections()
	want := sum(noise(1, size)).SHA256
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/mirror", struct{ io.Reader }{noise(1, size)})
	check(t, err)
	req.Trailer = http.Header{"X-Sum": {want}}
	r, err := c.Do(req)
	check(t, err)
	defer r.Body.Close()
	arrive(r.Body).want(t, "the app", 1, size)
	if e := r.Header.Get("X-Encoding"); e != "chunked" || r.ContentLength >= 0 {
		t.Errorf("the origin got %q, the app a length of %d", e, r.ContentLength)
	}
	if got := r.Trailer.Get("X-Sum"); got != want {
		t.Errorf("the trailer is %q", got)
	}
}

// hundredContinue: the body goes out once the origin wants it, and not at all if
// it does not.
func hundredContinue(t *testing.T, s *Stack, addr string) {
	c := s.Client(false)
	defer c.CloseIdleConnections()
	c.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	for path, want := range map[string]bool{"/upload": true, "/refuse": false} {
		continued := false
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { continued = true }})
		body := &countingReader{Reader: strings.NewReader("a body")}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+path, body)
		check(t, err)
		req.ContentLength = int64(len("a body"))
		req.Header.Set("Expect", "100-continue")
		r, err := c.Do(req)
		check(t, err)
		text, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if sent := body.n.Load() > 0; continued != want || sent != want {
			t.Errorf("%s: continued %v, sent %v, want %v: %s %s", path, continued, sent, want, r.Status, text)
		}
	}
}

type countingReader struct {
	io.Reader
	n atomic.Int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	k, err := r.Reader.Read(p)
	r.n.Add(int64(k))
	return k, err
}

// upgrade: after 101 it is a connection like any other, half-close included.
func upgrade(t *testing.T, s *Stack, addr string) {
	c, err := s.Dial(t.Context(), "tcp", s.Proxy)
	check(t, err)
	defer c.Close()
	within(t, c, time.Minute)
	writeAll(t, c, "GET http://"+addr+"/upgrade HTTP/1.1\r\nHost: "+addr+"\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	br := bufio.NewReader(c)
	r, err := http.ReadResponse(br, nil)
	check(t, err)
	if r.StatusCode != http.StatusSwitchingProtocols || r.Header.Get("Upgrade") != "echo" {
		t.Fatalf("%s, %v", r.Status, r.Header)
	}
	const size = 500_000
	go func() { _, _ = io.Copy(c, noise(2, size)) }()
	arrive(io.LimitReader(br, size)).want(t, "the app", 2, size)
	took := ask(t, c, "bye")
	t.Logf("an echo after %v", took)
	if took > rtt+rtt/10 {
		t.Errorf("an echo after %v", took)
	}
}
