package mux

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/stats"
	"relaymux/mux/wire"
	"relaymux/relay"
)

// TestRestsAsTheLogSays: what the log says of a rest is what comes of it, whether others
// work meanwhile or not.
func TestRestsAsTheLogSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		one := func(name string) *deployment {
			return &deployment{Deployment: Deployment{Name: name, Account: NewAccount(3, name), Stats: new(stats.Deployment)}}
		}
		a, b := one("a"), one("b")
		ds := []*deployment{a, b}
		decoy := &relay.Failure{Kind: relay.Decoy, Detail: "a page"}
		told := func(d *deployment) (said string, rest time.Duration) {
			var text bytes.Buffer
			d.failedBy(slog.New(slog.NewTextHandler(&text, nil)), decoy, time.Second, 100, ds, false)
			for _, key := range []string{"for=", "tried_again_in="} {
				if _, value, ok := strings.Cut(text.String(), " "+key); ok {
					rest, err := time.ParseDuration(strings.TrimSpace(value))
					if err != nil {
						t.Fatal(err)
					}
					return key, rest
				}
			}
			t.Fatalf("the log says %q", &text)
			return "", 0
		}
		// picked is when d is picked first.
		picked := func(d *deployment) time.Duration {
			for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
				if got := pick(ds, time.Now(), noReserve, func(e *deployment) bool { return e == d }); got == d {
					return time.Since(began)
				}
			}
		}
		said, rest := told(a)
		if took := picked(a); said != "for=" || took < rest-time.Second || took > rest+time.Second {
			t.Errorf("%s%v, and it took %v", said, rest, took)
		}
		a.until = time.Now().Add(time.Hour)
		a.failed = time.Now().Add(time.Minute)
		said, rest = told(b)
		if took := picked(b); said != "tried_again_in=" || took < rest-time.Second/2 || took > rest+time.Second/2 {
			t.Errorf("the last: %s%v, and it took %v", said, rest, took)
		}
	})
}

// TestFailsBeforeItWorked: that a deployment fails which has never worked is told at
// once, and each thing once; of one that has worked, a failure is no news.
func TestFailsBeforeItWorked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &deployment{Deployment: Deployment{Name: "a", Link: true, Account: NewAccount(3, "a"), Stats: new(stats.Deployment)}}
		other := &deployment{Deployment: Deployment{Name: "b", Account: NewAccount(3, "b"), Stats: new(stats.Deployment)}}
		fails := func(detail string) string {
			var text bytes.Buffer
			time.Sleep(time.Hour)
			d.failedBy(slog.New(slog.NewTextHandler(&text, nil)), &relay.Failure{Kind: relay.Unreachable, Detail: detail}, 0, 100, []*deployment{d, other}, false)
			return text.String()
		}
		const yet = "has not worked yet"
		if got := fails("refused"); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, yet) || !strings.Contains(got, "detail=refused") {
			t.Errorf("first: %q", got)
		}
		if got := fails("refused"); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, "deployment rests") {
			t.Errorf("then it rests: %q", got)
		}
		if got := fails("refused"); got != "" {
			t.Errorf("the same again: %q", got)
		}
		time.Sleep(time.Hour)
		d.worked(slog.New(slog.DiscardHandler), time.Now(), time.Second, false)
		if got := fails("reset"); got != "" {
			t.Errorf("after it has worked: %q", got)
		}
	})
}

// TestDownError: it tells what is wrong with the deployments that do not work, without
// their names and addresses where others may see it.
func TestDownError(t *testing.T) {
	now := time.Unix(1000, 0)
	var ds []*deployment
	for i, name := range []string{"a", "b", "c", "d", "fine", "new"} {
		d := testDeployment(name, 1)
		if name != "new" {
			d.fail(&relay.Failure{Kind: relay.Unreachable, Detail: "192.0.2.1", Hint: "look there"}, 0, now.Add(time.Duration(i)*time.Second))
		}
		ds = append(ds, d)
	}
	ds[4].good = now.Add(time.Minute)
	e := downError(ds).(*wire.DialError)
	const said = ": unreachable: 192.0.2.1 (look there)"
	if want := "no relay is available; d" + said + "; c" + said + "; b" + said; e.Error() != want || e.Why != "unreachable (look there)" {
		t.Errorf("%q, %q", e.Error(), e.Why)
	}
	if e := downError(ds[4:]).(*wire.DialError); e.Detail != "" || e.Why != "" {
		t.Errorf("nothing is wrong: %+v", e)
	}
}
