package link

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// counter makes a new answer each time it is asked.
type counter int

func (c *counter) next() ([]byte, error) { *c++; return []byte(fmt.Sprint(*c)), nil }

func TestAnswersTime(t *testing.T) {
	a := NewAnswers()
	var c counter
	start := time.Unix(1000, 0)
	do := func(after time.Duration, hello, want string) {
		t.Helper()
		got, err := a.Do(start.Add(after), []byte(hello), c.next)
		if string(got) != want || err != nil {
			t.Errorf("%s after %v: answer %s, %v; want %s", hello, after, got, err, want)
		}
	}
	do(0, "a", "1")
	do(time.Minute, "b", "2")
	do(10*time.Minute-1, "a", "1")
	do(10*time.Minute, "a", "3")
	do(11*time.Minute-1, "b", "2")
	do(11*time.Minute, "b", "4")
	do(time.Hour, "c", "5")
	if len(a.known) != 1 || len(a.order) != 1 {
		t.Error(len(a.known), len(a.order), "are left")
	}
}

func TestAnswersBound(t *testing.T) {
	a := NewAnswers()
	var c counter
	now := time.Unix(1000, 0)
	for i := range answersMost {
		_, _ = a.Do(now, []byte(fmt.Sprint(i)), c.next)
	}
	if got, _ := a.Do(now, []byte("0"), c.next); string(got) != "1" {
		t.Errorf("dropped at %d: %s", answersMost, got)
	}
	_, _ = a.Do(now, []byte("one more"), c.next)
	if got, _ := a.Do(now, []byte("1"), c.next); string(got) != "2" {
		t.Errorf("the second one is dropped too: %s", got)
	}
	if got, _ := a.Do(now, []byte("0"), c.next); string(got) != fmt.Sprint(answersMost+2) {
		t.Errorf("the oldest one is kept: %s", got)
	}
	if len(a.known) != answersMost || len(a.order) != answersMost {
		t.Error(len(a.known), len(a.order))
	}
}

// Strangers take up no room, however many.
func TestAnswersErrors(t *testing.T) {
	a := NewAnswers()
	now := time.Unix(1000, 0)
	for i := range 2 * answersMost {
		if _, err := a.Do(now, []byte(fmt.Sprint(i)), func() ([]byte, error) { return nil, ErrStranger }); err != ErrStranger {
			t.Fatal(err)
		}
	}
	if len(a.known) != 0 || len(a.order) != 0 {
		t.Error(len(a.known), len(a.order))
	}
	var c counter
	if got, err := a.Do(now, []byte("0"), c.next); string(got) != "1" || err != nil {
		t.Error("after an error:", got, err)
	}
}

// Those that come while the first one is being answered wait for its answer.
func TestAnswersAtOnce(t *testing.T) {
	for _, want := range []error{nil, errors.New("no")} {
		synctest.Test(t, func(t *testing.T) {
			a := NewAnswers()
			var c counter
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					got, err := a.Do(time.Now(), []byte("hello"), func() ([]byte, error) {
						time.Sleep(time.Second)
						_, _ = c.next()
						return []byte("answer"), want
					})
					if err != want || string(got) != "answer" {
						t.Error(got, err)
					}
				})
			}
			all.Wait()
			if c != 1 {
				t.Errorf("answered %d times", c)
			}
		})
	}
}

// A panic is the caller's to handle, and holds up nobody else.
func TestAnswersPanic(t *testing.T) {
	a := NewAnswers()
	now := time.Unix(1000, 0)
	func() {
		defer func() { _ = recover() }()
		_, _ = a.Do(now, []byte("hello"), func() ([]byte, error) { panic("a bug") })
	}()
	var c counter
	if got, err := a.Do(now, []byte("hello"), c.next); string(got) != "1" || err != nil {
		t.Error(got, err)
	}
}
