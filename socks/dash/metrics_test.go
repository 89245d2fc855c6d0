package dash

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"relaymux/mux"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain":             "plain",
		`a"b`:               `a\"b`,
		`a\b`:               `a\\b`,
		"a\nb":              `a\nb`,
		"\\n":               `\\n`,
		"a\"} 1\nrelaymux_": `a\"} 1\nrelaymux_`,
		"\xff":              "\uFFFD",
		"é":                 "é",
	} {
		if got := escape(in); got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
}

// Whatever a deployment is called, each line is a sample or a comment of the format,
// and a metric's samples stand together below its type.
func TestMetrics(t *testing.T) {
	const name = "d\"1\\\n} 7"
	r := newRig(t, nil)
	r.snap.Deployments[0].Name = name
	w := r.do("GET", "/metrics")
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	text := w.Body.String()
	sample := regexp.MustCompile(`^(relaymux_[a-z0-9_]+)(?:\{[a-z_]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z_]+="(?:[^"\\\n]|\\["\\n])*")*\})? [-+0-9.e]+$`)
	family, seen := "", map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			family, _, _ = strings.Cut(rest, " ")
			if seen[family] {
				t.Errorf("%s comes twice", family)
			}
			seen[family] = true
			continue
		}
		if strings.HasPrefix(line, "# HELP ") {
			continue
		}
		if m := sample.FindStringSubmatch(line); m == nil || m[1] != family {
			t.Errorf("below %s: %q", family, line)
		}
	}
	for _, want := range []string{
		`relaymux_exchanges_total{deployment="d\"1\\\n} 7",outcome="timeout"} 2`,
		`relaymux_exchanges_total{deployment="d\"1\\\n} 7",outcome="ok"} 100`,
		`relaymux_bytes_total{direction="up",network="tcp"} 700`,
		`relaymux_bytes_total{direction="up",network="udp"} 300`,
		`relaymux_flows_open{network="udp"} 0`,
		`relaymux_exchange_recent_seconds{deployment="d\"1\\\n} 7",quantile="0.95"} 0.7`,
		`relaymux_deployment_resting{deployment="d2"} 1`,
		`relaymux_quota_left{account="mine"} 15000`,
		`relaymux_link_up 1`,
		`relaymux_clients_open 3`,
		`relaymux_clients_refused_total{reason="garbage"} 5`,
		`relaymux_clients_refused_total{reason="limit"} 4`,
		`relaymux_clients_refused_total{reason="descriptors"} 8`,
		`relaymux_clients_refused_total{reason="login"} 6`,
		`relaymux_panics_total 7`,
		`relaymux_datagrams_total{direction="sent",socket="quic"} 30`,
		`relaymux_datagram_trains_total{direction="sent",socket="quic"} 2`,
		`relaymux_datagrams_dropped_total{reason="quic",socket="proxy"} 3`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, "onerror") {
		t.Error("hosts are no labels: there would be as many series as hosts")
	}
}

// Without any deployment or account it is still the format.
func TestMetricsOfNothing(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Look = func(int) mux.Snapshot { return mux.Snapshot{} } })
	if text := r.do("GET", "/metrics").Body.String(); !strings.HasSuffix(text, "\n") || strings.Contains(text, "NaN") {
		t.Error(text)
	}
}
