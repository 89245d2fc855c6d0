package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// report prints what came of it, and returns what is not as it should be.
func (w *world) report(out io.Writer) error {
	var wrong []error
	miss := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	fmt.Fprintf(out, "\n| way | flows | GB compared | lost | by restarts | refused | datagrams | came | longest stall | exchanges | at the relay | faults |\n%s\n", rule(12))
	for _, c := range w.clients {
		w.reportClient(out, c, miss)
	}
	fmt.Fprint(out, "\nThe longest stalls, when they were over:\n\n")
	for _, c := range w.clients {
		stall, of := c.host.Stall()
		fmt.Fprintf(out, "* %s: %v, %s\n", c.way.name, stall.Round(10*time.Millisecond), of)
	}
	minutes := w.done.Sub(w.busy).Minutes()
	fmt.Fprintf(out, "\nSlopes are of the minima of minutes, of %.0f minutes without the first %.0f. At rest: before, and after.\n\n", minutes, warmUp(minutes).Minutes())
	fmt.Fprintf(out, "| process | lives | KB of heap/min | KB resident/min | fds/min | goroutines/min | MB of heap at rest | MB resident at rest | fds at rest | goroutines at rest | most MB resident |\n%s\n", rule(11))
	for _, m := range w.members() {
		w.reportMember(out, m, minutes, miss)
	}
	fmt.Fprintf(out, "| bound, if not by chance | | - | - | %.2f | %.2f | +%d | - | +%d | +%d | %d |\n\n", mostSlope[descriptors], mostSlope[goroutines],
		mostMore[heap]>>10, mostMore[descriptors], mostMore[goroutines], mostResident>>10)
	return errors.Join(wrong...)
}

func rule(columns int) string { return "|---" + strings.Repeat("|--:", columns-1) + "|" }

// warmUp is how much of the beginning does not count: a heap grows until it has seen the
// worst of the load.
func warmUp(minutes float64) time.Duration {
	return time.Duration(min(20, minutes/3) * float64(time.Minute))
}

// mostMore is how much more a process at rest may have than before.
var mostMore = [figures]int{heap: 8 << 10, memory: math.MaxInt, descriptors: 8, goroutines: 12}

// mostResident is how many KB a process may ever take: the heap's limit where limits.memory
// is 64 MiB, 144 MiB, and for the program's own file and its stacks 32.
const mostResident = 176 << 10

// mostStall is the longest stall on the link: the longest fault, the longest rest of a relay
// that follows, and the exchange that finds it well.
const mostStall = 90 * time.Second

func (w *world) reportClient(out io.Writer, c *client, miss func(string, ...any)) {
	h := c.host
	for _, f := range h.Faults() {
		miss("%s: %s", c.way.name, f)
	}
	if n := h.Lost.Load(); c.link && n > 0 {
		miss("%s: %d connections were lost", c.way.name, n)
	}
	if h.Whole.Load() < h.Flows.Load()/2 {
		miss("%s: only %d of %d connections were whole", c.way.name, h.Whole.Load(), h.Flows.Load())
	}
	stall, of := h.Stall()
	if c.link && stall > mostStall {
		miss("%s: a stall of %v: %s", c.way.name, stall, of)
	}
	n, err := c.count()
	if err != nil || len(n.Accounts) == 0 {
		miss("%s: its status: %v", c.way.name, err)
		return
	}
	seen := "-"
	if c.relay != nil {
		relays := c.relay.Stats()
		seen = fmt.Sprint(relays.Total())
		if d := n.Totals.Exchanges - int64(relays.Total()); d < -2 || d > 2+n.Totals.Exchanges/1000 {
			miss("%s: it tells of %d exchanges, the relay of %d", c.way.name, n.Totals.Exchanges, relays.Total())
		}
	}
	if d := n.Totals.Exchanges - n.Accounts[0].Used; d != 0 {
		miss("%s: it tells of %d exchanges, the ledger of %d", c.way.name, n.Totals.Exchanges, n.Accounts[0].Used)
	}
	struck := 0
	var kinds []string
	for name, n := range c.faults {
		struck += n
		kinds = append(kinds, name)
	}
	slices.Sort(kinds)
	fmt.Fprintf(out, "| %s | %d | %.2f | %d | %d | %d | %d | %d | %v | %d | %s | %d of %d kinds |\n", c.way.name, h.Flows.Load(), float64(h.Bytes.Load())/1e9,
		h.Lost.Load(), h.Ended.Load(), h.Refused.Load(), h.Said.Load(), h.Heard.Load(), stall.Round(10*time.Millisecond),
		n.Totals.Exchanges, seen, struck, len(kinds))
}

func (w *world) reportMember(out io.Writer, m *member, minutes float64, miss func(string, ...any)) {
	fmt.Fprintf(out, "| %s | %d |", m.name, m.life)
	names := [figures]string{"KB of heap", "KB resident", "descriptors", "goroutines"}
	for figure := range figures {
		points := minima(m.history(), figure, w.busy.Add(warmUp(minutes)), w.done, warmUp(minutes)/2)
		by, ok := slope(points)
		if !ok {
			fmt.Fprint(out, " - |")
			continue
		}
		fmt.Fprintf(out, " %.2f ± %.2f |", by, chance(points, by))
		if by > bound(figure, points, by) {
			miss("%s: %.2f %s more a minute", m.name, by, names[figure])
		}
	}
	before, after := m.rest[0].values, m.rest[1].values
	for figure := range figures {
		unit := 1.0
		if figure == heap || figure == memory {
			unit = 1024
		}
		fmt.Fprintf(out, " %.0f, %.0f |", before[figure]/unit, after[figure]/unit)
		if after[figure] > before[figure]+float64(mostMore[figure]) {
			miss("%s at rest: %.0f %s, and %.0f before", m.name, after[figure], names[figure], before[figure])
		}
	}
	most := 0.0
	for _, s := range m.history() {
		most = max(most, s.values[memory])
	}
	fmt.Fprintf(out, " %.0f |\n", most/1024)
	if most > mostResident {
		miss("%s: %.0f KB resident", m.name, most)
	}
}
