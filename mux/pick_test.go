package mux

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"relaymux/mux/stats"
	"relaymux/relay"
)

func testDeployment(name string, slots int) *deployment {
	return &deployment{Deployment: Deployment{Name: name, Account: NewAccount(slots, "")}}
}

func take(*deployment) bool { return true }

func TestPick(t *testing.T) {
	now := time.Unix(1000, 0)
	ofOne := func(a, b *deployment) { a.Account, b.Account = NewAccount(1, ""), NewAccount(1, "") }
	for _, c := range []struct {
		name string
		set  func(a, b *deployment)
		poll bool
		want string
	}{
		{"the faster", func(a, b *deployment) { a.rtt, b.rtt = 2*time.Second, time.Second }, false, "b"},
		{"the emptier of equals", func(a, b *deployment) { a.rtt, b.rtt = time.Second, time.Second; a.load(1) }, false, "b"},
		{"one that was never measured, when the other is busy", func(a, b *deployment) { a.rtt = time.Second; a.load(1) }, false, "b"},
		{"a full one is out", func(a, b *deployment) { a.rtt, b.rtt = time.Second, 9*time.Second; a.load(10) }, false, "b"},
		{"the faster until it is twice as loaded", func(a, b *deployment) { a.rtt, b.rtt = time.Second, 3*time.Second; a.load(9) }, false, "a"},
		{"both full", func(a, b *deployment) { a.load(10); b.load(10) }, false, ""},
		{"polls leave a fifth: 8 of 10 used", func(a, b *deployment) { a.load(8); b.load(10) }, true, ""},
		{"polls leave a fifth: 7 of 10 used", func(a, b *deployment) { a.load(7); b.load(10) }, true, "a"},
		{"nor do they take the last slot of several accounts of one", func(a, b *deployment) { ofOne(a, b); a.load(1) }, true, ""},
		{"but if there is only one", func(a, b *deployment) { ofOne(a, b); b.until = now.Add(time.Second) }, true, "a"},
		{"ops may have the last slot", func(a, b *deployment) { a.load(9); b.load(10) }, false, "a"},
		{"one that rests is out", func(a, b *deployment) { a.until = now.Add(time.Second) }, false, "b"},
		{"until its time is over", func(a, b *deployment) { a.until = now; b.load(10) }, false, "a"},
		{"then one probe at a time", func(a, b *deployment) { a.parkedFor, a.probes = relay.Quota, 1; b.load(10) }, false, ""},
		{"all rest: the one due first is tried", func(a, b *deployment) {
			a.until, a.failed = now.Add(time.Hour), now.Add(-lastTry)
			b.until, b.failed = now.Add(time.Minute), now
		}, false, "a"},
		{"all rest and were tried just now", func(a, b *deployment) {
			a.until, a.failed = now.Add(time.Hour), now
			b.until, b.failed = now.Add(time.Minute), now
		}, false, ""},
		{"all rest, one because its relay said so", func(a, b *deployment) {
			a.until, a.failed, a.mandated = now.Add(time.Minute), now.Add(-lastTryMandated+1), true
			b.until, b.failed, b.mandated = now.Add(time.Hour), now.Add(-lastTryMandated), true
		}, false, "b"},
	} {
		a, b := testDeployment("a", 10), testDeployment("b", 10)
		c.set(a, b)
		ds, reserve, got := []*deployment{a, b}, noReserve, ""
		if c.poll {
			reserve = holdReserve(ds, now, 0)
		}
		if d := pick(ds, now, reserve, take); d != nil {
			got = d.Name
		}
		if got != c.want {
			t.Errorf("%s: picked %q, want %q", c.name, got, c.want)
		}
	}
}

// TestScoreWithOthers: what other devices leave is how full it gets.
func TestScoreWithOthers(t *testing.T) {
	a, b := leaving(t, 5), testDeployment("b", 30)
	for _, d := range []*deployment{a, b} {
		d.rtt = time.Second
		d.load(4)
	}
	if d := pick([]*deployment{a, b}, time.Now(), noReserve, take); d != b {
		t.Error("the one with 4 of 5 slots in use is picked, not the one with 4 of 30")
	}
}

func TestHoldReserve(t *testing.T) {
	for slots, want := range map[int]int{1: 0, 2: 1, 5: 1, 10: 2, 30: 6} {
		d := testDeployment("d", slots)
		if got := holdReserve([]*deployment{d}, time.Now(), 0)(d); got != want {
			t.Errorf("%d slots: %d", slots, got)
		}
	}
}

func TestHostile71_73_CoolDown(t *testing.T) {
	for _, c := range []struct {
		kind     relay.Kind
		after    time.Duration
		fails    int
		want     time.Duration
		mandated bool
	}{
		{relay.Timeout, 0, 1, 0, false}, // an ordinary loss
		{relay.Timeout, 0, 2, time.Second, false},
		{relay.Broken, 0, 3, 2 * time.Second, false},
		{relay.Unreachable, 0, 100, time.Minute, false},
		{relay.Rejected, 0, 2, time.Second, false},
		{relay.Cancelled, 0, 5, 0, false},
		{relay.TooLarge, 0, 1, 0, false}, // an answer without an end
		{relay.TooLarge, 0, 3, 2 * time.Second, false},
		{relay.RetryAfter, 7 * time.Second, 1, 7 * time.Second, true},
		{relay.RetryAfter, 24 * time.Hour, 1, 5 * time.Minute, true},
		{relay.RetryAfter, 0, 3, 4 * time.Second, true},
		{relay.Quota, 0, 1, 10 * time.Minute, true},
		{relay.Quota, 0, 9, time.Hour, true},
		{relay.Decoy, 0, 1, 30 * time.Second, false},
		{relay.SignIn, 0, 9, 10 * time.Minute, false},
	} {
		rest, mandated := coolDown(&relay.Failure{Kind: c.kind, RetryAfter: c.after}, c.fails)
		if rest != c.want || mandated != c.mandated {
			t.Errorf("%v after %d failures: %v, %v", c.kind, c.fails, rest, mandated)
		}
	}
	if rest, _ := coolDown(&relay.Failure{Kind: relay.TooLarge, Untouched: true}, 5); rest != 0 {
		t.Errorf("a body that was too large: %v", rest)
	}
}

// TestHostile82_OwnShortage: that this program has no memory for answers is no relay's
// fault. None rests for it, and it is told, once.
func TestHostile82_OwnShortage(t *testing.T) {
	var said strings.Builder
	d := testDeployment("d", 10)
	d.Stats = new(stats.Deployment)
	f := &relay.Failure{Kind: relay.NoMemory, Detail: "no memory", Hint: "limits.memory"}
	for range 5 {
		d.failedBy(slog.New(slog.NewTextHandler(&said, nil)), f, time.Second, 100, []*deployment{d}, false)
	}
	if n := d.Stats.Outcome[relay.NoMemory].Load(); n != 5 || d.fails != 0 || !d.usable(time.Now()) {
		t.Errorf("%d are counted, %d as the relay's, which is usable: %v", n, d.fails, d.usable(time.Now()))
	}
	if strings.Count(said.String(), "limits.memory") != 1 {
		t.Errorf("the log: %s", said.String())
	}
}

func TestRecovery(t *testing.T) {
	now := time.Unix(1000, 0)
	d := testDeployment("d", 10)
	if rest := d.fail(&relay.Failure{Kind: relay.Decoy}, time.Second, now); rest < 30*time.Second || rest > 34*time.Second {
		t.Errorf("rests %v", rest)
	}
	if d.usable(now.Add(29*time.Second)) || !d.usable(now.Add(34*time.Second)) {
		t.Error("it rests too short or too long")
	}
	d.succeed(now.Add(-1), time.Second, false)
	if d.usable(now) {
		t.Error("an exchange from before the failure brings it back")
	}
	d.succeed(now.Add(time.Minute), time.Second, false)
	d.load(5)
	if !d.usable(now) {
		t.Error("a good answer does not bring it back")
	}
}

// load makes d have n exchanges in flight, and its account no others.
func (d *deployment) load(n int) { d.inFlight = n; d.Account.inFlight.Store(int32(n)) }
