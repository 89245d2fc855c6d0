package dash

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"relaymux/mux/secret"
)

func TestRoute(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Token = secret.New("0123456789abcdef")
		c.Route = func(target string) (string, string, error) {
			if target != "<b>:443" {
				return "", "", errors.New("write host:port")
			}
			return "direct", `c.toml:2: route.direct: "<b>"`, nil
		}
	})
	const path = "/api/route?to=%3Cb%3E:443"
	if w := r.do("GET", path); w.Code != http.StatusUnauthorized {
		t.Errorf("without the token: %d", w.Code)
	}
	w := r.do("GET", path, "Authorization", "Bearer 0123456789abcdef")
	const want = `{"to":"\u003cb\u003e:443","verdict":"direct","rule":"c.toml:2: route.direct: \"\u003cb\u003e\""}` + "\n"
	if w.Code != http.StatusOK || w.Body.String() != want || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		t.Errorf("%d, %v, %s", w.Code, w.Header(), w.Body)
	}
	for _, bad := range []string{"/api/route", "/api/route?to=x"} {
		if w := r.do("GET", bad, "Authorization", "Bearer 0123456789abcdef"); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "host:port") {
			t.Errorf("%s: %d, %s", bad, w.Code, w.Body)
		}
	}
	if w := r.do("POST", path, "Authorization", "Bearer 0123456789abcdef"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}
