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
// it, and at last the first thing to do.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range r.Findings {
		fmt.Fprintf(t, "%s\n", f.Name)
		for _, l := range f.Legs {
			took := ""
			if l.Millis > 0 {
				took = fmt.Sprintf("%.1f ms", l.Millis)
			}
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", l.Name, l.Status, took, l.Detail)
			if l.Remedy != "" {
				fmt.Fprintf(t, "  \t\t\t-> %s\n", l.Remedy)
			}
		}
	}
	if name, l := r.FirstBroken(); l != nil {
		fmt.Fprintf(t, "\n%s: %s is broken: %s\n", name, l.Name, l.Detail)
		if l.Remedy != "" {
			fmt.Fprintf(t, "What to do: %s\n", l.Remedy)
		}
	} else {
		fmt.Fprint(t, "\nNothing is broken.\n")
	}
	return t.Flush()
}
