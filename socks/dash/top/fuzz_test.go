package top

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"relaymux/socks/dash"
)

// FuzzStatus: whatever answers in a daemon's place, what a terminal shows of it has no
// control characters but those of the look, fits, and takes no more memory than it was.
func FuzzStatus(f *testing.F) {
	few := func(after int) []byte {
		st := state(after)
		st.Flows = st.Flows[:3]
		text, err := json.Marshal(st)
		if err != nil {
			f.Fatal(err)
		}
		return text
	}
	f.Add(few(1), few(2))
	f.Add([]byte(`{"version":"\u001b[31m","uptime_seconds":-1e308,"accounts":[{"slots":9223372036854775807,"quota":-5,"used":9}],"deployments":[{"name":"\u202e","latency":{"p50_ms":1e300}}]}`),
		[]byte(`{"version":"x","flows":[{"host":"\u0000\n","port":65535,"age":-1}],"flows_more":-9,"advice":[{"code":"?","args":["a"]}],"deployments":[{"name":"a","rest":{}}]}`))
	f.Add([]byte(`{"version":"x"}`), []byte(`[]`))
	f.Add([]byte(`{"version":"x","accounts":[{"in_flight":-5,"slots":4,"most_slots":4,"quota":5,"used":1000000000000000000}]}`), []byte{})
	f.Add([]byte(`{"version":"x","accounts":[{"in_flight":4000000000000000000,"slots":4,"most_slots":9,"quota":5,"used":-7}]}`), []byte{})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		m, seen := rig(), []*dash.Status{nil}
		for _, text := range [][]byte{first, second} {
			st, err := dash.Parse(text)
			if err != nil {
				continue
			}
			m = m.take(st)
			seen = append(seen, &st)
			var page strings.Builder
			if err := dash.WriteTable(&page, &st, seen[len(seen)-2]); err != nil {
				t.Error(err)
			}
			clean(t, page.String())
			if most := 100_000 + 40*len(text)*(1+len(st.Flows)+len(st.Deployments)+len(st.Accounts)); page.Len() > most {
				t.Errorf("%d bytes of %d", page.Len(), len(text))
			}
		}
		if len(seen) == 1 {
			return // no state at all
		}
		m.width, m.height = 10+len(first)%100, 5+len(second)%20
		screen := m.draw()
		clean(t, ansi.Strip(screen))
		for line := range strings.Lines(screen) {
			if n := ansi.StringWidth(strings.TrimSuffix(line, "\n")); n > m.width {
				t.Errorf("%d columns of %d: %q", n, m.width, line)
			}
		}
	})
}

func clean(t *testing.T, text string) {
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("%q", text[i:min(len(text), i+50)])
	}
}
