package buf

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClasses(t *testing.T) {
	for size, want := range map[int]int{0: 512, 1: 512, 512: 512, 513: 1024, 1024: 1024, 1025: 2048, 65535: 65536, 65536: 65536} {
		b := Get(size)
		if cap(b.B) != want || len(b.B) != 0 {
			t.Errorf("Get(%d): %d of %d", size, len(b.B), cap(b.B))
		}
		b.Release()
	}
	defer func() {
		if recover() == nil {
			t.Error("Get of more than Max does not panic")
		}
	}()
	Get(Max + 1)
}

func TestMisusePanics(t *testing.T) {
	for name, misuse := range map[string]func(){
		"Release twice":        func() { b := Get(1); b.Release(); b.Release() },
		"Retain after Release": func() { b := Get(1); b.Release(); b.Retain() },
		"a body twice":         func() { b := Body(); b.Release(); b.Release() },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			misuse()
		}()
	}
}

func TestOwners(t *testing.T) {
	b := Copy([]byte("mine"))
	other := b.Retain()
	b.Release()
	if string(other.B) != "mine" {
		t.Error("gone while it has an owner")
	}
	other.Release()
}

func pipe(t *testing.T) (a, b net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// The hand-over rule, at both sides of half a buffer.
func TestReadHandsOverHalf(t *testing.T) {
	for n, want := range map[int]int{1: 512, 200: 512, Max/2 - 1: Max / 2, Max / 2: Max, Max: Max} {
		b := Get(Max)
		b.B = b.B[:n]
		b = b.Fit()
		if cap(b.B) != want || len(b.B) != n {
			t.Errorf("%d bytes are in a buffer of %d", n, cap(b.B))
		}
		b.Release()
	}
}

func TestRead(t *testing.T) {
	a, c := pipe(t)
	io.WriteString(a, "hello")
	r := NewReader(c, Get, (*Buf).Release)
	b, err := r.Read()
	if err != nil || string(b.B) != "hello" {
		t.Fatal(b, err)
	}
	b.Release()
	c.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := r.Read(); !os.IsTimeout(err) {
		t.Errorf("after the deadline: %v", err)
	}
	c.SetReadDeadline(time.Time{})
	a.Close()
	if _, err := r.Read(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	c.Close()
	if _, err := r.Read(); err == nil {
		t.Error("no error from a closed connection")
	}
}

func TestReadSmall(t *testing.T) {
	a, b := net.Pipe()
	go func() { a.Write(make([]byte, 700)); a.Close() }()
	total := 0
	r := NewReader(b, Get, (*Buf).Release)
	for {
		p, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		total += len(p.B)
		p.Release()
	}
	if total != 700 {
		t.Errorf("%d bytes", total)
	}
}

func TestBudget(t *testing.T) {
	g := NewBudget(100)
	if !g.Try(100) || g.Try(1) || g.Used() != 100 {
		t.Error("the limit is not where it is")
	}
	g.Force(5)
	if g.Free() != -5 {
		t.Error(g.Free())
	}
	g.Return(105)
	defer func() {
		if recover() == nil {
			t.Error("returning too much does not panic")
		}
	}()
	g.Return(1)
}

func TestNoAllocs(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Get(Max).Release() }); n != 0 {
		t.Errorf("Get: %v allocations", n)
	}
	p := make([]byte, 300)
	if n := testing.AllocsPerRun(100, func() { Copy(p).Release() }); n != 0 {
		t.Errorf("Copy: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { b := Body(); b.B = append(b.B, p...); b.Release() }); n != 0 {
		t.Errorf("Body: %v allocations", n)
	}
}
