package relaytest

import (
	"fmt"
	"os"
	"testing"
)

// TestSoakNumbers carries a hundred times what TestNumbers carries both ways
// under faults.
func TestSoakNumbers(t *testing.T) {
	if os.Getenv(soakEnv) == "" {
		t.Skip("set " + soakEnv)
	}
	w := work{name: "100 both ways", unit: "s", do: bothWays(crowd(100))}
	for _, c := range carriages {
		for _, path := range []*roadworks{faulty, harsh} {
			for _, seed := range path.seeds(100) {
				t.Run(fmt.Sprintf("%s/%s/%d", c.name, path.name, seed), func(t *testing.T) { w.run(t, c, bounds{path: path}, seed) })
			}
		}
	}
}
