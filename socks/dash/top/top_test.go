package top

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"relaymux/socks/dash"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// state is a proxy after so many seconds, whose flow i moves i kB a second down.
func state(after int) dash.Status {
	at := uint64(after)
	st := dash.Status{
		Version: "v1", Time: began.Add(time.Duration(after) * time.Second), Uptime: float64(100 + after), Link: dash.Link{State: dash.LinkUp},
		Totals: dash.Totals{Down: 3_000_000 * at, Up: 1000 * at, Exchanges: 10 * at},
		Deployments: []dash.Deployment{
			{Name: "d1", Exchanges: map[string]uint64{"ok": 9 * at, "timeout": at}, Latency: &dash.Latency{Measured: 64, P50: 400, P95: 700}, HTTP: "3"},
			{Name: "d2", Exchanges: map[string]uint64{}, Rest: &dash.Rest{Until: began.Add(time.Hour), Why: "quota"}},
		},
		Accounts: []dash.Account{
			{Name: "mine", InFlight: 24, Slots: 30, MostSlots: 30, Quota: 20000, Used: 5000, Left: 15000, Lasts: 7200, Resets: began.Add(90 * time.Minute)},
			{Name: "free", Slots: 4, MostSlots: 4, Used: 7},
		},
		Advice: []dash.Advice{{Code: "no_link", Level: "bad"}},
	}
	for i := uint64(1); i <= 30; i++ {
		st.Flows = append(st.Flows, dash.Flow{ID: i, Network: "tcp", Host: fmt.Sprintf("h%02d.example", 31-i), Port: 443, Connected: i != 29,
			Age: float64(i), Up: at, Down: 1000 * i * at, Exchanges: i % 5})
	}
	return st
}

// rig is a model that has seen two states.
func rig() model {
	m := newModel(func() (dash.Status, error) { return state(2), nil })
	m.width, m.height = 120, 40
	return m.take(state(0)).take(state(1))
}

func press(m model, keys ...string) model {
	for _, key := range keys {
		next, _ := m.press(key)
		m = next.(model)
	}
	return m
}

func TestDraw(t *testing.T) {
	text := ansi.Strip(rig().draw())
	for _, want := range []string{"relaymux v1, up 1 min, link is up", "down     3.0 MB/s", "up       1.0 kB/s", "10 exchanges, 10.0/s: ok 9, timeout 1",
		"! The link to the node is not made yet", "d1", "works", "400 ms", "700 ms", "d2", "rests 59 min: quota", "24 of 30", "████████░░", "5000 of 20000", "15000", "1 h 29 min", "2 h 0 min",
		"no quota", "30 flows by down/s", "h01.example:443", "30.0 kB", "connecting", "q quit"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// Whatever the size of the terminal, nothing is wider or higher, and the keys are told.
func TestDrawFits(t *testing.T) {
	for _, size := range [][2]int{{200, 60}, {80, 24}, {40, 10}, {20, 5}, {1, 1}} {
		next, _ := rig().Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		lines := strings.Split(next.(model).draw(), "\n")
		if len(lines) > size[1] || !strings.HasPrefix(ansi.Strip(lines[len(lines)-1]), "q quit"[:min(size[0], 6)]) {
			t.Errorf("%v: %d lines, the last %q", size, len(lines), lines[len(lines)-1])
		}
		for _, l := range lines {
			if n := lipgloss.Width(l); n > size[0] {
				t.Errorf("%v: a line of %d: %q", size, n, l)
			}
		}
	}
}

// What came from the network does nothing to the terminal.
func TestDrawIsClean(t *testing.T) {
	const evil = "\x1b]0;pwned\x07\x1b[2J\u202eh"
	st := state(1)
	st.Version, st.Deployments[0].Name, st.Flows[0].Host, st.Accounts[0].Name, st.Advice = evil, evil, evil, evil, []dash.Advice{{Code: evil, Level: "bad"}}
	m := rig().take(st)
	m.err = errors.New(evil)
	text := m.draw()
	if strings.ContainsAny(text, "\x07\u202e") || strings.Contains(text, "\x1b]") || strings.Contains(text, "\x1b[2J") {
		t.Errorf("%q", text)
	}
}

func TestOrder(t *testing.T) {
	m := rig()
	for _, c := range []struct {
		keys  string
		first string
	}{
		{"", "h01"}, {"d", "h30"}, {"dd", "h01"}, {"t", "h01"}, {"a", "h01"}, {"h", "h01"}, {"hh", "h30"}, {"e", "h02"}, {"ee", "h01"}, {"u", "h01"},
	} {
		m := press(m, strings.Split(c.keys, "")...)
		if got := m.order.sort(m.st.Flows, m.rates)[0].Host; got != c.first+".example" {
			t.Errorf("%q begins with %s", c.keys, got)
		}
	}
	if len(m.st.Flows) != 30 || m.st.Flows[0].ID != 1 {
		t.Error("sorting changed what others see")
	}
}

func TestScroll(t *testing.T) {
	m := press(rig(), "down", "down", "up")
	if m.first != 1 || !strings.Contains(ansi.Strip(m.draw()), "from the 2. on") {
		t.Errorf("from %d on", m.first)
	}
	if m = press(m, "up", "up", "pgup"); m.first != 0 {
		t.Errorf("before the first: %d", m.first)
	}
	if m = press(m, "pgdown", "pgdown", "pgdown"); m.first != 29 {
		t.Errorf("behind the last: %d", m.first)
	}
	st := state(2)
	st.Flows = st.Flows[:5]
	if m = m.take(st); m.first != 4 {
		t.Errorf("of five: %d", m.first)
	}
	st.Flows = nil
	if m = m.take(st); m.first != 0 || press(m, "down").first != 0 {
		t.Errorf("of none: %d", m.first)
	}
}

// It asks again and again, but not while paused; and an error is shown until the next
// answer.
func TestUpdate(t *testing.T) {
	m := rig()
	next, cmd := m.Update(due{})
	msg := cmd().(got)
	if next, _ = next.Update(msg); next.(model).st.Time != state(2).Time {
		t.Errorf("%v", next.(model).st.Time)
	}
	if next, _ = next.Update(got{err: errors.New("gone")}); !strings.Contains(next.(model).draw(), "gone") || len(next.(model).st.Flows) != 30 {
		t.Error("the error is not shown, or nothing else is")
	}
	if next, _ = next.Update(msg); strings.Contains(next.(model).draw(), "gone") {
		t.Error("the error stays")
	}
	paused := press(next.(model), "p")
	if !strings.Contains(paused.draw(), "paused") {
		t.Error("it does not say that it is paused")
	}
	for _, key := range []string{"q", "esc", "ctrl+c"} {
		if _, cmd := m.press(key); cmd == nil {
			t.Errorf("%s does not quit", key)
		} else if _, ok := cmd().(tea.QuitMsg); !ok {
			t.Errorf("%s does not quit", key)
		}
	}
}

// Of a relaymux that has begun anew nothing is said that its counts do not tell.
func TestRates(t *testing.T) {
	before, now := state(5), state(1)
	now.Time, now.Uptime = before.Time.Add(time.Second), 1
	if r := ratesOf(&before, &now); r.ok || r.down != 0 {
		t.Errorf("%+v", r)
	}
	if r := ratesOf(&dash.Status{}, &now); r.ok {
		t.Errorf("of the first: %+v", r)
	}
	two := state(7)
	if r := ratesOf(&before, &two); !r.ok || r.down != 3_000_000 || r.exchanges != 10 || r.deployments["d1"] != 10 || r.flows[30].down != 30_000 {
		t.Errorf("%+v", r)
	}
	m := rig()
	for range 2 * historyMost {
		m.down = remember(m.down, 1)
	}
	if len(m.down) != historyMost {
		t.Errorf("%d samples", len(m.down))
	}
}

func TestPictures(t *testing.T) {
	if got := spark([]uint64{9, 0, 50, 100}, 3); got != "▁▄█" {
		t.Error(got)
	}
	if got := spark([]uint64{0}, 3); got != "  ▁" {
		t.Error(got)
	}
	for _, c := range []struct {
		n, all int
		want   string
	}{{0, 10, "░░░░"}, {1, 10, "█░░░"}, {10, 10, "████"}, {20, 10, "████"}, {0, 0, "░░░░"}} {
		if got := bar(c.n, c.all, 4); got != c.want {
			t.Errorf("%d of %d: %s", c.n, c.all, got)
		}
	}
	for text, want := range map[string]string{"short": "short", "a-long-name.example:443": "a-lon…443", "فارسی-دراز-است": ""} {
		got := fit(text, 9)
		if lipgloss.Width(got) > 9 || want != "" && got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// A reason that is no advice has a look too.
func TestReason(t *testing.T) {
	p := newPainter()
	list := []dash.Advice{{Level: "slow"}}
	for i, want := range []string{p.slow.Render("x"), p.bad.Render("x")} {
		if got := p.reason(list, i).Render("x"); got != want {
			t.Errorf("%d: %q, want %q", i, got, want)
		}
	}
}
