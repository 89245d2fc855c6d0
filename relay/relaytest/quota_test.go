package relaytest

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"relaymux/mux"
	"relaymux/relay/account"
)

// counted has each deployment's account count its quota, in memory.
func counted(c *mux.Config) {
	ledger := account.Open("", slog.New(slog.DiscardHandler))
	for _, d := range c.Deployments {
		d.Account.Quota = ledger.Account(d.Name, 30, 20000)
	}
}

// head asks the proxy by HTTP and returns the head of the answer.
func (s *Stack) head(t *testing.T, request string) *http.Response {
	t.Helper()
	c, err := s.Dial(t.Context(), "tcp", s.Proxy)
	check(t, err)
	defer c.Close()
	_, err = io.WriteString(c, request)
	check(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

// TestHostile72_QuotaOfAll: when no relay has any quota left, programs hear so at once,
// and when to ask again; the state says what is missing and until when; few exchanges
// are wasted on looking; and when there is a quota again, all goes on by itself.
func TestHostile72_QuotaOfAll(t *testing.T) {
	test := func(t *testing.T, c StackConfig) {
		c.Confirmed, c.Mux = true, counted
		virtual(t, c, func(t *testing.T, s *Stack) {
			echo := s.serve(t, Echo)
			ask(t, open(t, s.Connect, echo), "hello")
			s.Relay.Set(func(k *Knobs) { k.QuotaPage = true })
			time.Sleep(5 * time.Minute) // all of them have said so
			const most = 20 * time.Second
			for range 3 {
				took := elapsed(func() {
					if _, err := s.Connect(t.Context(), echo); !errors.Is(err, SOCKSError(1)) {
						t.Errorf("by SOCKS: %v", err)
					}
				})
				t.Logf("refused after %v", took)
				if took > most {
					t.Errorf("by SOCKS it took %v", took)
				}
			}
			for _, request := range []string{"CONNECT " + echo + " HTTP/1.1\r\nHost: " + echo + "\r\n\r\n", "GET http://" + echo + "/ HTTP/1.1\r\nHost: " + echo + "\r\n\r\n"} {
				var resp *http.Response
				took := elapsed(func() { resp = s.head(t, request) })
				if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(resp.Header.Get("Proxy-Status"), "quota") {
					t.Errorf("%.7s: %d, %v", request, resp.StatusCode, resp.Header)
				}
				if took > most {
					t.Errorf("%.7s: it took %v", request, took)
				}
			}
			count := s.exchanges()
			time.Sleep(30 * time.Minute)
			st := s.Mux.Snapshot(0)
			for _, a := range st.Accounts {
				if until := time.Until(a.Probe); !a.Exhausted || a.Resets.IsZero() || until <= 0 || until > time.Hour {
					t.Errorf("the account: %+v", a)
				}
			}
			if n := count(); n > 2*len(s.ds) {
				t.Errorf("%d exchanges in half an hour", n)
			}
			s.Relay.Set(func(k *Knobs) { k.QuotaPage = false })
			began := time.Now()
			for {
				if c, err := s.Connect(t.Context(), echo); err == nil {
					within(t, c, time.Minute)
					ask(t, c, "again")
					c.Close()
					break
				}
				if time.Since(began) > 75*time.Minute {
					t.Fatal("it does not work again")
				}
				time.Sleep(30 * time.Second)
			}
			t.Logf("it works again after %v", time.Since(began))
		})
	}
	t.Run("JSON", func(t *testing.T) { test(t, StackConfig{Scripts: 2}) })
	everyCarriage(t, test)
}
