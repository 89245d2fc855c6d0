package doctor

import (
	"strings"
	"testing"
)

// TestWriteTable: each deployment's first broken leg is named at the end, and nothing is
// there twice that need not be.
func TestWriteTable(t *testing.T) {
	ok := func(name string) Leg { return Leg{Name: name, Status: OK, Millis: 1.5, Detail: "well"} }
	broken := func(name, detail, remedy string) Leg {
		return Leg{Name: name, Status: Broken, Detail: detail, Remedy: remedy}
	}
	of := func(name string, legs ...Leg) Finding { return Finding{Name: name, Legs: legs} }
	for name, c := range map[string]struct {
		report []Finding
		want   string
	}{
		"nothing": {[]Finding{of("a", ok(LegName))}, "a\n  name  ok  1.5 ms  well\n\nNothing is broken.\n"},
		"two of three": {[]Finding{
			of("a", ok(LegName), broken(LegConnect, "refused", "start it")),
			of("b", ok(LegName)),
			of("c", ok(LegName), broken(LegTLS, "unknown CA", ""), broken(LegRelay, "none", "more")),
		}, "\n\na: connect is broken: refused\nWhat to do: start it\nc: tls is broken: unknown CA\n"},
		"nothing but placeholders": {[]Finding{
			of("a", broken(LegName, "has A", "fill it in")), of("b", broken(LegName, "has B", "fill it in")),
		}, "a: name is broken: has A\nb: name is broken: has B\nWhat to do: fill it in\n"},
		"a placeholder among others": {[]Finding{of("a", ok(LegName)), of("b", broken(LegName, "has B", "fill it in"))},
			"a\n  name  ok  1.5 ms  well\n\nb: name is broken: has B\nWhat to do: fill it in\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			r := Report{Findings: c.report}
			if err := r.WriteTable(&text); err != nil {
				t.Fatal(err)
			}
			if got := text.String(); !strings.HasSuffix(got, c.want) || c.report[0].broken() != nil && len(c.report[0].Legs) == 1 && got != c.want {
				t.Errorf("got\n%s\nwant at its end\n%s", got, c.want)
			}
		})
	}
}

func TestIsTarget(t *testing.T) {
	for s, want := range map[string]bool{
		"example.com:443": true, "[2001:db8::1]:1": true, "192.0.2.1:65535": true,
		"foo": false, "foo:": false, ":443": false, "foo:0": false, "foo:65536": false, "foo:https": false, "2001:db8::1": false, "": false,
	} {
		if IsTarget(s) != want {
			t.Errorf("%q", s)
		}
	}
}
