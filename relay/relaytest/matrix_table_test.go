package relaytest

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// judge says what must be true after a cell.
func (c *cell) judge(book *logbook) {
	t, h := c.t, c.host
	for _, f := range h.Faults() {
		t.Error(f)
	}
	refused := h.Refused.Load()
	if c.rests || c.lasts >= attemptMost {
		refused = 0 // these had no way for longer than an attempt lasts
	}
	if n := h.Lost.Load() + refused; c.link() && !c.lost && n > 0 {
		t.Errorf("%d connections were reset, %d refused: %s", h.Lost.Load(), h.Refused.Load(), strings.Join(h.Losses(), "\n"))
	}
	began := time.Now()
	for n := 0; !h.Visit(t.Context(), c.app, errand{Up: 1000, Down: 1000}); n++ {
		if n == 100 || time.Since(began) > 10*time.Minute {
			t.Fatal("nothing works any more")
		}
		time.Sleep(time.Second)
	}
	c.back = time.Since(began)
	if c.back > mostBack {
		t.Errorf("it works again only after %v", c.back)
	}
	c.exchanges = int(c.s.Stats.Exchanges.Load())
	if most := mostExchanges(time.Since(c.began)); c.exchanges > most {
		t.Errorf("%d exchanges, want %d at most", c.exchanges, most)
	}
	c.s.wantNoneBroken(t, book)
	if t.Failed() {
		t.Log(book.loud())
	}
	struck := true
	if c.named == "broken" { // by chance, which may not have struck
		did := c.s.Relay.Stats().Exchanges
		struck = did[LostBefore]+did[LostAfter] > 0
	}
	if c.named != "" && struck && !book.has("outcome="+c.named) {
		t.Errorf("no outcome=%s in the log", c.named)
	}
}

// mostExchanges is how many exchanges a cell may take that lasts so long. What it carries
// needs one or two a second, and of datagrams, of which there are ten a second, as many;
// each fault makes some go again.
func mostExchanges(long time.Duration) int { return 100 + int(12*long/time.Second) }

// mostBack is how long after a fault a connection may take to be of use.
const mostBack = 2 * time.Minute

// A matrixTable is what the cells came to, by fault.
type matrixTable struct {
	mu   sync.Mutex
	sums map[string]*sums
}

func newMatrixTable() *matrixTable { return &matrixTable{sums: make(map[string]*sums)} }

// sums are those of some cells.
type sums struct {
	cells, exchanges          int
	flows, bytes, said, heard int64
	lost, refused             map[string]int64 // by wire
	stall                     map[string]time.Duration
}

func newSums() *sums {
	return &sums{lost: make(map[string]int64), refused: make(map[string]int64), stall: make(map[string]time.Duration)}
}

// add takes a cell into its fault's line, and into the last.
func (m *matrixTable) add(c *cell) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range []string{c.row.name, "all"} {
		if m.sums[name] == nil {
			m.sums[name] = newSums()
		}
		s, h := m.sums[name], c.host
		s.cells++
		s.exchanges += c.exchanges
		s.flows += h.Flows.Load()
		s.bytes += h.Bytes.Load()
		s.said += h.Said.Load()
		s.heard += h.Heard.Load()
		s.lost[c.wire] += h.Lost.Load()
		s.refused[c.wire] += h.Refused.Load()
		stall, _ := h.Stall()
		s.stall[c.wire] = max(s.stall[c.wire], stall)
	}
}

// tell prints the table, and writes it where the environment says.
func (m *matrixTable) tell(t *testing.T, seed uint64) {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\n\n| fault | cells | connections | MB compared | lost: link | json | refused: link | json | datagrams | came back | longest stall: link | json | exchanges |\n|---%s|\n",
		seed, strings.Repeat("|--:", 12))
	for _, r := range append(rows[:len(rows):len(rows)], row{name: "all"}) {
		if s := m.sums[r.name]; s != nil {
			fmt.Fprintf(&b, "| %s | %d | %d | %.1f | %d | %d | %d | %d | %d | %d | %.1f s | %.1f s | %d |\n", r.name, s.cells, s.flows, float64(s.bytes)/1e6,
				s.lost["link"], s.lost["json"], s.refused["link"], s.refused["json"], s.said, s.heard, s.stall["link"].Seconds(), s.stall["json"].Seconds(), s.exchanges)
		}
	}
	t.Log(b.String())
	if file := os.Getenv(matrixTableEnv); file != "" {
		check(t, os.WriteFile(file, []byte(b.String()), 0o600))
	}
}
