package relaytest

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// TestHooks holds what a relay sees and what it may change, of either kind.
func TestHooks(t *testing.T) {
	for _, kind := range []struct {
		id   string
		post func(b *bench) (text string)
	}{
		{"one", func(b *bench) string {
			_, text, err := b.post("one", batch)
			check(b.T, err)
			return text
		}},
		{"worker", func(b *bench) string {
			got, err := b.postTo("/w/worker/tunnel/link", octets, "auth", []byte(batch))
			check(b.T, err)
			return string(got.body)
		}},
	} {
		t.Run(kind.id, func(t *testing.T) {
			in(t, func(b *bench) { testHooks(b, kind.id, func() string { return kind.post(b) }) })
		})
	}
}

func testHooks(b *bench, id string, post func() string) {
	type run struct{ id, request, answer string }
	var runs []run
	c := &b.relay.config
	c.Capture = func(id string, request, answer []byte) {
		runs = append(runs, run{id, string(request), string(answer)})
	}
	post()
	b.relay.Set(func(k *Knobs) { k.Duplicate = 1 })
	post()
	synctest.Wait()
	b.relay.Set(func(k *Knobs) { *k = Knobs{Decoy: true} })
	post()
	whole := run{id, batch, answer}
	if want := []run{whole, whole, whole, {id, batch, ""}}; !slices.Equal(runs, want) {
		b.Errorf("captured\n%q, want\n%q", runs, want)
	}

	b.relay.Set(func(k *Knobs) { *k = Knobs{} })
	runs = nil
	kept := []byte(strings.Replace(batch, `"a"`, `"longer"`, 1)) // replayed: it must stay as it is
	c.OnRequest = func(of string, body []byte) []byte {
		if of != id || string(body) != batch {
			b.Errorf("OnRequest of %q: %q", of, body)
		}
		return kept
	}
	c.OnAnswer = func(of string, body []byte) []byte {
		if of != id {
			b.Errorf("OnAnswer of %q", of)
		}
		body[0] ^= 0x80
		return nil
	}
	for range 3 {
		if got := post(); got != "\xfb"+answer[1:] {
			b.Errorf("a flipped bit came as %q", got)
		}
		if last := b.seen[len(b.seen)-1]; !strings.Contains(last, `"longer"`) {
			b.Errorf("the node saw %q", last)
		}
	}
	if want := []run{whole, whole, whole}; !slices.Equal(runs, want) {
		b.Errorf("captured\n%q, want\n%q", runs, want)
	}
	c.OnRequest = nil
	for _, forged := range []string{"", "a piece of it", strings.Repeat("x", 1<<20)} {
		c.OnAnswer = func(_ string, body []byte) []byte { return append(make([]byte, 0, 1), forged...) }
		if got := post(); got != forged {
			b.Errorf("forged %.20q, got %.20q", forged, got)
		}
	}
	c.OnAnswer = func(_ string, body []byte) []byte { return body[3:7] }
	if got := post(); got != answer[3:7] {
		b.Errorf("got %q", got)
	}
}
