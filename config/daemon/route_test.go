package daemon

import "testing"

// TestRouteOwn: what the proxy refuses as itself is told so, by a running one and by a
// config, and is a way to nowhere else.
func TestRouteOwn(t *testing.T) {
	const self = "the proxy itself"
	for listen, targets := range map[string]map[string]string{
		`"127.0.0.1:1080"`:          {"127.0.0.1:1080": self, "localhost:1080": self, "[::1]:1080": "", "127.0.0.1:1081": ""},
		`["localhost:1080"]`:        {"127.0.0.1:1080": self, "[::1]:1080": self},
		`["[::1]:1", "[::1]:1080"]`: {"127.0.0.1:1080": "", "[::1]:1080": self, "[::1]:1": self},
	} {
		cfg := loaded(t, "[proxy]\nlisten = "+listen+"\n")
		for target, want := range targets {
			if want == "" {
				want = "no rule of [route]"
			}
			verdict, rule, err := Route(cfg, target)
			if err != nil || rule != want || (verdict == "block") != (want == self) {
				t.Errorf("%s, to %s: %s by %s, %v", listen, target, verdict, rule, err)
			}
		}
	}
	cfg := loaded(t, "[proxy]\nlisten = \":1080\"\nusers = [{name = \"ann\", password = \"a word of the test\"}]\n")
	if verdict, rule, _ := Route(cfg, "127.0.0.1:1080"); verdict != "block" || rule != self {
		t.Errorf("of all addresses: %s by %s", verdict, rule)
	}

	p := running(t, "[proxy]\nlisten = \"127.0.0.1:0\"\n")
	first := p.Addrs()[0].String()
	expect := func(at, want string) {
		t.Helper()
		if v, err := p.routes.DecideText(at); err != nil || v.Rule != want {
			t.Errorf("%s: %v by %s, %v; want %s", at, v.Way, v.Rule, err, want)
		}
	}
	expect(first, self)
	if err := p.Reload(loaded(t, "[proxy]\nlisten = \"[::1]:0\"\n")); err != nil {
		t.Skip(err) // there is no IPv6
	}
	expect(p.Addrs()[0].String(), self)
	expect(first, "no rule of [route]")
}
