package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// two is a report of a rate, a time and a memory, on loopback and a way.
func two(rate, ms, mb float64) *report {
	return &report{Figures: map[string]map[string]float64{
		"download": {loopback: 2000, "direct h3": rate},
		"request":  {loopback: 0.01, "direct h3": ms},
		"memory":   {"direct h3": mb},
		"gone":     {loopback: 1},
	}}
}

func twoFigures() []figure {
	return []figure{
		{name: "download", unit: "MB/s", rate: true},
		{name: "request", unit: "ms"},
		{name: "memory", unit: "MB", absolute: true},
		{name: "gone", unit: "/s"},
	}
}

func twoWays() []way { return []way{{name: loopback}, {name: "direct h3", http: "3"}} }

// TestWorse holds both sides of the limit, for what should be much and what little.
func TestWorse(t *testing.T) {
	for _, c := range []struct {
		rate   bool
		change float64
		want   bool
	}{
		{false, 1.25, false}, {false, 1.251, true}, {false, 0.1, false},
		{true, 0.8, false}, {true, 0.799, true}, {true, 10, false},
	} {
		if got := (figure{rate: c.rate}).worse(c.change); got != c.want {
			t.Errorf("a change by %v of a rate (%t) is worse: %t, want %t", c.change, c.rate, got, c.want)
		}
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name     string
		now, old *report
		want     string // of the table, line by line
		worse    int
	}{
		{"the same", two(200, 0.1, 50), two(200, 0.1, 50), "download, MB/s 1.00 request, ms 1.00 memory, MB 1.00", 0},
		{"better", two(400, 0.05, 25), two(200, 0.1, 50), "download, MB/s 2.00 request, ms 0.50 memory, MB 0.50", 0},
		{"at the limit", two(161, 0.124, 62), two(200, 0.1, 50), "download, MB/s 0.80 request, ms 1.24 memory, MB 1.24", 0},
		{"worse", two(159, 0.126, 63), two(200, 0.1, 50), "download, MB/s 0.79 WORSE request, ms 1.26 WORSE memory, MB 1.26 WORSE", 3},
		{"no baseline of it", two(200, 0.1, 50), &report{}, "", 0},
	} {
		table, worse := compare(c.now, c.old, twoFigures(), twoWays())
		var got []string
		for _, line := range table[1:] {
			got = append(got, line...)
		}
		if text := strings.Join(got, " "); text != c.want || worse != c.worse {
			t.Errorf("%s: %q, %d worse, want %q, %d", c.name, text, worse, c.want, c.worse)
		}
	}
}

// TestSlowerMachine: it is the ratio to plain loopback that counts.
func TestSlowerMachine(t *testing.T) {
	slow := two(100, 0.2, 50)
	slow.Figures["download"][loopback] /= 2
	slow.Figures["request"][loopback] *= 2
	if table, worse := compare(slow, two(200, 0.1, 50), twoFigures(), twoWays()); worse != 0 {
		t.Errorf("%d figures are worse: %v", worse, table)
	}
}

func TestTell(t *testing.T) {
	var out strings.Builder
	file := filepath.Join(t.TempDir(), "baseline.json")
	o := &options{ways: twoWays(), rows: []row{{figures: twoFigures()}}, save: file, baseline: file}
	if err := o.tell(&out, two(200, 0.1, 50), nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"download, MB/s      2000   200 (0.100)\n",
		"request, ms        0.010  0.100 (10.0)\n",
		"memory, MB                        50.0\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	old, err := loadReport(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.tell(&out, two(100, 0.1, 50), old); err != nil {
		t.Errorf("worse, but not strict: %v", err)
	}
	if strings.Contains(out.String(), "gone") {
		t.Errorf("a line that only loopback has:\n%s", &out)
	}
	o.strict, o.markdown, o.save = true, true, ""
	out.Reset()
	if err := o.tell(&out, two(100, 0.1, 50), old); err == nil || !strings.HasPrefix(err.Error(), "1 figures are worse") {
		t.Errorf("worse and strict: %v", err)
	}
	if want := "| download, MB/s | 0.50 WORSE |\n"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, &out)
	}
}

func TestMedian(t *testing.T) {
	for want, values := range map[float64][]float64{3: {3}, 2: {3, 1, 2}, 2.5: {4, 1, 3, 2}} {
		if got := median(values); got != want {
			t.Errorf("median(%v) = %v, want %v", values, got, want)
		}
	}
}

func TestShort(t *testing.T) {
	for value, want := range map[float64]string{0.0312: "0.031", 0.9996: "1.00", 9.994: "9.99", 9.996: "10.0", 99.94: "99.9", 99.96: "100", 2801.7: "2802"} {
		if got := short(value); got != want {
			t.Errorf("short(%v) = %q, want %q", value, got, want)
		}
	}
}

func TestBadFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-nonsense":      "not defined",
		"word":           `"word" is no flag`,
		"-rounds 0":      "at least 1",
		"-size 0":        "1 to 1000000 MB",
		"-time 1h":       "0s to 30s",
		"-idle -1":       "0 to 20000",
		"-ways carrier":  "there is no such way",
		"-rows ( ":       "missing closing )",
		"-rows smell":    "there is no such row",
		"-strict":        "no -baseline",
		"-rounds ninety": "invalid value",
	} {
		var errs strings.Builder
		if code := command(t.Context(), strings.Fields(args), &errs, &errs); code != exitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: exit code %d, want 2 and %q:\n%s", args, code, want, &errs)
		}
	}
}

// TestLoopback takes every load for a moment, without the program.
func TestLoopback(t *testing.T) {
	b := &bench{ways: twoWays()[:1], rows: rows(0), rounds: 2, size: 1 << 20, time: time.Millisecond, progress: new(strings.Builder)}
	if err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := b.report()
	for _, each := range b.rows {
		for _, f := range each.figures {
			if _, ok := r.Figures[f.name][loopback]; !ok && !f.absolute && f.unit != "CPU s/GB" {
				t.Errorf("%s: no figure at loopback", f.name)
			}
		}
	}
}

// TestFailure names the way and the row.
func TestFailure(t *testing.T) {
	b := &bench{ways: twoWays()[:1], rounds: 1, progress: new(strings.Builder), rows: []row{
		{name: "upload", run: func(t *turn) error { return context.DeadlineExceeded }},
	}}
	if err := b.run(t.Context()); err == nil || err.Error() != "loopback: upload: context deadline exceeded" {
		t.Errorf("failed with %v", err)
	}
}
