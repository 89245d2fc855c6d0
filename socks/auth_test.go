package socks

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestHostile07_WrongPasswordsAreSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard([]User{{"ann", "secret"}})
		source, neighbour := netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("2001:db8:0:1::7")
		for i := range badLoginBurst {
			if err := g.check(source, "ann", "guess"); err != errWrongLogin {
				t.Fatalf("guess %d: %v", i, err)
			}
		}
		for range 1000 {
			if err := g.check(source, "ann", "guess"); err != errTooManyBad {
				t.Fatal(err)
			}
		}
		if err := g.check(netip.MustParseAddr("2001:db8::8"), "ann", "secret"); err != errTooManyBad {
			t.Errorf("another address of the same network, right password: %v", err)
		}
		if err := g.check(neighbour, "ann", "secret"); err != nil {
			t.Errorf("another network: %v", err)
		}
		time.Sleep(badLoginEvery)
		if err := g.check(source, "ann", "secret"); err != nil {
			t.Errorf("after a while: %v", err)
		}
		if n := g.failures.Load(); n != 1000+badLoginBurst {
			t.Errorf("%d failures counted", n)
		}
	})
}

func TestHostile07_LoopbackIsNotLockedOut(t *testing.T) {
	p := start(t, Config{Users: []User{{"ann", "secret"}}})
	for range 50 {
		if out := p.talk(t, login5("ann", "guess")); out != "\x05\x02\x01\x01" {
			t.Fatalf("got %q", out)
		}
	}
	if out := p.talk(t, login5("ann", "secret")+request5("a", 80)); out != "\x05\x02\x01\x00"+granted5 {
		t.Errorf("the owner: %q", out)
	}
	if n := p.Stats().BadLogins; n != 50 {
		t.Errorf("%d failures counted", n)
	}
}

// How long a login is looked at tells nothing: not whether its name is known, nor which
// of the users it is, nor whether the password begins well. Compared is the least of many
// times, which is what no noise can shorten.
func TestHostile06_SameTime(t *testing.T) {
	users := []User{{"first", "secret"}}
	for i := range 1000 {
		users = append(users, User{fmt.Sprint("user", i), "secret"})
	}
	g := newGuard(append(users, User{"last", "secret"}))
	logins := []User{{"nobody", "secret"}, {"first", "guess"}, {"last", "guess"}, {"first", "secreT"}, {"first", "secret"}, {"last", "secret"}}
	least := make([]time.Duration, len(logins))
	for round := range 200 {
		for i, l := range logins {
			begin := time.Now()
			g.match(l.Name, l.Password)
			if took := time.Since(begin); round == 0 || took < least[i] {
				least[i] = took
			}
		}
	}
	for i, took := range least {
		if took > 2*least[0] || least[0] > 2*took {
			t.Errorf("%s with %s takes %v, an unknown user %v", logins[i].Name, logins[i].Password, took, least[0])
		}
	}
}

func TestHostile07_BadSourcesAreBounded(t *testing.T) {
	g := newGuard([]User{{"ann", "secret"}})
	a := netip.MustParseAddr("10.0.0.0")
	for range 2 * maxBadSources {
		g.check(a, "ann", "guess")
		a = a.Next()
	}
	if n := len(g.bad); n != maxBadSources {
		t.Errorf("%d sources remembered", n)
	}
}
