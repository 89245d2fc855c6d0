package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// WriteTable writes the report for a person: a line for each leg, what to do below
// it, and at last the first thing to do for each that is broken. What has no leg but
// the broken one stands there alone.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	gap := ""
	for i := range r.Findings {
		f := &r.Findings[i]
		if len(f.Legs) == 1 && f.broken() != nil {
			continue
		}
		f.write(t)
		gap = "\n"
	}
	fmt.Fprint(t, gap)
	r.writeEnd(t)
	return t.Flush()
}

func (f *Finding) write(w io.Writer) {
	fmt.Fprintf(w, "%s\n", f.Name)
	for _, l := range f.Legs {
		took := ""
		if l.Millis > 0 {
			took = fmt.Sprintf("%.1f ms", l.Millis)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", l.Name, l.Status, took, l.Detail)
		if l.Remedy != "" {
			fmt.Fprintf(w, "  \t\t\t-> %s\n", l.Remedy)
		}
	}
}

// writeEnd writes the first broken leg of each finding. A remedy that the next one has
// too is left to that.
func (r *Report) writeEnd(w io.Writer) {
	remedy := ""
	tell := func() {
		if remedy != "" {
			fmt.Fprintf(w, "What to do: %s\n", remedy)
		}
	}
	broken := false
	for i := range r.Findings {
		f := &r.Findings[i]
		l := f.broken()
		if l == nil {
			continue
		}
		if broken = true; l.Remedy != remedy {
			tell()
		}
		remedy = l.Remedy
		fmt.Fprintf(w, "%s: %s is broken: %s\n", f.Name, l.Name, l.Detail)
	}
	if tell(); !broken {
		fmt.Fprint(w, "Nothing is broken.\n")
	}
}
