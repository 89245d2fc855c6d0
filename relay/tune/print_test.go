package tune

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

func settings() Settings {
	return Settings{MaxOps: 50, MaxBytes: 4 << 20, CoalesceStep: 10 * time.Millisecond, CoalesceMax: time.Second, Slots: map[string]int{"a": 30, "b \"c\"": 30}}
}

// TestAdvice: only what differs is printed, as sections that a config file may have,
// with a reason each; also where a relay's words are in that.
func TestAdvice(t *testing.T) {
	from, to := settings(), settings()
	to.MaxBytes, to.CoalesceStep, to.Slots = 1<<20, 60*time.Millisecond, map[string]int{"a": 30, "b \"c\"": 5}
	why := map[string]string{"max_bytes": "too large: \"status\" 413", "coalesce_step": "cheaper", slotsKey("b \"c\""): "few"}
	r := &Report{InUse: from, Best: to, Advice: advice(from, to, why)}
	var out strings.Builder
	if err := r.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(out.String(), "Recommended, for you to put into the config file:")
	if !ok {
		t.Fatalf("nothing is recommended:\n%s", out.String())
	}
	var got struct {
		Batch   map[string]any
		Account []map[string]any
	}
	if _, err := toml.Decode(text, &got); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	if len(got.Batch) != 2 || got.Batch["max_bytes"] != "1MiB" || got.Batch["coalesce_step"] != "60ms" {
		t.Errorf("batch is %v", got.Batch)
	}
	if len(got.Account) != 1 || got.Account[0]["name"] != `b "c"` || got.Account[0]["slots"] != int64(5) {
		t.Errorf("accounts are %v", got.Account)
	}
	for key, reason := range why {
		if !strings.Contains(text, reason) {
			t.Errorf("%s has no reason in\n%s", key, text)
		}
	}
}

// TestWords: what is said where nothing is recommended.
func TestWords(t *testing.T) {
	for want, r := range map[string]*Report{
		"What you have is best.":                 {},
		"Nothing better than what you have was":  {Stopped: "interrupted"},
		"neither slots nor [batch] matter":       {Pipe: "direct"},
		"does not work: decoy: an HTML page":     {Ways: []*Way{{Name: "d", Error: "decoy: an HTML page"}}},
		"0.30 s (0.20..0.40), 1 of 5 lost":       {Ways: []*Way{{Name: "d", RTT: 3e8, Least: 2e8, Most: 4e8, Lost: 1}}},
		"5 of 30, others wait":                   {Ways: []*Way{{RTT: 1, Slots: &Slots{Asked: 30, Served: 5, Late: 25}}}},
		"5 of 30, others are refused":            {Ways: []*Way{{RTT: 1, Slots: &Slots{Asked: 30, Served: 5, Refused: 25}}}},
		"1MiB, not 1280KiB":                      {Ways: []*Way{{RTT: 1, Body: &Body{Asked: 4 << 20, Passed: 1 << 20, Failed: 1280 << 10}}}},
		"below 64KiB":                            {Ways: []*Way{{RTT: 1, Body: &Body{Asked: 4 << 20, Failed: 64 << 10}}}},
		"is best, of what was tried":             {Comparisons: []*Comparison{{Untried: "x"}}},
		"untried: the budget is too small":       {Comparisons: []*Comparison{{Change: "max_ops 50 -> 150", Untried: "the budget is too small"}}},
		"7 of at most 9 exchanges, in 3s; stopp": {Used: 7, Budget: 9, Took: 3 * time.Second, Stopped: "x"},
	} {
		var out strings.Builder
		if err := r.WriteText(&out); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%v, %q is not in\n%s", err, want, out.String())
		}
	}
}

// TestJSON is the same for programs.
func TestJSON(t *testing.T) {
	to := settings()
	to.MaxOps = 150
	r := &Report{Used: 3, InUse: settings(), Best: to, Advice: advice(settings(), to, map[string]string{"max_ops": "why"})}
	var out strings.Builder
	if err := r.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Advice) != 1 || got.Advice[0] != (Advice{Section: "batch", Key: "max_ops", From: "50", To: "150", Why: "why"}) || got.Best.MaxOps != 150 {
		t.Errorf("%+v", got)
	}
}
