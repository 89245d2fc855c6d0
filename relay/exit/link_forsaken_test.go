package exit

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestLinkForsaken: an exchange that the client has given up, while its relay still
// waits for it, took the news with it, and they came again only after the next.
func TestLinkForsaken(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		a := c.connect("silent.test")
		c.until("the dial", func() bool { return a.opened })
		_, body := c.request(ask(time.Minute))
		given := make(chan []byte, 1)
		go func() {
			answer, _ := c.post(t.Context(), body)
			given <- answer
		}()
		synctest.Wait()
		c.with(func() { c.awaited = nil })
		kept := c.answeredWith(t.Context(), time.Minute)
		select {
		case answer := <-given:
			if len(answer) > 100 {
				t.Errorf("%d bytes for nobody", len(answer))
			}
		default:
			t.Error("it is still held")
		}
		_, _ = r.world.far("silent.test").Write([]byte("news"))
		start := time.Now()
		if err := <-kept; err != nil || string(a.got) != "news" || time.Since(start) > time.Second {
			t.Errorf("%q after %v, %v", a.got, time.Since(start), err)
		}
	})
}
