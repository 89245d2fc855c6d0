package gso

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func TestMost(t *testing.T) {
	for _, c := range []struct{ size, headers, segments, want int }{
		{100, headers4, 64, 6400}, // segments bind
		{100, headers4, 128, 12800},
		{1000, headers4, 128, 65000}, // bytes bind
		{1023, headers4, 64, 65472},  // the last size of 64 segments on IPv4: 64 x 1023
		{1024, headers4, 64, 63 * 1024},
		{511, headers4, 128, 128 * 511},
		{512, headers4, 128, 127 * 512},
		{512, headers6, 128, 127 * 512}, // 65,536 is too many for either
		{65507, headers4, 64, 65507},
		{65508, headers4, 64, 0},
		{65527, headers6, 64, 65527},
		{65528, headers6, 64, 0},
		{1, headers4, 128, 128},
		{0, headers4, 128, 0},
	} {
		if got := most(c.size, c.headers, c.segments); got != c.want {
			t.Errorf("most(%d, %d, %d) = %d, want %d", c.size, c.headers, c.segments, got, c.want)
		}
	}
}

func TestHeadersTo(t *testing.T) {
	for addr, want := range map[string]int{
		"192.0.2.1:1": headers4, "[::ffff:192.0.2.1]:1": headers4, "[2001:db8::1]:1": headers6, "[fe80::1%lo]:1": headers6,
	} {
		if got := headersTo(netip.MustParseAddrPort(addr)); got != want {
			t.Errorf("%s: %d, want %d", addr, got, want)
		}
	}
	if headersTo(netip.AddrPort{}) != headers4 {
		t.Error("a peer without a name may be one of IPv4")
	}
}

func TestJoins(t *testing.T) {
	for _, c := range []struct {
		size, total, n int
		want           bool
		why            string
	}{
		{100, 100, 100, true, "as large"},
		{100, 100, 99, true, "a shorter one is the last"},
		{100, 199, 99, false, "the train is sealed"},
		{100, 199, 1, false, "the train is sealed, even for one that would fill the gap"},
		{100, 100, 101, false, "longer than its segments"},
		{100, 100, 0, false, "an empty one cannot be seen in a train"},
		{100, 900, 100, true, "the last that fits"},
		{100, 1000, 1, false, "full"},
	} {
		if got := joins(c.size, c.total, c.n, 1000); got != c.want {
			t.Errorf("%d bytes to %d in %ds: %v: %s", c.n, c.total, c.size, got, c.why)
		}
	}
}

// The cuts of a train that is larger than the system takes.
func TestCursor(t *testing.T) {
	for _, c := range []struct {
		n, size, tail, segments int
		alone                   bool
		want                    []int // datagrams in each message
	}{
		{1, 1200, 1200, 64, false, []int{1}},
		{63, 100, 100, 64, false, []int{63}},
		{64, 100, 100, 64, false, []int{64}},
		{65, 100, 100, 64, false, []int{64, 1}},
		{127, 100, 100, 128, false, []int{127}},
		{128, 100, 100, 128, false, []int{128}},
		{129, 100, 100, 128, false, []int{128, 1}},
		{129, 100, 7, 64, false, []int{64, 64, 1}},
		{66, 1000, 507, 128, false, []int{65, 1}},
		{3, 100, 1, 64, true, []int{1, 1, 1}},
		{1, 0, 0, 64, false, []int{1}},
		{1, 70, 70, 64, true, []int{1}},
	} {
		sizes := same(c.n, c.size)
		sizes[c.n-1] = c.tail
		tr := trainOf(netip.MustParseAddrPort("192.0.2.1:1"), 0, sizes...)
		at, end := cursor{alone: c.alone}, 0
		var got []int
		for at.train == 0 {
			m := at.next(&tr, headers4, c.segments)
			if m.from != end || m.to < m.from {
				t.Fatalf("%+v: %+v does not follow %d", c, m, end)
			}
			end = m.to
			got = append(got, m.count)
		}
		if !slices.Equal(got, c.want) || end != len(tr.Buf.B) || at.alone {
			t.Errorf("%+v: cut into %v up to %d", c, got, end)
		}
		tr.Buf.Release()
	}
}

// An item is one datagram: the i-th of all, so many bytes to that peer.
type item struct{ i, peer, size int }

func (a item) String() string { return fmt.Sprintf("%d(%d)", a.i, a.size) }

// inOrder tells what is wrong with trains made of items: each peer must get
// what came for it, in that order, and each train must be one that the system
// can cut.
func inOrder(came []item, trains [][]item) error {
	var want, got [8][]item
	for _, a := range came {
		want[a.peer] = append(want[a.peer], a)
	}
	for _, tr := range trains {
		for k, a := range tr {
			got[a.peer] = append(got[a.peer], a)
			if a.peer != tr[0].peer || a.size > tr[0].size || a.size != tr[0].size && k != len(tr)-1 {
				return fmt.Errorf("%v is no train", tr)
			}
		}
	}
	for peer := range want {
		if !slices.Equal(want[peer], got[peer]) {
			return fmt.Errorf("peer %d was sent %v and would get %v", peer, want[peer], got[peer])
		}
	}
	return nil
}

// queued are the trains that the queue makes.
func queued(came []item) (trains [][]item) {
	q := &queue{limit: 1 << 30}
	for _, a := range came {
		copy(q.reserve(peers[a.peer], a.size, true), datagram(a.i, a.size))
		q.commit(a.size)
	}
	ts, used := make([]Train, 1), make([]bool, len(came))
	for q.take(ts) > 0 {
		var tr []item
		for k := range ts[0].Count() {
			p := ts[0].At(k)
			a := item{peer: slices.Index(peers, ts[0].Peer), size: len(p), i: -1}
			for k, c := range came {
				if a.i < 0 && !used[k] && c.peer == a.peer && slices.Equal(datagram(c.i, c.size), p) {
					a.i, used[k] = c.i, true
				}
			}
			tr = append(tr, a)
		}
		trains = append(trains, tr)
		q.done(ts)
	}
	return trains
}

var peers = []netip.AddrPort{
	netip.MustParseAddrPort("192.0.2.1:1000"),
	netip.MustParseAddrPort("192.0.2.1:1001"),
	netip.MustParseAddrPort("[2001:db8::1]:1000"),
	netip.MustParseAddrPort("[fe80::1%lo]:1000"),
	{}, // a connected socket's
}

func items(sizes ...int) (came []item) {
	for i, n := range sizes {
		came = append(came, item{i, 0, n})
	}
	return came
}

// perSize is the mistake below the others: an open train per peer and size.
func perSize(came []item) (trains [][]item) {
	open := map[[2]int]int{}
	for _, a := range came {
		key := [2]int{a.peer, a.size}
		k, ok := open[key]
		if !ok {
			k = len(trains)
			open[key] = k
			trains = append(trains, nil)
		}
		trains[k] = append(trains[k], a)
	}
	return trains
}

// bySize is the trains of perSize, sent by size: the smallest first, or with a
// sign of -1 the largest.
func bySize(came []item, sign int) [][]item {
	trains := perSize(came)
	slices.SortStableFunc(trains, func(a, b []item) int { return sign * (a[0].size - b[0].size) })
	return trains
}

// mistake shows that inOrder finds what is wrong with the trains of a wrong
// planner, and nothing wrong with those of the queue.
func mistake(t *testing.T, came []item, wrong [][]item) {
	t.Helper()
	if inOrder(came, wrong) == nil {
		t.Errorf("%v is wrong, and not found to be", wrong)
	}
	if err := inOrder(came, queued(came)); err != nil {
		t.Error(err)
	}
}

// firezone #8772: with small segments first, the tail of a burst overtakes it.
func TestMistakeSmallFirst(t *testing.T) {
	came := items(1300, 1300, 40)
	if err := inOrder(came, perSize(came)); err != nil {
		t.Errorf("it is the sorting that this is about: %v", err)
	}
	mistake(t, came, bySize(came, +1))
}

// firezone #8912: with large segments first, what opens a burst comes after it.
func TestMistakeLargeFirst(t *testing.T) {
	came := items(40, 1300, 1300)
	if err := inOrder(came, perSize(came)); err != nil {
		t.Errorf("it is the sorting that this is about: %v", err)
	}
	mistake(t, came, bySize(came, -1))
}

// firezone #8920: with the size as part of the key, and no sorting, a datagram
// still joins an older train, past one that came between.
func TestMistakeSizeInKey(t *testing.T) {
	came := items(1200, 1300, 1200)
	mistake(t, came, perSize(came))
}

// Arrival order within a peer, whatever the others do; and as few trains as that
// allows.
func TestQueueTrains(t *testing.T) {
	for _, c := range []struct {
		name string
		came []item
		want string
	}{
		{"one train", items(9, 9, 9), "[[0(9) 1(9) 2(9)]]"},
		{"a short one seals", items(9, 8, 9, 9), "[[0(9) 1(8)] [2(9) 3(9)]]"},
		{"a long one starts anew", items(8, 9, 9), "[[0(8)] [1(9) 2(9)]]"},
		{"never an older train", items(9, 10, 9, 9), "[[0(9)] [1(10) 2(9)] [3(9)]]"},
		{"an empty one is alone", items(9, 0, 9, 0, 0), "[[0(9)] [1(0)] [2(9)] [3(0)] [4(0)]]"},
		{"peers in turn", []item{{0, 0, 9}, {1, 1, 9}, {2, 2, 5}, {3, 0, 9}, {4, 1, 3}, {5, 2, 5}, {6, 1, 3}},
			"[[0(9) 3(9)] [1(9) 4(3)] [2(5) 5(5)] [6(3)]]"},
	} {
		got := queued(c.came)
		if err := inOrder(c.came, got); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

// Each cap on both sides, in the queue.
func TestQueueCaps(t *testing.T) {
	for _, c := range []struct {
		peer, n, size, want int // datagrams in the first train
	}{
		{0, 127, 100, 127}, {0, 128, 100, 128}, {0, 129, 100, 128},
		{0, 65, 1000, 65}, {0, 66, 1000, 65},
		{0, 64, 1023, 64}, {0, 65, 1024, 63},
		{0, 3, 21835, 3}, {0, 3, 21836, 2}, // 65,505 and 65,508 bytes on IPv4
		{2, 3, 21842, 3}, {2, 3, 21843, 2}, // 65,526 and 65,529 on IPv6
		{0, 2, 65507, 1}, {0, 2, 65508, 1}, {2, 2, 65527, 1}, {0, 2, 65535, 1},
		{4, 3, 21835, 3}, {4, 3, 21836, 2}, // who knows what a connected one is
	} {
		q := &queue{limit: 1 << 30}
		for i := range c.n {
			copy(q.reserve(peers[c.peer], c.size, true), datagram(i, c.size))
			q.commit(c.size)
		}
		ts := make([]Train, 1)
		q.take(ts)
		if got := ts[0].Count(); got != c.want {
			t.Errorf("%d of %d bytes to %v: %d in a train, want %d", c.n, c.size, peers[c.peer], got, c.want)
		}
		q.done(ts)
		for q.take(ts) > 0 {
			q.done(ts)
		}
		if q.held != 0 {
			t.Errorf("%d bytes held in an empty queue", q.held)
		}
	}
}

// More peers than the index has room for lose no order, only company.
func TestQueueManyPeers(t *testing.T) {
	q := &queue{limit: 1 << 30}
	const many, rounds = 1000, 5
	for i := range rounds {
		for k := range many {
			peer := netip.AddrPortFrom(peers[0].Addr(), uint16(k+1))
			copy(q.reserve(peer, 8, true), datagram(i, 8))
			q.commit(8)
		}
	}
	next := make([]int, many+1)
	ts := make([]Train, 7)
	for n := q.take(ts); n > 0; n = q.take(ts) {
		for i := range ts[:n] {
			for k := range ts[i].Count() {
				port := ts[i].Peer.Port()
				if !slices.Equal(ts[i].At(k), datagram(next[port], 8)) {
					t.Fatalf("port %d: %x is not number %d", port, ts[i].At(k), next[port])
				}
				next[port]++
			}
		}
		q.done(ts[:n])
	}
	for port, n := range next[1:] {
		if n != rounds {
			t.Fatalf("port %d got %d of %d", port+1, n, rounds)
		}
	}
}

// What waits pins little more than it is, whatever was asked for.
func TestQueuePins(t *testing.T) {
	for _, c := range []struct{ n, size, asked, most int }{
		{1, 100, 100, 512}, {1, 100, 65535, 512}, {2, 100, 100, 512}, {1, 1200, 1200, 2048},
		{2, 1200, 1200, 8192}, {6, 1200, 1200, 8192}, {7, 1200, 1200, 32768}, {1, 0, 65535, 512},
	} {
		q := &queue{limit: 1 << 30}
		for i := range c.n {
			copy(q.reserve(peers[0], c.asked, true), datagram(i, c.size))
			q.commit(c.size)
		}
		if q.held > c.most {
			t.Errorf("%d of %d bytes pin %d, more than %d", c.n, c.size, q.held, c.most)
		}
		q.limit = 0
		q.overflow()
		q.done([]Train{q.pop()})
	}
}

// What is committed may be less than what was asked for, and fit elsewhere then.
func TestQueueCommitsLess(t *testing.T) {
	q := &queue{limit: 1 << 30}
	for i, c := range []struct{ asked, n, trains int }{
		{100, 100, 1},
		{100, 0, 2},   // room in a train, and then nothing for it
		{100, 90, 3},  // nothing joins an empty one
		{9000, 90, 3}, // it joins, after all
		{90, 40, 3},
		{9000, 40, 4}, // the one before was the last
		{65535, 65535, 5},
	} {
		copy(q.reserve(peers[0], c.asked, true), datagram(i, c.n))
		q.commit(c.n)
		if q.len() != c.trains {
			t.Errorf("after %d of %d bytes: %d trains, want %d", c.n, c.asked, q.len(), c.trains)
		}
	}
	sizes, i := []int{100, 0, 90, 90, 40, 40, 65535}, 0
	ts := make([]Train, 1)
	for q.take(ts) > 0 {
		for k := range ts[0].Count() {
			if !slices.Equal(ts[0].At(k), datagram(i, sizes[i])) {
				t.Errorf("number %d has %d bytes", i, len(ts[0].At(k)))
			}
			i++
		}
		q.done(ts)
	}
	if i != len(sizes) || q.held != 0 {
		t.Errorf("%d datagrams came out, %d bytes are held", i, q.held)
	}
}

// FuzzPlan: whatever is put in comes out, in order, in trains that the system
// takes.
func FuzzPlan(f *testing.F) {
	f.Add([]byte{0, 4, 176, 0, 4, 176, 0, 0, 9, 255, 1, 0, 0}, byte(0))
	f.Add([]byte{0, 255, 227, 0, 255, 228, 2, 255, 247, 2, 255, 248, 64, 4, 4, 128, 5, 5}, byte(200))
	f.Fuzz(func(t *testing.T, ops []byte, limit byte) {
		q := &queue{limit: 1 << 30}
		if limit > 0 {
			q.limit = int(limit) << 12
		}
		var in, out [5][][]byte
		dropped, ts := 0, make([]Train, 3)
		drain := func() bool {
			n := q.take(ts)
			for i := range ts[:n] {
				tr := &ts[i]
				checkTrain(t, tr)
				p := slices.Index(peers, tr.Peer)
				for k := range tr.Count() {
					out[p] = append(out[p], slices.Clone(tr.At(k)))
				}
			}
			q.done(ts[:n])
			return n > 0
		}
		for i := 0; i+2 < len(ops) && i < 600; i += 3 {
			op, size := ops[i], int(ops[i+1])<<8|int(ops[i+2])
			p := int(op & 7)
			switch {
			case p > 4:
				drain()
				continue
			case op&8 != 0 || i >= 60:
				size &= 1023 // large ones cost the most time
			}
			asked := size
			if op&16 != 0 {
				asked = min(65535, size*2)
			}
			room := q.reserve(peers[p], asked, op&32 != 0)
			if len(room) != asked || cap(room) != asked {
				t.Fatalf("asked for %d, got %d of %d", asked, len(room), cap(room))
			}
			if op&64 != 0 {
				q.abort()
				continue
			}
			d := datagram(i, size)
			copy(room, d)
			q.commit(size)
			in[p] = append(in[p], d)
			dropped += q.overflow()
			if q.held > max(q.limit, 65536) {
				t.Fatalf("%d bytes held, %d allowed", q.held, q.limit)
			}
		}
		for drain() {
		}
		if q.held != 0 {
			t.Fatalf("%d bytes held by nothing", q.held)
		}
		for p := range in {
			dropped -= missing(t, in[p], out[p])
		}
		if dropped != 0 {
			t.Fatalf("dropped %d more than are missing", dropped)
		}
	})
}

func checkTrain(t *testing.T, tr *Train) {
	t.Helper()
	n, count := len(tr.Buf.B), tr.Count()
	if count > 1 && (count > maxSegments || n > maxPacket-headersTo(tr.Peer)) {
		t.Fatalf("%d datagrams of %d bytes in all", count, n)
	}
	sum := 0
	for k := range count {
		d := len(tr.At(k))
		if sum += d; count > 1 && (d == 0 || d > tr.Size || d < tr.Size && k < count-1) {
			t.Fatalf("datagram %d of %d has %d bytes of %d", k, count, d, tr.Size)
		}
	}
	if sum != n {
		t.Fatalf("%d bytes in datagrams of a train of %d", sum, n)
	}
}

// missing is how many of want are not in got, which has nothing else, in order.
func missing(t *testing.T, want, got [][]byte) (n int) {
	t.Helper()
	for _, w := range want {
		if len(got) > 0 && slices.Equal(w, got[0]) {
			got = got[1:]
		} else {
			n++
		}
	}
	if len(got) > 0 {
		t.Fatalf("%d datagrams came twice, changed or out of order", len(got))
	}
	return n
}
