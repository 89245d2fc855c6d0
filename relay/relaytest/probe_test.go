package relaytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// post sends a batch to the node, as a relay would, and returns its RESULTs.
func (s *Stack) post(t *testing.T, ops string) []map[string]any {
	t.Helper()
	c := http.Client{Transport: s.config.Memory.Transport()}
	defer c.CloseIdleConnections()
	r, err := c.Post(s.Exit.JoinPath("tunnel/batch").String(), "", strings.NewReader(`{"k":"`+TunnelKey+`","ops":`+ops+`}`))
	check(t, err)
	defer r.Body.Close()
	var answer struct{ R []map[string]any }
	check(t, json.NewDecoder(r.Body).Decode(&answer))
	return answer.R
}

// TestHostile61_GuessedSessions: who names a session that is not his hears the
// same whether it is near to one or not, and the flow that is there goes on.
func TestHostile61_GuessedSessions(t *testing.T) {
	virtual(t, StackConfig{}, func(t *testing.T, s *Stack) {
		c := open(t, s.Connect, s.serve(t, Echo))
		ask(t, c, "hello")
		mine := s.post(t, `[{"op":"connect","host":"127.0.0.1","port":1}]`)
		if len(mine) != 1 || mine[0]["e"] == nil {
			t.Fatalf("a dial to nobody: %v", mine)
		}
		for _, op := range []string{`"op":"data","d":"QUFB","wseq":0`, `"op":"data"`, `"op":"close","rst":true`} {
			var first []map[string]any
			for i := range 200 {
				sid := fmt.Sprintf("%026d", i)
				got := s.post(t, `[{`+op+`,"sid":"`+sid+`"}]`)
				delete(got[0], "sid")
				if first == nil {
					first = got
				}
				if fmt.Sprint(got) != fmt.Sprint(first) {
					t.Errorf("%s: %v for one, %v for another", op, first, got)
				}
			}
			t.Logf("%s: %v", op, first)
		}
		ask(t, c, "still mine")
	})
}

// TestHostile64_Probes: whoever does not know the key sees one and the same
// page, and the flows notice nothing.
func TestHostile64_Probes(t *testing.T) {
	t.Parallel()
	s := NewStack(t, StackConfig{})
	c := open(t, s.Connect, s.serve(t, Echo))
	ask(t, c, "hello")
	pages := map[string][]string{}
	for _, probe := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /tunnel/batch HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /health HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
		"POST /tunnel/batch HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
		"POST /tunnel/batch HTTP/1.1\r\nHost: a\r\nContent-Length: 22\r\n\r\n{\"k\":\"guess\",\"ops\":[]}",
		"POST /tunnel HTTP/1.1\r\nHost: a\r\nContent-Length: 28\r\n\r\n{\"k\":\"guess\",\"op\":\"connect\"}\n",
	} {
		page := s.probe(t, probe)
		pages[page] = append(pages[page], probe)
	}
	if len(pages) != 1 {
		for page, probes := range pages {
			t.Errorf("%.300q\n\tfor %q", page, probes)
		}
	}
	for _, noise := range []string{"GET /\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02\x00\x01", strings.Repeat("x", 64<<10)} {
		if page := s.probe(t, noise); strings.Contains(strings.ToLower(page), "relaymux") {
			t.Errorf("%.20q: %q", noise, page)
		}
	}
	ask(t, c, "still there")
}

// probe sends text to the node and returns what it says, without the date.
func (s *Stack) probe(t *testing.T, text string) string {
	t.Helper()
	c, err := s.Dial(t.Context(), "tcp", s.Exit.Host)
	check(t, err)
	defer c.Close()
	within(t, c, 10*time.Second)
	_, _ = io.WriteString(c, text) // it may hang up before it has read all
	closeWrite(c)
	all, _ := io.ReadAll(c)
	var lines []string
	for line := range strings.Lines(string(all)) {
		if !strings.HasPrefix(line, "Date:") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// TestHostile70_Redirected: a relay that sends its clients elsewhere gets no
// secret sent there.
func TestHostile70_Redirected(t *testing.T) {
	book := new(logbook)
	var elsewhere string
	foreign := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+elsewhere+r.URL.Path, http.StatusTemporaryRedirect)
	})
	virtual(t, StackConfig{Confirmed: true, Foreign: foreign, Log: book.log()}, func(t *testing.T, s *Stack) {
		var heard bytes.Buffer
		ln, err := s.config.Memory.Listen("203.0.113.7:80")
		check(t, err)
		defer ln.Close()
		elsewhere = ln.Addr().String()
		go ServeTCP(ln, func(c net.Conn) { _, _ = heard.ReadFrom(c) })
		if _, err := s.Connect(t.Context(), "target.test:80"); !errors.Is(err, SOCKSError(1)) {
			t.Errorf("connecting: %v", err)
		}
		synctest.Wait()
		if bytes.Contains(heard.Bytes(), []byte(TunnelKey)) {
			t.Error("the key was sent to another host")
		}
	})
	if !book.has("outcome=redirected") {
		t.Error("no outcome=redirected in the log")
	}
	book.wantNoSecrets(t)
}
