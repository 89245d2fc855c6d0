package secret

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const text = "hunter2-0123456789"

type holder struct {
	Key    Text
	Keys   []Text
	ByName map[string]Text
	As     map[Text]int
	any    any
	own    Text
	list   []Text
	within struct{ own *Text }
}

func newHolder() holder {
	s := New(text)
	h := holder{Key: s, Keys: []Text{s}, ByName: map[string]Text{"a": s}, As: map[Text]int{s: 1}, any: s, own: s, list: []Text{s}}
	h.within.own = &s
	return h
}

// TestHidden: whatever prints a secret, or what has one in it at whatever depth, does not
// print it.
func TestHidden(t *testing.T) {
	h := newHolder()
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%10.3f", "%c", "%U"} {
		fmt.Fprintf(&out, strings.Repeat(verb+" ", 6)+"\n", h.Key, &h.Key, &h, h, []any{h}, h.own)
	}
	fmt.Fprintln(&out, h.Key.String(), h, fmt.Errorf("over: %w", errors.New(fmt.Sprint(h.Key))))
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("x", "key", h.Key, "all", h, "pointer", &h, slog.Group("g", "key", h.own))
	}
	for _, v := range []any{h.Key, &h, map[string]any{"a": h.Key}} {
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(j)
	}
	x, _ := xml.Marshal(struct{ Key Text }{h.Key})
	out.Write(x)
	_ = gob.NewEncoder(&out).Encode(struct{ Key Text }{h.Key})
	for _, leak := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%X", "hunter2"), fmt.Sprint([]byte("hunter2"))[1:20]} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q stands in\n%s", leak, out.String())
		}
	}
}

func TestText(t *testing.T) {
	s := New(text)
	if s.Reveal() != text || !s.IsSet() || s != New(strings.Clone(text)) || s == New("another") {
		t.Error("a secret is another one")
	}
	if (Text{}).IsSet() || New("").IsSet() || (Text{}).Reveal() != "" || New("") != (Text{}) {
		t.Error("none is one")
	}
	if err := s.UnmarshalText([]byte("b\x00")); err != nil || s.Reveal() != "b\x00" {
		t.Error(err)
	}
}
