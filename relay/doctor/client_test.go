package doctor

import (
	"net/url"
	"strings"
	"testing"

	"relaymux/mux/secret"
	"relaymux/relay"
	"relaymux/relay/fronted"
)

// TestDirect: a Worker is one also without a path.
func TestDirect(t *testing.T) {
	for _, c := range []struct {
		path, key string
		link      bool
		want      bool
	}{{"", "", true, true}, {"/", "", true, true}, {"/hidden", "", true, false}, {"", "key", true, false}, {"", "key", false, true}} {
		d := Deployment{Config: fronted.Config{URL: &url.URL{Scheme: "https", Host: "relay.example", Path: c.path}, Key: secret.New(c.key)}, Link: c.link}
		if d.direct() != c.want {
			t.Errorf("%+v", c)
		}
	}
}

// TestRefusedBy: what a node says to strangers is told from what others say.
func TestRefusedBy(t *testing.T) {
	for _, c := range []struct {
		path, said  string
		leg, detail string
	}{
		{"", "status 404: 404 page not found", LegSecret, "as to a stranger"},
		{"/", "status 404: 404 page not found", LegSecret, "as to a stranger"},
		{"/hidden", "status 404: 404 page not found", LegSecret, "as to a stranger"},
		{"", `status 401: {"e":"link refused: no"}`, LegSecret, "the node says: link refused: no"},
		{"/hidden", `status 401: {"e":"link refused: no"}`, LegSecret, "the node says: link refused: no"},
		{"", `status 404: {"e":"not found"}`, LegSecret, "the node says: not found"},
		{"/hidden", `status 401: {"e":"unauthorized"}`, LegRelay, "status 401"},
		{"", "status 403: 403 Forbidden", LegNode, "status 403"},
		{"", `status 403: {"e":"cut`, LegNode, "status 403"},
	} {
		d := Deployment{Config: fronted.Config{URL: &url.URL{Scheme: "https", Host: "relay.example", Path: c.path}}, Link: true}
		e := exam{d: &d}
		f := e.meaning(&relay.Failure{Kind: relay.Refused, Detail: c.said})
		if f.leg != c.leg || !strings.Contains(f.detail, c.detail) {
			t.Errorf("%q at %q: %+v", c.said, c.path, f)
		}
		if about := strings.Contains(f.remedy, "take /hidden away"); about != (c.path == "/hidden" && f.detail == asStranger) {
			t.Errorf("%q at %q: remedy %q", c.said, c.path, f.remedy)
		}
	}
}
