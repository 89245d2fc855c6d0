package account

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// A step is one thing that happens to an account.
type step struct {
	what string
	n    int
}

func steps(rt *rapid.T) step {
	what := rapid.SampledFrom([]string{"spend", "spend", "wait", "told", "page", "probe", "reload", "kill"}).Draw(rt, "what")
	most := map[string]int{"spend": 400, "wait": 20 * 3600, "told": modelQuota}[what]
	return step{what, rapid.IntRange(0, most).Draw(rt, "n")}
}

const modelQuota = 2000 // a block is 10

// The ledger against a model of one account that counts with plain numbers.
func TestLedgerModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOfN(rapid.Custom(steps), 1, 30).Draw(rt, "steps")
		var wrong string
		synctest.Test(t, func(t *testing.T) { wrong = runModel(t, all) })
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

// A model is what an account should be.
type model struct {
	begin, probe time.Time // begin is zero: no window
	used         int
	limit        int // -1: no page
}

// runModel returns how ledger and model differ, "" if they do not.
func runModel(t *testing.T, all []step) string {
	dir := t.TempDir()
	l, _ := open(dir)
	defer func() { l.Close() }()
	m := model{limit: -1}
	for i, s := range all {
		a := l.Account("me", 30, modelQuota)
		switch s.what {
		case "reload":
			l.Close()
			l, _ = open(dir)
		case "kill":
			time.Sleep(2 * time.Second) // else what was just spent may be lost
			synctest.Wait()
			next := afterKill(t, dir)
			l.Close()
			l, dir = next, filepath.Dir(next.path)
			m.expire()
			got := l.Account("me", 30, modelQuota).Used(time.Now())
			if got < m.used || got > m.used+modelQuota/200 {
				return fmt.Sprintf("step %d: %d used, but %d after a kill", i, m.used, got)
			}
			m.used = got
		default:
			s.do(a)
			m.do(s)
		}
		a = l.Account("me", 30, modelQuota)
		if got, want := seen(a), m.seen(); got != want {
			return fmt.Sprintf("step %d, %v: got %s, want %s", i, s, got, want)
		}
	}
	return ""
}

func (s step) do(a *Account) {
	switch s.what {
	case "spend":
		spend(a, time.Now(), s.n)
	case "wait":
		time.Sleep(time.Duration(s.n) * time.Second)
	case "told":
		a.Told(time.Now(), s.n)
	case "page":
		a.Exhausted(time.Now(), 0)
		time.Sleep(time.Second)
	case "probe":
		a.Served(time.Now(), time.Now())
	}
}

// do is step.do for the model, after it: time has gone by.
func (m *model) do(s step) {
	m.expire()
	switch s.what {
	case "spend":
		if s.n > 0 {
			m.start(time.Now())
			if m.limit >= 0 {
				m.probe = time.Now().Add(time.Hour)
			}
		}
		m.used += s.n
	case "told":
		if s.n > m.used {
			m.start(time.Now())
			m.used = s.n
		}
	case "page":
		at := time.Now().Add(-time.Second)
		m.start(at)
		if m.limit < 0 {
			m.limit = m.used
		}
		m.probe = at.Add(time.Hour)
	case "probe":
		if m.limit >= modelQuota/2 {
			*m = model{begin: time.Now(), used: 1}
		}
		m.limit = -1
	}
}

func (m *model) start(at time.Time) {
	if m.begin.IsZero() {
		m.begin = at
	}
}

func (m *model) expire() {
	if !m.begin.IsZero() && time.Since(m.begin) >= Window {
		*m = model{limit: -1}
	}
}

func (m *model) seen() string {
	left, allowed, resets := max(0, modelQuota-m.used), true, time.Time{}
	if m.limit >= 0 {
		left, allowed = 0, !time.Now().Before(m.probe)
	}
	if !m.begin.IsZero() {
		resets = m.begin.Add(Window)
	}
	return fmt.Sprint(m.used, left, allowed, resets.Unix())
}

func seen(a *Account) string {
	now := time.Now()
	return fmt.Sprint(a.Used(now), a.Left(now), a.Allowed(now), a.Resets(now).Unix())
}
