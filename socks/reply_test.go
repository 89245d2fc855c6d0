package socks

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"relaymux/mux/wire"
)

// abortCodes is the mapping as users know it, written down a second time.
var abortCodes = map[wire.Reason]struct {
	socks5 byte
	status int
	error  string
}{
	wire.OK:              {1, 502, "proxy_internal_error"},
	wire.Failed:          {1, 502, "destination_unavailable"},
	wire.Refused:         {5, 502, "connection_refused"},
	wire.NetUnreachable:  {3, 502, "destination_ip_unroutable"},
	wire.HostUnreachable: {4, 502, "destination_ip_unroutable"},
	wire.TimedOut:        {6, 504, "connection_timeout"},
	wire.NameNotFound:    {4, 502, "dns_error"},
	wire.Denied:          {2, 403, "destination_ip_prohibited"},
	wire.RelayDown:       {1, 503, "destination_unavailable"},
	wire.RelayDown + 1:   {1, 502, "destination_unavailable"},
}

func TestRefusedCONNECTIsAWholeAnswer(t *testing.T) {
	for reason, want := range abortCodes {
		raw := refused(HTTPConnect, reason, "<b>evil</b>")
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: http.MethodConnect})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != want.status || resp.ContentLength != int64(len(body)) || !resp.Close {
			t.Errorf("%v: %+v (%v)", reason, resp, err)
		}
		if got := resp.Header.Get("Proxy-Status"); got != "relaymux; error="+want.error {
			t.Errorf("%v: Proxy-Status %q", reason, got)
		}
		if (resp.Header.Get("Retry-After") != "") != (reason == wire.RelayDown) {
			t.Errorf("%v: Retry-After %q", reason, resp.Header.Get("Retry-After"))
		}
		if strings.Contains(string(body), "<b>") {
			t.Errorf("%v: unescaped: %s", reason, body)
		}
	}
}

func TestReasonOf(t *testing.T) {
	for _, test := range []struct {
		err  error
		want wire.Reason
	}{
		{fmt.Errorf("reading: %w", &wire.DialError{Reason: wire.NameNotFound}), wire.NameNotFound},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, wire.TimedOut},
		{context.DeadlineExceeded, wire.TimedOut},
		{errForbidden, wire.Denied},
		{fmt.Errorf("x: %w", errBadHost), wire.NameNotFound},
		{errors.New("connection refused"), wire.Failed}, // texts mean nothing
	} {
		if got := reasonOf(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
}

// What is known of relays that are down is told, with names and addresses only to who
// asked by CONNECT: another page could read them.
func TestPageOfRelaysThatAreDown(t *testing.T) {
	err := fmt.Errorf("reading: %w", &wire.DialError{
		Reason: wire.RelayDown, Detail: "no relay is available; d2: unreachable: 192.0.2.1 said \"no\\\"é (check <url>)", Why: "unreachable (check <url>)",
	})
	for alone, want := range map[bool]struct{ status, text string }{
		true:  {`relaymux; error=destination_unavailable; details="d2: unreachable: 192.0.2.1 said \"no\\\"? (check <url>)"`, "d2: unreachable: 192.0.2.1 said"},
		false: {`relaymux; error=destination_unavailable; details="unreachable (check <url>)"`, "no relay is available. unreachable (check &lt;url&gt;)"},
	} {
		p := failurePage(err, "example.org", alone)
		if got := p.header.Get("Proxy-Status"); got != want.status || p.status != http.StatusServiceUnavailable {
			t.Errorf("alone %v: %d, %s", alone, p.status, got)
		}
		if !strings.Contains(p.body(), want.text) {
			t.Errorf("alone %v: %s", alone, p.body())
		}
	}
	if got := failurePage(&wire.DialError{Reason: wire.RelayDown}, "example.org", true).header.Get("Proxy-Status"); got != "relaymux; error=destination_unavailable" {
		t.Errorf("nothing is known: %s", got)
	}
	if got := failurePage(&wire.DialError{Reason: wire.Refused, Detail: "a node's words"}, "example.org", true); strings.Contains(got.body(), "words") {
		t.Errorf("a node's words are in the page: %s", got.body())
	}
}
