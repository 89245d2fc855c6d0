package exit

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/link"
)

// A pipeEnd is a client's end of a pipe.
type pipeEnd struct {
	c    *linkClient
	id   uint64
	sent uint32
	up   *io.PipeWriter
	w    *pipeRecorder
	over chan struct{} // closed: the node has ended it
}

// A pipeRecorder keeps what the node writes.
type pipeRecorder struct {
	*httptest.ResponseRecorder
	lots chan []byte
}

func (p *pipeRecorder) Write(b []byte) (int, error) {
	p.lots <- bytes.Clone(b)
	return len(b), nil
}

func (p *pipeRecorder) WriteString(s string) (int, error) { return p.Write([]byte(s)) }

// message is the next one of the pipe.
func (p *pipeEnd) message(a link.Ask) []byte {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	m := p.c.conn.Plan(time.Now(), p.id, &a, link.Limits{Bytes: 1 << 20})
	m.First = p.sent
	p.sent += uint32(m.Records())
	var head []byte
	if m.First == 0 {
		head = link.AppendPipeHead(nil, p.c.keys.ID(), p.id)
	}
	body, err := m.AppendSealed(head, p.c.keys.Sealer(link.Up))
	if err != nil {
		p.c.t.Fatal(err)
	}
	return body
}

// pipe begins a pipe with message, or with a question if that is nil.
func (c *linkClient) pipe(message []byte) *pipeEnd {
	c.exchange++
	p := &pipeEnd{c: c, id: c.exchange, over: make(chan struct{})}
	p.w = &pipeRecorder{httptest.NewRecorder(), make(chan []byte, 1000)}
	body, up := io.Pipe()
	p.up = up
	if message == nil {
		message = p.message(link.Ask{Room: 1 << 20})
	}
	req := httptest.NewRequestWithContext(c.t.Context(), http.MethodPost, pathLink, body)
	req.ContentLength = -1
	go func() {
		defer close(p.over)
		defer body.Close()
		c.r.node.ServeHTTP(p.w, req)
	}()
	if _, err := up.Write(message); err != nil {
		c.t.Fatal(err)
	}
	return p
}

// TestLinkPipe: the node answers what is asked at once, what it was told within
// pipeAck, and what it is silent about every pipeKeep.
func TestLinkPipe(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		p := r.link("ann").pipe(nil)
		next := func() (lot []byte, took time.Duration) {
			began := time.Now()
			lot = <-p.w.lots
			return lot, time.Since(began)
		}
		if lot, took := next(); link.KindOf(lot) != link.KindPiped || took != 0 {
			t.Errorf("%x after %v", lot[0], took)
		}
		for _, c := range []struct {
			hold uint64
			want time.Duration
		}{{1000, pipeAck}, {0, 0}} {
			_, _ = p.up.Write(p.message(link.Ask{Hold: c.hold, Room: 1 << 20}))
			if _, took := next(); took != c.want {
				t.Errorf("hold %d: an answer after %v", c.hold, took)
			}
		}
		for range 3 {
			if _, took := next(); took != pipeKeep {
				t.Errorf("without news an answer after %v", took)
			}
		}
		time.Sleep(r.node.reapAfter * 2)
		if n, _ := r.node.links.size(); n != 1 {
			t.Error("the link is gone")
		}
		p.up.Close()
		<-p.over
		if s := r.node.Stats(); s.Memory != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestLinkPipeStrangers: who has no key, or repeats what was said, gets the one 404
// when his request has ended.
func TestLinkPipeStrangers(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		one := c.pipe(nil)
		one.up.Close()
		<-one.over
		repeated := (&pipeEnd{c: c, id: c.exchange + 1}).message(link.Ask{Room: 1 << 20})
		second := c.pipe(repeated)
		second.up.Close()
		<-second.over
		forged := (&pipeEnd{c: c, id: c.exchange + 1}).message(link.Ask{Room: 1 << 20})
		forged[len(forged)-1] ^= 1
		unknown := bytes.Clone(forged)
		unknown[3] ^= 1
		for name, message := range map[string][]byte{
			"repeated": repeated, "forged": forged, "unknown": unknown, "no records": forged[:link.RequestHead], "cut": forged[:10],
			"a word": []byte("x"),
		} {
			p := c.pipe(message)
			synctest.Wait()
			select {
			case <-p.over:
				t.Errorf("%s: answered before its end", name)
			default:
			}
			p.up.Close()
			<-p.over
			if got := string(<-p.w.lots); p.w.Code != http.StatusNotFound || got != "404 page not found\n" {
				t.Errorf("%s: %d, %q", name, p.w.Code, got)
			}
		}
		if s := r.node.Stats(); s.Memory != 0 || s.LinkReplayed != 1 || s.LinkForged != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestLinkPipeForgedLater: what is changed in the middle ends the pipe, and nothing
// else.
func TestLinkPipeForgedLater(t *testing.T) {
	linked(t, Config{}, func(t *testing.T, r *rig) {
		c := r.link("ann")
		p := c.pipe(nil)
		<-p.w.lots
		m := p.message(link.Ask{Room: 1 << 20})
		m[len(m)-1] ^= 1
		_, _ = p.up.Write(m)
		<-p.over
		if err := c.do(ask(0)); err != nil {
			t.Error(err)
		}
		if s := r.node.Stats(); s.LinkForged != 1 || s.LinkBroken != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestLinkPipeEnds: with the node, and with the client's secret.
func TestLinkPipeEnds(t *testing.T) {
	for name, end := range map[string]func(*Node){
		"the node stops": (*Node).Close, "the client is out": func(n *Node) { n.SetClients(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			linked(t, Config{}, func(t *testing.T, r *rig) {
				p := r.link("ann").pipe(nil)
				<-p.w.lots
				end(r.node)
				<-p.over
			})
		})
	}
}
