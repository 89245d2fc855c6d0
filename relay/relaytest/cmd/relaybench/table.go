package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A table is lines of cells, the first of them the head.
type table [][]string

func newTable(corner string, ways []way) table {
	head := []string{corner}
	for _, w := range ways {
		head = append(head, w.name)
	}
	return table{head}
}

// add adds a line, unless all cells from the given one on are blank.
func (t *table) add(line []string, from int) {
	if strings.Join(line[from:], "") != "" {
		*t = append(*t, line)
	}
}

// tableOf is a report as a table: each figure with its ratio to plain loopback.
func tableOf(r *report, figures []figure, ways []way) table {
	t := newTable("", ways)
	for _, f := range figures {
		line := []string{f.label()}
		for _, w := range ways {
			value, ok := r.Figures[f.name][w.name]
			cell := ""
			if ok {
				cell = short(value)
			}
			if ratio, ok := r.ratio(f, w.name); ok && w.name != loopback {
				cell += " (" + short(ratio) + ")"
			}
			line = append(line, cell)
		}
		t.add(line, min(2, len(ways))) // what only loopback has says nothing, beside others
	}
	return t
}

// short is a value with three digits that count.
func short(value float64) string {
	switch {
	case value >= 99.95:
		return fmt.Sprintf("%.0f", value)
	case value >= 9.995:
		return fmt.Sprintf("%.1f", value)
	case value >= 0.9995:
		return fmt.Sprintf("%.2f", value)
	}
	return fmt.Sprintf("%.3f", value)
}

// print prints the table in columns, numbers to the right.
func (t table) print(w io.Writer) {
	widths := make([]int, len(t[0]))
	for _, line := range t {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range t {
		var b strings.Builder
		fmt.Fprintf(&b, "%-*s", widths[0], line[0])
		for i, cell := range line[1:] {
			fmt.Fprintf(&b, "  %*s", widths[i+1], cell)
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// printMarkdown prints the table for the README.
func (t table) printMarkdown(w io.Writer) {
	for i, line := range t {
		fmt.Fprintf(w, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|---|%s\n", strings.Repeat("--:|", len(line)-1))
		}
	}
}
