package relaytest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/mux/link"
)

// onlyLink is all that a relay for text gets to see of a request, but for the key
// and the base64 of the message.
var onlyLink = regexp.MustCompile(`^\{"k":"[^"]*"(,"t":"batch")?,"ops":\[\{"op":"link","d":""\}\]\}$`)

// wantSealed checks that relays saw nothing but messages of the link in requests,
// and nowhere one of the words.
func wantSealed(t *testing.T, seen []sighting, words ...string) {
	t.Helper()
	for i, x := range seen {
		m := messageOf(x.request)
		if k := link.KindOf(m); k != link.KindHello && k != link.KindRecords {
			t.Errorf("request %d by %s is of kind %#x: %.80q", i, x.id, k, x.request)
		}
		if x.request[0] == '{' && !onlyLink.Match(withMessage(x.request, nil)) {
			t.Errorf("request %d by %s has more than a message of the link: %.80q", i, x.id, x.request)
		}
		for _, body := range [][]byte{x.request, m, x.answer, messageOf(x.answer)} {
			for _, w := range words {
				if bytes.Contains(body, []byte(w)) {
					t.Errorf("exchange %d by %s: the relay sees %.40q", i, x.id, w)
				}
			}
		}
	}
}

// TestHostile62_WhatARelaySees: neither where somebody goes, nor what is said on
// either side, nor who the proxy's protocol was; sizes and times only.
func TestHostile62_WhatARelaySees(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		var s spy
		c.Relay = s.watch
		virtual(t, c, func(t *testing.T, stack *Stack) {
			const host, word = "a-name-nobody-should-know.test", "a word that nobody should read"
			stack.config.Memory.SetName(host, netip.MustParseAddr("127.0.0.1"))
			_, port, _ := net.SplitHostPort(stack.origin(t, Origin()))
			browser := stack.Client(true)
			defer browser.CloseIdleConnections()
			url := fmt.Sprintf("http://%s/object/7/20000", net.JoinHostPort(host, port))
			if got := fetch(t, browser, url); hexSum(got) != ObjectSum(7, 20000) {
				t.Error("the object differs")
			}
			_, echo, _ := net.SplitHostPort(stack.serve(t, Echo))
			for _, dial := range []Dialer{stack.Connect, stack.ConnectHTTP} {
				ask(t, open(t, dial, net.JoinHostPort(host, echo)), word)
			}
			a := associate(t, stack)
			_, packets, _ := net.SplitHostPort(stack.servePackets(t, EchoPacket))
			put(t, a, net.JoinHostPort(host, packets), []byte(word))
			if p, _, err := get(a, soon); err != nil || string(p) != word {
				t.Errorf("got %q, %v", p, err)
			}
			_, err := stack.Connect(t.Context(), "nobody-is-there.test:80")
			check(t, err)
			time.Sleep(20 * time.Second)
			plain := make([]byte, 20000)
			_, _ = io.ReadFull(noise(7, 20000), plain)
			words := []string{
				host, "nobody", word, word[:12], "HTTP", "GET ", "127.0.0.1", "Host:", "connect",
				string(plain[:16]), string(plain[10000:10016]), LinkSecret, "\x05\x01\x00\x03",
			}
			for _, w := range []string{host, word, "GET /object"} { // as some other text might have it
				for i := range 3 {
					text := base64.StdEncoding.EncodeToString([]byte(w)[i:])
					words = append(words, text[:len(text)-4])
				}
			}
			seen := s.since(0)
			if len(seen) < 4 {
				t.Fatalf("only %d exchanges were seen", len(seen))
			}
			wantSealed(t, seen, words...)
			for i, x := range seen {
				if bytes.Contains(x.request, []byte(TunnelKey)) || bytes.Contains(x.answer, []byte(TunnelKey)) {
					t.Errorf("exchange %d has the node's key", i)
				}
			}
		})
	})
}

// A liar is a relay's answer in the place of the node's, while on is set.
type liar struct {
	on  atomic.Bool
	lie func(body []byte) []byte
}

func (l *liar) answer(_ string, body []byte) []byte {
	if !l.on.Load() {
		return nil
	}
	return l.lie(body)
}

// asIn is a lie in the words of the carriage: what comes as text is given as text.
func asIn(message []byte) func(body []byte) []byte {
	return func(body []byte) []byte {
		if body[0] == '{' {
			return fmt.Appendf(nil, `{"r":[{"d":%q}]}`, base64.StdEncoding.EncodeToString(message))
		}
		return message
	}
}

// words are a lie that is the same by either carriage.
func words(text string) func([]byte) []byte { return func([]byte) []byte { return []byte(text) } }

// TestHostile62_NoDowngrade: relays, all of them, say for a while that the node
// knows no link, or not this one. Nothing is ever said in the clear, no stream
// is reset, and when they stop lying all goes on.
func TestHostile62_NoDowngrade(t *testing.T) {
	status := func(code int) func(*Knobs) { return func(k *Knobs) { k.Status = code } }
	for name, lie := range map[string]struct {
		words func([]byte) []byte
		knobs func(*Knobs)
	}{
		"unsupported":       {words: words(`{"r":[{"e":"unknown op: link","code":"UNSUPPORTED_OP"}]}`)},
		"unknown link":      {words: asIn([]byte{link.KindUnknown})},
		"rejected":          {words: words(`{"e":"unauthorized"}`)},
		"an error":          {words: words(`{"r":[{"e":"link refused: the node knows no such secret"}]}`)},
		"404":               {knobs: status(http.StatusNotFound)},
		"405":               {knobs: status(http.StatusMethodNotAllowed)},
		"an end of session": {words: words(`{"r":[{"sid":"x","d":"","eof":true}]}`)},
		"a hello's answer":  {words: asIn(append([]byte{link.KindHelloAnswer}, make([]byte, 176)...))},
		"an empty answer":   {words: asIn([]byte{link.KindAnswer})},
		"nothing":           {words: words(" ")},
		"an empty record":   {words: asIn(append([]byte{link.KindAnswer, 0, 16}, make([]byte, 24)...))},
	} {
		t.Run(name, func(t *testing.T) {
			everyCarriage(t, func(t *testing.T, c StackConfig) {
				var s spy
				l := &liar{lie: lie.words}
				book := new(logbook)
				c.Log = book.log()
				c.Relay = func(c *RelayConfig) {
					s.watch(c)
					if lie.words != nil {
						c.OnAnswer = l.answer
					}
				}
				virtual(t, c, func(t *testing.T, stack *Stack) {
					const size = 1 << 20
					say := func(on bool) {
						l.on.Store(on)
						stack.Relay.Set(func(k *Knobs) {
							*k = Knobs{RTT: rtt}
							if on && lie.knobs != nil {
								lie.knobs(k)
							}
						})
					}
					echo := stack.serve(t, Echo)
					idle := open(t, stack.Connect, echo)
					ask(t, idle, "hello")
					down := open(t, stack.Connect, stack.serve(t, func(c net.Conn) { trickle(c, 9, size) }))
					came := make(chan arrival, 1)
					up := open(t, stack.Connect, stack.serve(t, func(c net.Conn) { came <- arrive(c) }))
					go trickle(up, 10, size)
					time.Sleep(3 * time.Second)
					say(true)
					fresh := open(t, stack.Connect, echo)
					writeAll(t, fresh, "while they lie")
					time.Sleep(10 * time.Second)
					say(false)
					for _, c := range []net.Conn{down, idle, fresh} {
						within(t, c, 2*time.Minute)
					}
					arrive(down).want(t, "the app", 9, size)
					(<-came).want(t, "the target", 10, size)
					got := make([]byte, len("while they lie"))
					if _, err := io.ReadFull(fresh, got); err != nil || string(got) != "while they lie" {
						t.Errorf("got %q, %v", got, err)
					}
					ask(t, idle, "still there")
					t.Logf("%d exchanges, %d links at the node", s.count(), stack.Node.Stats().Links)
					wantSealed(t, s.since(0), "while they lie", echo, strings.Split(echo, ":")[0])
					stack.wantNoneBroken(t, book)
					if n := stack.Node.Stats().Links; n > 20 {
						t.Errorf("%d links at the node", n)
					}
				})
				for _, claim := range []string{"began anew", "resets", "json wire is used"} {
					if book.has(claim) {
						t.Errorf("the log has %q", claim)
					}
				}
			})
		})
	}
}

// TestHostile62_NoDowngradeAtTheStart: relays that lie before there is a link. What
// is opened meanwhile waits, and nothing is said in the clear.
func TestHostile62_NoDowngradeAtTheStart(t *testing.T) {
	for name, lie := range map[string]func([]byte) []byte{
		"unsupported":  words(`{"r":[{"e":"unknown op: link","code":"UNSUPPORTED_OP"}]}`),
		"unknown link": asIn([]byte{link.KindUnknown}),
		"rejected":     words(`{"e":"unauthorized"}`),
		"noise":        asIn(append([]byte{link.KindHelloAnswer}, make([]byte, 176)...)),
	} {
		t.Run(name, func(t *testing.T) {
			everyCarriage(t, func(t *testing.T, c StackConfig) {
				var s spy
				l := &liar{lie: lie}
				l.on.Store(true)
				c.Relay = func(c *RelayConfig) { s.watch(c); c.OnAnswer = l.answer }
				virtual(t, c, func(t *testing.T, stack *Stack) {
					conn := open(t, stack.Connect, stack.serve(t, Echo))
					time.AfterFunc(15*time.Second, func() { l.on.Store(false) })
					within(t, conn, 2*time.Minute)
					t.Logf("answered after %v, %d exchanges", ask(t, conn, "a word"), s.count())
					wantSealed(t, s.since(0), "a word")
					if n := s.count(); n > 60 {
						t.Errorf("%d exchanges", n)
					}
				})
			})
		})
	}
}

// TestWithoutASecret: the same page goes over the JSON wire.
func TestWithoutASecret(t *testing.T) {
	everyCarriage(t, func(t *testing.T, c StackConfig) {
		var s spy
		c.Link, c.Relay = false, s.watch
		virtual(t, c, func(t *testing.T, stack *Stack) {
			browser := stack.browser(6)
			defer browser.CloseIdleConnections()
			if n := loadPage(t, browser, stack.origin(t, Origin()), 6, 20_000); n > 0 {
				t.Errorf("%d objects failed", n)
			}
			for _, x := range s.since(0) {
				if x.request[0] != '{' || bytes.Contains(x.request, []byte(`"link"`)) {
					t.Errorf("a request is %.80q", x.request)
				}
			}
		})
	})
}
