package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"relaymux/relay/relaytest/proc"
)

// sampleEvery is how often processes are looked at.
const sampleEvery = 5 * time.Second

// A member is a process that may have several lives, and what it took in them.
type member struct {
	name string
	log  io.Writer // nil: nobody wants it

	mu         sync.Mutex
	process    *proc.Process
	born       time.Time
	life       int
	heap       float64 // KB that the latest collection has left
	goroutines int     // of the latest whole list
	counted    int     // of the list that is being told
	samples    []sample
	rest       []sample // at rest: before the load, and after
}

// A sample is what a process takes at a time.
type sample struct {
	at     time.Time
	life   int
	age    time.Duration
	values [figures]float64
}

// The figures of a sample.
const (
	heap   = iota // KB that are in use, as the latest collection has found
	memory        // KB resident: the runtime gives back slowly what a peak has taken
	descriptors
	goroutines
	figures
)

// start begins a life, up to what await finds in what it says.
func (m *member) start(cmd *exec.Cmd, await func(line string) (string, bool)) (said string, err error) {
	p, said, err := proc.Start(m.name, cmd, await, m.hear)
	if err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.process, m.born, m.heap, m.goroutines, m.counted = p, time.Now(), 0, 0, 0
	m.life++
	return said, nil
}

// current is the process of now.
func (m *member) current() *proc.Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process
}

func (m *member) kill() {
	if p := m.current(); p != nil {
		p.Kill()
	}
}

// collected is a line of GODEBUG's gctrace: "gc 7 @1.2s 3%: ... ms cpu, 30->31->12 MB, ...".
var collected = regexp.MustCompile(`^gc \d+ @.*, \d+->\d+->(\d+) MB, `)

// hear takes the lines in which the runtime tells of collections, and lists threads and
// goroutines (GODEBUG's gctrace and schedtrace). Those of status 6 have ended.
func (m *member) hear(line string) bool {
	if found := collected.FindStringSubmatch(line); found != nil {
		mb, _ := strconv.ParseFloat(found[1], 64) // of digits
		m.mu.Lock()
		defer m.mu.Unlock()
		m.heap = mb * 1024
		return true
	}
	if line == "GC forced" {
		return true
	}
	if strings.HasPrefix(line, "SCHED ") {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.goroutines, m.counted = m.counted, 0
		return true
	}
	rest, ok := strings.CutPrefix(line, "  ")
	if !ok || len(rest) < 2 || !strings.ContainsRune("GMP", rune(rest[0])) || rest[1] < '0' || rest[1] > '9' {
		if m.log != nil {
			fmt.Fprintln(m.log, line)
		}
		return false
	}
	if rest[0] == 'G' && !strings.Contains(rest, "status=6(") {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.counted++
	}
	return true
}

// look takes a sample.
func (m *member) look() {
	p := m.current()
	select {
	case <-p.Ended():
		return
	default:
	}
	rss, _, ok := proc.Memory(p.PID())
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
	m.mu.Lock()
	defer m.mu.Unlock()
	if !ok || err != nil || m.goroutines == 0 || m.process != p {
		return
	}
	m.samples = append(m.samples, sample{time.Now(), m.life, time.Since(m.born),
		[figures]float64{m.heap, rss / 1024, float64(len(fds)), float64(m.goroutines)}})
}

// latest is the latest sample.
func (m *member) latest() sample {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.samples) == 0 {
		return sample{}
	}
	return m.samples[len(m.samples)-1]
}

// history are all samples.
func (m *member) history() []sample {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.samples
}
