package tune

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"relaymux/config"
)

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// WriteText writes it for a person: tables of what was measured, and what of a config
// file should be another.
func (r *Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "deployment\twire\tround trip\tat once\trequest up to\tMB/s up\tlargest answer")
	for _, d := range r.Ways {
		if d.Error != "" {
			fmt.Fprintf(t, "%s\t%s\tdoes not work: %s\n", d.Name, d.Wire, d.Error)
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%v\t%v\t%s\t%s\n", d.Name, d.Wire, trip(d), d.Slots, d.Body, speed(d.Body), answer(d.Answer))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(r.Comparisons) > 0 {
		fmt.Fprintln(t, "\ntried\tload\tspeed\texchanges\t")
	}
	for _, c := range r.Comparisons {
		c.write(t)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(t, "\n%s\n", n)
	}
	fmt.Fprintf(t, "\n%d of at most %d exchanges, in %v", r.Used, r.Budget, r.Took.Round(time.Second))
	if r.Stopped != "" {
		fmt.Fprintf(t, "; stopped: %s", r.Stopped)
	}
	fmt.Fprintln(t, ".")
	r.writeAdvice(t)
	return t.Flush()
}

func trip(d *Way) string {
	if d.RTT == 0 {
		return "-"
	}
	s := fmt.Sprintf("%.2f s (%.2f..%.2f)", d.RTT.Seconds(), d.Least.Seconds(), d.Most.Seconds())
	if d.Lost > 0 {
		s += fmt.Sprintf(", %d of %d lost", d.Lost, samples)
	}
	return s
}

func speed(b *Body) string {
	if b == nil || b.Speed == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", b.Speed/1e6)
}

// answerShown is from where on the largest answer says anything.
const answerShown = 50_000

func answer(n int) string {
	if n < answerShown {
		return "-"
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

func (c *Comparison) write(w io.Writer) {
	word := "no: not clearly better"
	switch {
	case c.Taken && c.Untried != "":
		word = "yes, untried: " + c.Untried
	case c.Taken:
		word = "yes"
	case c.Untried != "":
		word = "untried: " + c.Untried
	}
	if len(c.Parts) == 0 {
		fmt.Fprintf(w, "%s\t-\t-\t-\t%s\n", c.Change, word)
	}
	for _, o := range c.Parts {
		fmt.Fprintf(w, "%s\t%s\t%.2f\t%.2f\t%s\n", c.Change, o.Part, o.Faster, 1/max(o.Cheaper, 1e-6), word)
	}
}

// writeAdvice writes the sections that should be another, to be put into the file by
// its owner.
func (r *Report) writeAdvice(w io.Writer) {
	switch {
	case r.Pipe != "":
		fmt.Fprintf(w, "\nEverything goes by one long exchange, through %s: neither slots nor [batch] matter. What you have is best.\n", r.Pipe)
		return
	case len(r.Advice) == 0 && slices.ContainsFunc(r.Comparisons, func(c *Comparison) bool { return c.Untried != "" }):
		fmt.Fprintln(w, "\nWhat you have is best, of what was tried.")
		return
	case len(r.Advice) == 0 && r.Stopped == "":
		fmt.Fprintln(w, "\nWhat you have is best.")
		return
	case len(r.Advice) == 0:
		fmt.Fprintln(w, "\nNothing better than what you have was found so far.")
		return
	}
	fmt.Fprintln(w, "\nRecommended, for you to put into the config file:")
	in := ""
	for _, a := range r.Advice {
		switch {
		case a.Section == "batch" && in != "batch":
			fmt.Fprintln(w, "\n[batch]")
		case a.Section == "account":
			fmt.Fprintf(w, "\n[[account]]\nname = %q  # as account in its [[deployment]]; all other keys of the account as they are\n", a.Account)
		}
		in = a.Section
		fmt.Fprintf(w, "# was %s; %s\n%s = %s\n", a.From, a.Why, a.Key, a.To)
	}
}

// Statement is what the user is told before anything leaves.
func (c *Config) Statement() string {
	s := fmt.Sprintf("At most %d exchanges with your node, and up to about %v each way.", c.Budget, config.Size(bulkMost*2*pairsMost*2+bodyMost))
	for _, a := range c.Accounts {
		if a.Daily > 0 {
			s += fmt.Sprintf(" Account %s has %d a day", a.Name, a.Daily)
			if a.Quota != nil {
				s += fmt.Sprintf(", %d left", a.Quota.Left(time.Now()))
			}
			s += "."
		}
	}
	return s
}
