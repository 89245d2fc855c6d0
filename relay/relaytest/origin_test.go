package relaytest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestOriginHTTP(t *testing.T) {
	b := newBench(t)
	b.serve("origin.test:80", Origin())
	get := func(path string) string {
		resp, err := b.client.Get("http://origin.test" + path)
		check(t, err)
		defer resp.Body.Close()
		return readAll(t, resp.Body)
	}
	if got := strings.Count(get("/page/60/20000"), "/object/"); got != 60 {
		t.Errorf("%d objects", got)
	}
	if got := get("/object/7/20000?delay=1ms"); len(got) != 20000 || sum(strings.NewReader(got)).SHA256 != ObjectSum(7, 20000) {
		t.Errorf("an object of %d bytes", len(got))
	}
	if got := get("/download/300000"); sum(strings.NewReader(got)).SHA256 != DownloadSum(300000) {
		t.Errorf("a download of %d bytes", len(got))
	}
	if ObjectSum(1, 100) == ObjectSum(2, 100) {
		t.Error("two objects are equal")
	}
	resp, err := b.client.Post("http://origin.test/upload", "", strings.NewReader("abc"))
	check(t, err)
	defer resp.Body.Close()
	if got := readAll(t, resp.Body); got != `{"bytes":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}`+"\n" {
		t.Errorf("upload: %s", got)
	}
}

func TestOriginUpgrade(t *testing.T) {
	b := newBench(t)
	b.serve("origin.test:80", Origin())
	c, err := b.net.Dial(t.Context(), "tcp", "origin.test:80")
	check(t, err)
	defer c.Close()
	writeAll(t, c, "GET /upgrade HTTP/1.1\r\nHost: origin.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	check(t, err)
	writeAll(t, c, " late")
	check(t, c.(*Conn).CloseWrite())
	if got := readAll(t, r); resp.StatusCode != 101 || got != "early late" {
		t.Errorf("%d, %q", resp.StatusCode, got)
	}
}

func TestOriginTCP(t *testing.T) {
	for _, tt := range []struct {
		name   string
		handle func(net.Conn)
		want   string
	}{
		{"Echo", Echo, "hello\n"},
		{"AnswerAtEOF", AnswerAtEOF, fmt.Sprintf(`{"bytes":6,"sha256":%q}`, sum(strings.NewReader("hello\n")).SHA256) + "\n"},
		{"SpeakFirst", SpeakFirst, Banner + "hello\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var n Network
			l, err := n.Listen("origin.test:1")
			check(t, err)
			ended := make(chan struct{})
			go func() { defer close(ended); ServeTCP(l, tt.handle) }()
			c, err := n.Dial(t.Context(), "tcp", "origin.test:1")
			check(t, err)
			_, err = io.WriteString(c, "hello\n")
			check(t, err)
			check(t, c.(*Conn).CloseWrite())
			if got := readAll(t, c); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			check(t, c.Close())
			check(t, l.Close())
			<-ended
		})
	}
}
