package mux

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/stats"
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
