package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const typeA = dnsmessage.TypeA

// TestAnswer: the server's answer comes with the program's id and spelling, again from
// the cache with less time to live, and from the server once that is over.
func TestAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, echoing(60))
		want(t, r.reply(ask(7, "eXample.ORG", typeA), 0), 7, dnsmessage.RCodeSuccess, 60)
		time.Sleep(59900 * time.Millisecond)
		a := r.reply(ask(8, "Example.org", typeA), 0)
		want(t, a, 8, dnsmessage.RCodeSuccess, 1)
		if name := parsed(t, a).Questions[0].Name.String(); name != "Example.org." {
			t.Errorf("the question comes back as %s", name)
		}
		if _, asked := r.far.count(); asked != 1 {
			t.Errorf("the server was asked %d times", asked)
		}
		time.Sleep(100 * time.Millisecond)
		want(t, r.reply(ask(9, "example.org", typeA), 0), 9, dnsmessage.RCodeSuccess, 60)
		want(t, r.reply(ask(9, "example.org", dnsmessage.TypeTXT), 0), 9, dnsmessage.RCodeSuccess, 60)
		want(t, r.reply(ask(9, longName, typeA), 0), 9, dnsmessage.RCodeSuccess, 60)
		if dials, asked := r.far.count(); asked != 4 || dials != 2 { // the first has been idle for a minute
			t.Errorf("the server was asked %d times by %d connections", asked, dials)
		}
		r.Close()
	})
}

// TestPipelining: many queries share a connection; their answers come in any order.
func TestPipelining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		var mu sync.Mutex
		var held [][]byte
		r := newRig(t, nil)
		r.far.answer = func(conn net.Conn, msg []byte) {
			mu.Lock()
			defer mu.Unlock()
			if held = append(held, msg); len(held) < n {
				return
			}
			for i := n - 1; i >= 0; i-- { // the last first
				echoing(60)(conn, held[i])
			}
		}
		var all sync.WaitGroup
		for i := range uint16(n) {
			all.Go(func() {
				a := r.reply(ask(i, fmt.Sprintf("n%d.example", i), typeA), 0)
				want(t, a, i, dnsmessage.RCodeSuccess, 60)
				if name := parsed(t, a).Answers[0].Header.Name.String(); name != fmt.Sprintf("n%d.example.", i) {
					t.Errorf("query %d got the answer for %s", i, name)
				}
			})
		}
		all.Wait()
		if dials, _ := r.far.count(); dials != 1 {
			t.Errorf("%d connections", dials)
		}
		r.Close()
	})
}

// TestSameQuestion: who asks the same at the same time shares one query.
func TestSameQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(conn net.Conn, msg []byte) {
			time.Sleep(time.Second)
			echoing(0)(conn, msg) // which is not kept
		})
		var all sync.WaitGroup
		for i := range uint16(20) {
			all.Go(func() { want(t, r.reply(ask(i, "example.org", typeA), 0), i, dnsmessage.RCodeSuccess, 0) })
		}
		all.Wait()
		want(t, r.reply(ask(30, "example.org", typeA), 0), 30, dnsmessage.RCodeSuccess, 0)
		if _, asked := r.far.count(); asked != 2 {
			t.Errorf("the server was asked %d times", asked)
		}
		r.Close()
	})
}

// TestPatience: a program hears of the failure before it gives up by itself, and what
// comes later is there when it asks again.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(conn net.Conn, msg []byte) {
			time.Sleep(7 * time.Second)
			echoing(60)(conn, msg)
		})
		began := time.Now()
		want(t, r.reply(ask(1, "slow.example", typeA), 0), 1, dnsmessage.RCodeServerFailure)
		if took := time.Since(began); took != patience {
			t.Errorf("the failure is told after %v", took)
		}
		want(t, r.reply(ask(2, "slow.example", typeA), 0), 2, dnsmessage.RCodeSuccess, 60)
		if _, asked := r.far.count(); asked != 1 || time.Since(began) != 7*time.Second {
			t.Errorf("asked %d times, answered after %v", asked, time.Since(began))
		}
		r.Close()
	})
}

// TestSilentServer: a connection on which nothing comes is given up, and another made.
func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(net.Conn, []byte) {})
		for i := range uint16(2) {
			want(t, r.reply(ask(i, "example.org", typeA), 0), i, dnsmessage.RCodeServerFailure)
			time.Sleep(askLimit)
		}
		if dials, _ := r.far.count(); dials != 2 {
			t.Errorf("%d connections", dials)
		}
		r.Close()
	})
}

// TestServerCloses: a query that has met the end of an old connection goes again; one
// that has met that of a new one fails.
func TestServerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n int
		r := newRig(t, nil)
		r.far.answer = func(conn net.Conn, msg []byte) {
			if n++; n == 2 || n >= 4 {
				conn.Close()
				return
			}
			echoing(60)(conn, msg)
		}
		want(t, r.reply(ask(1, "one.example", typeA), 0), 1, dnsmessage.RCodeSuccess, 60)
		want(t, r.reply(ask(2, "two.example", typeA), 0), 2, dnsmessage.RCodeSuccess, 60)
		want(t, r.reply(ask(3, "three.example", typeA), 0), 3, dnsmessage.RCodeServerFailure)
		if dials, asked := r.far.count(); dials != 3 || asked != 5 {
			t.Errorf("%d connections, %d queries", dials, asked)
		}
		r.Close()
	})
}

func TestNoTunnel(t *testing.T) {
	r := newRig(t, nil)
	r.far.refu = errors.New("no way")
	want(t, r.reply(ask(1, "example.org", typeA), 0), 1, dnsmessage.RCodeServerFailure)
}

// TestBadAnswers: what is not whole, or about something else, is a failure, and is not
// kept.
func TestBadAnswers(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"cut":             func(a []byte) []byte { return a[:len(a)-1] },
		"another name":    func(a []byte) []byte { a[13]++; return a },
		"another type":    func(a []byte) []byte { a[26]++; return a },
		"truncated":       func(a []byte) []byte { a[2] |= 2; return a },
		"a query":         func(a []byte) []byte { a[2] &^= 0x80; return a },
		"no question":     func(a []byte) []byte { a[5] = 0; return a },
		"records missing": func(a []byte) []byte { a[7]++; return a },
		"shorter":         func(a []byte) []byte { return a[:11] },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(conn net.Conn, msg []byte) {
				send(conn, spoil(answerTo(msg, dnsmessage.RCodeSuccess, addressOf(msg, 60))))
			})
			want(t, r.reply(ask(1, "example.org", typeA), 0), 1, dnsmessage.RCodeServerFailure)
			if len(r.cache.by) > 0 {
				t.Errorf("%s: it is kept", name)
			}
			r.Close()
		})
	}
}

// TestLifetimes is how long answers are kept.
func TestLifetimes(t *testing.T) {
	soa := func(ttl, minimum uint32) dnsmessage.Resource {
		return dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("example."), Class: dnsmessage.ClassINET, TTL: ttl},
			Body:   &dnsmessage.SOAResource{NS: dnsmessage.MustNewName("ns.example."), MBox: dnsmessage.MustNewName("m.example."), MinTTL: minimum},
		}
	}
	q := ask(1, "www.example", typeA)
	for name, c := range map[string]struct {
		answer []byte
		want   time.Duration
	}{
		"address":       {answerTo(q, dnsmessage.RCodeSuccess, addressOf(q, 60)), time.Minute},
		"the shorter":   {answerTo(q, dnsmessage.RCodeSuccess, addressOf(q, 60), addressOf(q, 30)), 30 * time.Second},
		"a day":         {answerTo(q, dnsmessage.RCodeSuccess, addressOf(q, 86400)), longest},
		"an hour":       {answerTo(q, dnsmessage.RCodeSuccess, addressOf(q, 3600)), time.Hour},
		"not at all":    {answerTo(q, dnsmessage.RCodeSuccess, addressOf(q, 0)), 0},
		"negative":      {answerTo(q, dnsmessage.RCodeSuccess, addressOf(q, 1<<31)), 0},
		"no such name":  {answerTo(q, dnsmessage.RCodeNameError, soa(3600, 120)), 2 * time.Minute},
		"no such type":  {answerTo(q, dnsmessage.RCodeSuccess, soa(90, 120)), 90 * time.Second},
		"no for a day":  {answerTo(q, dnsmessage.RCodeNameError, soa(86400, 86400)), longestNo},
		"no, by nobody": {answerTo(q, dnsmessage.RCodeNameError), 0},
		"failure":       {answerTo(q, dnsmessage.RCodeServerFailure, addressOf(q, 60)), 0},
		"refused":       {answerTo(q, dnsmessage.RCodeRefused, soa(60, 60)), 0},
	} {
		if got := lifetime(c.answer); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestCacheBounds: the oldest goes when there are too many, or too large ones.
func TestCacheBounds(t *testing.T) {
	c := newCache(3, 1000)
	for i := range 4 {
		c.put(fmt.Sprint(i), []byte("answer"), time.Hour)
		c.get("0")
	}
	if a, _ := c.get("1"); a != nil || len(c.by) != 3 {
		t.Errorf("%d are kept", len(c.by))
	}
	if a, _ := c.get("0"); a == nil {
		t.Error("the one that is asked for is gone")
	}
	c.put("large", make([]byte, 990), time.Hour)
	if a, _ := c.get("large"); a == nil || len(c.by) != 1 || c.size != 995 {
		t.Errorf("beside a large one: %d, %d bytes", len(c.by), c.size)
	}
	c.put("larger", make([]byte, 2000), time.Hour)
	if len(c.by) != 0 || c.size != 0 || c.order.Len() != 0 {
		t.Errorf("one that is too large leaves %d, %d bytes", len(c.by), c.size)
	}
}

// TestQueries is what becomes of queries that are not passed on.
func TestQueries(t *testing.T) {
	r := newRig(t, func(net.Conn, []byte) { t.Error("the server is asked") })
	good := ask(5, "example.org", typeA)
	changed := func(at int, to byte) []byte {
		b := append([]byte(nil), good...)
		b[at] = to
		return b
	}
	for name, c := range map[string]struct {
		msg  []byte
		code int // -1: no answer
	}{
		"nothing":          {nil, -1},
		"11 bytes":         {good[:11], -1},
		"a response":       {changed(2, 0x81), -1},
		"only a header":    {good[:12], formatError},
		"cut":              {good[:len(good)-1], formatError},
		"two questions":    {changed(5, 2), formatError},
		"none":             {changed(5, 0), formatError},
		"a pointer":        {append(append([]byte(nil), good[:12]...), 0xc0, 0, 0, 1, 0, 1), formatError},
		"notify":           {changed(2, 0x21), notImplemented},
		"zone transfer":    {ask(5, "example.org", dnsmessage.TypeAXFR), notImplemented},
		"records announce": {changed(11, 1), formatError},
	} {
		a := r.reply(c.msg, 0)
		switch {
		case a == nil && c.code == -1:
		case a == nil || int(a[3]&0xf) != c.code || a[1] != 5 || a[2]&0x80 == 0:
			t.Errorf("%s: %x", name, a)
		}
	}
}

// TestEDNS: options stay here, since they can tell who asks; the answer has OPT only for
// who sent it.
func TestEDNS(t *testing.T) {
	var seen []byte
	r := newRig(t, func(conn net.Conn, msg []byte) {
		seen = msg
		echoing(60)(conn, msg)
	})
	want(t, r.reply(ask(1, "example.org", typeA, edns(4096)), 0), 1, dnsmessage.RCodeSuccess, 60)
	m := parsed(t, seen)
	if opt, ok := m.Additionals[0].Body.(*dnsmessage.OPTResource); !ok || len(opt.Options) != 0 || len(m.Additionals) != 1 {
		t.Errorf("the server gets %v", m.Additionals)
	}
	if a := parsed(t, r.reply(ask(2, "example.org", typeA), 0)); len(a.Additionals) != 0 {
		t.Errorf("without EDNS it gets %v", a.Additionals)
	}
}

// TestTruncated: by UDP an answer is as large as the program takes, or says that it was
// cut.
func TestTruncated(t *testing.T) {
	r := newRig(t, func(conn net.Conn, msg []byte) {
		var records []dnsmessage.Resource
		for range 40 {
			records = append(records, addressOf(msg, 60))
		}
		send(conn, answerTo(msg, dnsmessage.RCodeSuccess, records...)) // 40 times 16 bytes, and more
	})
	for name, c := range map[string]struct {
		msg   []byte
		limit int
		cut   bool
	}{
		"plain":          {ask(1, "example.org", typeA), localSize, true},
		"small":          {ask(1, "example.org", typeA, edns(600)), localSize, true},
		"large":          {ask(1, "example.org", typeA, edns(4096)), localSize, false},
		"large, limited": {ask(1, "example.org", typeA, edns(4096)), 600, true},
		"tcp":            {ask(1, "example.org", typeA), 0, false},
	} {
		m := parsed(t, r.reply(c.msg, c.limit))
		if m.Truncated != c.cut || m.Truncated != (len(m.Answers) == 0) || m.RCode != dnsmessage.RCodeSuccess {
			t.Errorf("%s: truncated %v, %d records, %v", name, m.Truncated, len(m.Answers), m.RCode)
		}
	}
}

// TestFull: who asks when too many of his queries wait hears so at once, as does everybody
// when too many of all do; what is kept is answered all the same.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(conn net.Conn, msg []byte) {
			if !strings.HasPrefix(questionOf(msg).Name.String(), "lost") {
				echoing(60)(conn, msg)
			}
		})
		want(t, r.reply(ask(1, "kept.example", typeA), 0), 1, dnsmessage.RCodeSuccess, 60)
		source := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 1, byte(i)}) }
		var all sync.WaitGroup
		flood := func(i, n int) {
			for j := range n {
				all.Go(func() {
					want(t, r.Server.reply(source(i), ask(5, fmt.Sprintf("lost-%d-%d.example", i, j), typeA), 0), 5, dnsmessage.RCodeServerFailure)
				})
			}
			synctest.Wait()
		}
		hears := func(i int, code dnsmessage.RCode, ttls ...uint32) {
			t.Helper()
			began := time.Now()
			want(t, r.Server.reply(source(i), ask(6, fmt.Sprintf("new-%d-%d.example", i, len(ttls)), typeA), 0), 6, code, ttls...)
			want(t, r.Server.reply(source(i), ask(7, "kept.example", typeA), 0), 7, dnsmessage.RCodeSuccess, 60)
			if took := time.Since(began); took != 0 {
				t.Errorf("source %d waits for %v", i, took)
			}
		}
		flood(1, maxQueriesOf-1)
		hears(1, dnsmessage.RCodeSuccess, 60)
		flood(1, 1)
		want(t, r.Server.reply(source(1), ask(6, "another.example", typeA), 0), 6, dnsmessage.RCodeServerFailure)
		hears(2, dnsmessage.RCodeSuccess, 60)
		for i := 2; i <= maxQueries/maxQueriesOf; i++ {
			flood(i, maxQueriesOf)
		}
		hears(9, dnsmessage.RCodeServerFailure)
		all.Wait()
		want(t, r.Server.reply(source(9), ask(8, "later.example", typeA), 0), 8, dnsmessage.RCodeSuccess, 60)
		if len(r.waiting.by) != 0 || r.waiting.all != 0 {
			t.Errorf("%d wait, of %d", r.waiting.all, len(r.waiting.by))
		}
		r.Close()
	})
}

// FuzzDNS: no query, and no answer of the server, does more than give an answer that is
// well formed or none.
func FuzzDNS(f *testing.F) {
	good := ask(5, "example.org", typeA, edns(1232))
	f.Add(good, answerTo(good, dnsmessage.RCodeSuccess, addressOf(good, 60)))
	f.Add(ask(0, "a", dnsmessage.TypeAXFR), []byte{})
	f.Fuzz(func(t *testing.T, msg, answer []byte) {
		q, code, ok := parseQuery(msg)
		if !ok {
			return
		}
		if code == success {
			answered := append([]byte(nil), answer...)
			if q.answers(answered) {
				lifetime(answered)
				q.own(answered, time.Minute)
				q.own(answered, 0)
			}
			if again, c, ok := parseQuery(q.request(9)[2:]); !ok || c != success || again.key() != q.key() {
				t.Errorf("the server gets another query than %x", msg)
			}
			_ = q.name()
		}
		for _, cut := range []bool{false, true} {
			if v := q.verdict(code, cut); len(v) < headerLen || v[2]&0x80 == 0 {
				t.Errorf("verdict %x", v)
			}
		}
	})
}
