package doctor

import (
	"net/url"
	"testing"

	"relaymux/relay/fronted"
)

// TestDirect: a Worker is one also without a path.
func TestDirect(t *testing.T) {
	for _, c := range []struct {
		path, key string
		link      bool
		want      bool
	}{{"", "", true, true}, {"/", "", true, true}, {"/hidden", "", true, false}, {"", "key", true, false}, {"", "key", false, true}} {
		d := Deployment{Config: fronted.Config{URL: &url.URL{Scheme: "https", Host: "relay.example", Path: c.path}, Key: c.key}, Link: c.link}
		if d.direct() != c.want {
			t.Errorf("%+v", c)
		}
	}
}
