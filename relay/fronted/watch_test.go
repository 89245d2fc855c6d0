package fronted

import (
	"testing"
	"testing/synctest"
	"time"

	"relaymux/relay"
)

// TestWatchIsOverWhenItStops: net/http's goroutines may have a last word, of which
// an Exchange that is used again must not hear, nor a timer be left.
func TestWatchIsOverWhenItStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x relay.Exchange
		x.Begin()
		ctx, w := newWatch(t.Context(), limitsOf(time.Minute), &x.Progress)
		w.enter(sending)
		w.stop()
		x.Reset()
		x.Begin()
		w.moved(sending)
		w.enter(answering)
		w.wrote(nil)
		if _, ok := x.Moved(); ok {
			t.Error("moved")
		}
		if _, ok := x.Wrote(); ok {
			t.Error("wrote")
		}
		if w.timer.Stop() {
			t.Error("the timer still runs")
		}
		<-ctx.Done()
	})
}

// TestWatchKnowsABrokenRequest from one that is wholly written.
func TestWatchKnowsABrokenRequest(t *testing.T) {
	for _, err := range []error{nil, errLoanEnded} {
		var x relay.Exchange
		x.Begin()
		_, w := newWatch(t.Context(), limitsOf(time.Minute), &x.Progress)
		defer w.stop()
		w.wrote(err)
		if _, ok := x.Wrote(); ok != (err == nil) || w.phase != answering {
			t.Errorf("%v: wrote %v, %d", err, ok, w.phase)
		}
	}
}
