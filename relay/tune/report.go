package tune

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"relaymux/config"
)

// A Report is what was measured, and what to do about it.
type Report struct {
	Budget  int           `json:"budget"`
	Used    int           `json:"used"` // exchanges
	Took    time.Duration `json:"took_ns"`
	Stopped string        `json:"stopped,omitempty"` // why it ended before all was known
	Pipe    string        `json:"pipe,omitempty"`    // the deployment by which everything goes as one long exchange

	Ways        []*Way        `json:"deployments"`
	Comparisons []*Comparison `json:"comparisons"`
	Notes       []string      `json:"notes,omitempty"`

	InUse  Settings `json:"in_use"`
	Best   Settings `json:"best"`
	Advice []Advice `json:"advice"` // none: what is in use is best, as far as is known
}

// The wires.
const (
	wireJSON = "json"
	wireLink = "link"
	wireText = "link in text"
)

// A Way is what was found out about a deployment.
type Way struct {
	Name    string `json:"name"`
	Account string `json:"account"`
	Wire    string `json:"wire"` // wireJSON, ...
	Error   string `json:"error,omitempty"`

	RTT   time.Duration `json:"rtt_ns"` // the median
	Least time.Duration `json:"rtt_least_ns"`
	Most  time.Duration `json:"rtt_most_ns"`
	Lost  int           `json:"lost,omitempty"` // of the exchanges that measured it

	Slots  *Slots `json:"slots,omitempty"`          // nil: not measured by this one
	Body   *Body  `json:"body,omitempty"`           // likewise
	Answer int    `json:"largest_answer,omitempty"` // bytes of the largest that came
}

// A Comparison is of two settings.
type Comparison struct {
	Change  string    `json:"change"`
	Parts   []Outcome `json:"parts,omitempty"`
	Untried string    `json:"untried,omitempty"` // why
	Taken   bool      `json:"taken"`
	Why     string    `json:"why,omitempty"`
}

// An Outcome is of one part of a load.
type Outcome struct {
	Part    string  `json:"part"`
	Verdict         // of those with the change against those without
	With    []Trial `json:"with"`
	Without []Trial `json:"without"`
}

// A Trial is one of a part of a load.
type Trial struct {
	Seconds   []float64 `json:"seconds"` // of a bulk: up, down
	Exchanges int       `json:"exchanges"`
}

func show(list []sample) (runs []Trial) {
	for _, s := range list {
		r := Trial{Exchanges: s.exchanges}
		for _, d := range s.took {
			r.Seconds = append(r.Seconds, d.Round(time.Millisecond).Seconds())
		}
		runs = append(runs, r)
	}
	return runs
}

func (c *Comparison) better() bool {
	return slices.ContainsFunc(c.Parts, func(o Outcome) bool { return o.Better }) &&
		!slices.ContainsFunc(c.Parts, func(o Outcome) bool { return o.Worse })
}

func (c *Comparison) worse() bool {
	return slices.ContainsFunc(c.Parts, func(o Outcome) bool { return o.Worse }) &&
		!slices.ContainsFunc(c.Parts, func(o Outcome) bool { return o.Better })
}

// gain is what trials say, in words.
func (c *Comparison) gain() string {
	var list []string
	for _, o := range c.Parts {
		list = append(list, o.String())
	}
	return strings.Join(list, ", ")
}

func (o Outcome) String() string {
	return fmt.Sprintf("%s %.2f times as fast with %.2f times the exchanges", o.Part, o.Faster, 1/max(o.Cheaper, 1e-6))
}

// An Advice is a key that should be another.
type Advice struct {
	Section string `json:"section"` // "batch", or "account"
	Account string `json:"account,omitempty"`
	Key     string `json:"key"`
	From    string `json:"from"` // as it would be written
	To      string `json:"to"`
	Why     string `json:"why"`
}

// advice is what differs between two settings.
func advice(from, to Settings, why map[string]string) (list []Advice) {
	add := func(key, a, b string) {
		if a != b {
			list = append(list, Advice{Section: "batch", Key: key, From: a, To: b, Why: why[key]})
		}
	}
	add("max_ops", strconv.Itoa(from.MaxOps), strconv.Itoa(to.MaxOps))
	add("max_bytes", size(from.MaxBytes), size(to.MaxBytes))
	add("coalesce_step", quoted(from.CoalesceStep.String()), quoted(to.CoalesceStep.String()))
	add("coalesce_max", quoted(from.CoalesceMax.String()), quoted(to.CoalesceMax.String()))
	for _, name := range accountNames(to) {
		if a, b := from.Slots[name], to.Slots[name]; a != b {
			list = append(list, Advice{Section: "account", Account: name, Key: "slots",
				From: strconv.Itoa(a), To: strconv.Itoa(b), Why: why[slotsKey(name)]})
		}
	}
	return list
}

func size(n int) string { return quoted(config.Size(n).String()) }

func quoted(s string) string { return strconv.Quote(s) }

func slotsKey(account string) string { return "slots of " + account }

func accountNames(s Settings) (names []string) {
	for name := range s.Slots {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// changed are the keys that differ.
func changed(from, to Settings) (keys []string) {
	for _, a := range advice(from, to, nil) {
		if a.Section == "account" {
			keys = append(keys, slotsKey(a.Account))
		} else {
			keys = append(keys, a.Key)
		}
	}
	return keys
}

// difference is what changes, in words.
func difference(from, to Settings) string {
	var list []string
	for i, a := range advice(from, to, nil) {
		list = append(list, fmt.Sprintf("%s %s -> %s", changed(from, to)[i], strings.Trim(a.From, `"`), strings.Trim(a.To, `"`)))
	}
	return strings.Join(list, ", ")
}
