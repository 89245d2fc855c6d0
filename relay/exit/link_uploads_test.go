package exit

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestHostile82_LinkUploadsBound: uploads to targets that do not read took what all
// windows had together, however little memory there was.
func TestHostile82_LinkUploadsBound(t *testing.T) {
	const memory, n = 32 << 20, 600
	text := strings.Repeat("x", streamWindow)
	for name, links := range map[string]int{"one link": 1, "many links": n / 5} {
		t.Run(name, func(t *testing.T) {
			linked(t, Config{Memory: memory}, func(t *testing.T, r *rig) {
				var all []*linkClient
				for i := range n {
					if i < links {
						all = append(all, r.link("ann"))
						time.Sleep(time.Second / hellosPerSecond)
					}
					c := all[i%links]
					c.write(c.connect("hang.test"), text)
					if i < links || i%10 == 0 {
						c.must()
					}
				}
				most := int64(0)
				for range 3 {
					for _, c := range all {
						c.must()
						most = max(most, r.node.uploads.Used())
					}
					synctest.Wait()
				}
				limit := r.node.uploads.Limit()
				if most < limit || most > 2*limit+n*lean+windowLeast {
					t.Errorf("%d bytes wait, the memory is %d", most, limit)
				}
				if over := r.node.Stats().Overruns; (over > 0) != (links > 1) {
					t.Errorf("%d streams were reset", over)
				}
				for _, c := range all {
					c.must()
				}
			})
		})
	}
}
