package config

import (
	"slices"
	"strings"
	"testing"
)

// TestDiff: each kind of difference is named, and no value is.
func TestDiff(t *testing.T) {
	t.Parallel()
	old := &Config{
		Proxy:       Proxy{Listen: []string{"127.0.0.1:1080"}, Users: []User{{"ann", NewSecret("hidden-1")}, {"bob", NewSecret("hidden-2")}}},
		Link:        Link{Secret: NewSecret("hidden-3")},
		Deployments: []Deployment{{Name: "a", URL: "https://hidden-4.example"}, {Name: "b"}, {Name: "c"}},
		Accounts:    []Account{{Name: "a", Slots: 30}},
	}
	now := &Config{
		Proxy:       Proxy{Listen: []string{"127.0.0.1:1090"}, Users: []User{{"bob", NewSecret("hidden-5")}, {"cid", NewSecret("hidden-6")}}},
		Link:        Link{Secret: NewSecret("hidden-7")},
		Route:       Route{Direct: []string{}},
		Deployments: []Deployment{{Name: "c"}, {Name: "a", URL: "https://hidden-8.example"}, {Name: "d", Key: NewSecret("hidden-9")}},
		Accounts:    []Account{{Name: "a", Slots: 5}},
	}
	want := []string{"proxy.listen", "-proxy.users.ann", "proxy.users.bob.password", "+proxy.users.cid", "link.secret",
		"deployment.a.url", "-deployment.b", "+deployment.d", "account.a.slots"}
	got := Diff(old, now)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if strings.Contains(strings.Join(got, " "), "hidden") {
		t.Error("a value is told")
	}
	if got := Diff(old, old); len(got) != 0 {
		t.Errorf("of nothing: %q", got)
	}
}
