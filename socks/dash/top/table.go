package top

import (
	"math"
	"strings"

	"charm.land/lipgloss/v2"

	"relaymux/socks/dash"
)

// A table is rows of cells, the first of which is the head.
type table [][]cell

// A cell is text, which may have come from the network.
type cell struct {
	text  string
	right bool // stands at the right of its column
	most  int  // columns of the screen; 0: as many as it needs
	style lipgloss.Style
}

// lines are the rows as they are drawn, with all columns as wide as they must be.
func (t table) lines(p painter) (lines []string) {
	var wide []int
	for _, row := range t {
		for i := range row {
			row[i].text = fit(dash.Clean(row[i].text), row[i].most)
			if i == len(wide) {
				wide = append(wide, 0)
			}
			wide[i] = max(wide[i], lipgloss.Width(row[i].text))
		}
	}
	for n, row := range t {
		var line strings.Builder
		for i, c := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			text, pad := c.style.Render(c.text), strings.Repeat(" ", wide[i]-lipgloss.Width(c.text))
			if n == 0 {
				text = p.head.Render(c.text)
			}
			if c.text == "" {
				text = ""
			}
			if c.right {
				text = pad + text
			} else {
				text += pad
			}
			line.WriteString(text)
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	return lines
}

// fit is text that takes at most so many columns of the screen; 0 is no limit. Its end
// says what it is more often than its middle: the port of a host.
func fit(text string, most int) string {
	if most == 0 || lipgloss.Width(text) <= most {
		return text
	}
	runes := []rune(text)
	from, to := 0, len(runes)
	for left := most*2/3 - 1; from < to && left >= width(runes[from]); from++ {
		left -= width(runes[from])
	}
	for left := most - most*2/3; to > from && left >= width(runes[to-1]); to-- {
		left -= width(runes[to-1])
	}
	return string(runes[:from]) + "…" + string(runes[to:])
}

// width is of a rune on its own; together some take less. One that takes nothing counts
// too, so that what is shown is not much longer than it is wide.
func width(r rune) int { return max(1, lipgloss.Width(string(r))) }

// spark draws the latest of the values in so many columns, the largest at full height.
func spark(values []uint64, columns int) string {
	levels := []rune("▁▂▃▄▅▆▇█")
	values = values[max(0, len(values)-columns):]
	most := uint64(1)
	for _, v := range values {
		most = max(most, v)
	}
	out := []rune(strings.Repeat(" ", columns-len(values)))
	for _, v := range values {
		out = append(out, levels[int(float64(v)/float64(most)*float64(len(levels)-1))])
	}
	return string(out)
}

// bar draws n of all in so many columns, whatever the numbers: they may be anybody's.
func bar(n, all, columns int) string {
	n, full := max(0, min(n, all)), 0
	if all > math.MaxInt/(columns+1) {
		n, all = n/(columns+1), all/(columns+1)
	}
	if all > 0 {
		full = (n*columns + all - 1) / all
	}
	return strings.Repeat("█", full) + strings.Repeat("░", columns-full)
}

// load is the look of n of all.
func load(p painter, n, all int) lipgloss.Style {
	switch {
	case n >= all:
		return p.bad
	case n*10 >= all*8:
		return p.slow
	}
	return p.good
}
