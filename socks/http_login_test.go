package socks

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func basic(credentials string) string {
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(credentials)) + "\r\n"
}

func TestHostile40_407(t *testing.T) {
	p := start(t, Config{Users: []User{{"ann", "se:cret"}, {"empty", ""}}, Dial: failingDial})
	wrong := []string{
		"",
		"Proxy-Authorization: Basic\r\n",
		"Proxy-Authorization: Basic \r\n",
		"Proxy-Authorization: Basic !!!\r\n",
		"Proxy-Authorization: Bearer YW5uOnNlOmNyZXQ=\r\n",
		"Authorization: Basic YW5uOnNlOmNyZXQ=\r\n",
		basic(""), basic(":"), basic("ann"), basic("ann:se"), basic("ann:"), basic("empty:"), basic("bob:se:cret"),
	}
	for _, method := range []string{"GET http://a/", "CONNECT a:80"} {
		// All on one connection, and right at last.
		var in strings.Builder
		var methods []string
		for _, field := range append(wrong, strings.Replace(basic("ann:se:cret"), "Basic", "bAsIc", 1)) {
			fmt.Fprintf(&in, "%s HTTP/1.1\r\nHost: a\r\n%s\r\n", method, field)
			methods = append(methods, "GET")
		}
		out := p.talk(t, in.String())
		if strings.HasPrefix(method, "CONNECT") {
			before, ok := strings.CutSuffix(out, grantedHTTP)
			if r := p.got(); !ok || r == nil || r.User != "ann" {
				t.Errorf("with the right password: %+v, %q", r, out)
			}
			out, methods = before, methods[1:]
		}
		all := answers(t, out, methods...)
		for i, resp := range all[:len(wrong)] {
			if resp.StatusCode != 407 || resp.Header.Get("Proxy-Authenticate") != `Basic realm="relaymux", charset="UTF-8"` || resp.Close {
				t.Errorf("%s with %q: %+v", method, wrong[i], resp)
			}
		}
		if len(all) > len(wrong) && all[len(wrong)].StatusCode != 502 {
			t.Errorf("with the right password: %+v", all[len(wrong)])
		}
	}
	if log := p.log.String(); strings.Contains(log, "cret") || strings.Contains(log, "YW5u") {
		t.Errorf("the log tells: %s", log)
	}
}

func TestHostile07_40_TooManyGuesses(t *testing.T) {
	cfg := Config{Users: []User{{"ann", "secret"}}, Dial: failingDial}
	inBubble(t, cfg, func(t *testing.T, _ *Server, ln *memListener) {
		conn := ln.connect("192.0.2.7:1")
		defer conn.Close()
		br := bufio.NewReader(conn)
		try := func(password string) int {
			mustWrite(t, conn, "GET http://a/ HTTP/1.1\r\nHost: a\r\n"+basic("ann:"+password)+"\r\n")
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			return resp.StatusCode
		}
		for range badLoginBurst {
			if code := try("guess"); code != 407 {
				t.Fatalf("status %d", code)
			}
		}
		if code := try("secret"); code != 429 {
			t.Errorf("too many: status %d", code)
		}
		time.Sleep(badLoginEvery)
		if code := try("secret"); code != 502 {
			t.Errorf("later: status %d", code)
		}
	})
}
