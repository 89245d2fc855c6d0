// Package proc runs programs as processes, for tests and measurements: it waits for what
// they say, and reads what the system knows of them.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// StartLimit is how long a process may take until it says where it listens.
const StartLimit = 20 * time.Second

// A Process is a program that runs until Kill, or until the context of its start
// ends.
type Process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
	speech
}

// speech is what a process says, to either output: its last lines, for people,
// and the one that is awaited.
type speech struct {
	await func(line string) (found string, ok bool)
	each  func(line string) bool
	heard chan string // of await, once

	mu   sync.Mutex
	rest []byte
	last []string
}

// lastLines is how many lines of a process an error shows.
const lastLines = 8

// Start runs cmd until await finds what it looks for in a line, and returns that. Lines
// that each takes, if it is not nil, are for nobody else.
func Start(name string, cmd *exec.Cmd, await func(line string) (string, bool), each func(line string) bool) (*Process, string, error) {
	p := &Process{name: name, cmd: cmd, ended: make(chan struct{}), speech: speech{await: await, each: each, heard: make(chan string, 1)}}
	cmd.Stdout, cmd.Stderr = &p.speech, &p.speech
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // it was killed, or failed and has said why
	}()
	select {
	case found := <-p.heard:
		return p, found, nil
	case <-p.ended:
		return nil, "", p.Explain(fmt.Errorf("starting %s: it ended", name))
	case <-time.After(StartLimit):
		p.Kill()
		return nil, "", p.Explain(fmt.Errorf("starting %s: it is not ready after %v", name, StartLimit))
	}
}

// PID is what the system knows it by.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal tells it something.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Ended is closed when it has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Kill ends the process, if it has not ended, and returns when it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // or it is gone already
	<-p.ended
}

func (s *speech) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = append(s.rest, b...)
	for {
		line, rest, whole := bytes.Cut(s.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		s.rest = rest
		s.hear(string(line))
	}
}

func (s *speech) hear(line string) {
	if s.each != nil && s.each(line) {
		return
	}
	if s.last = append(s.last, line); len(s.last) > lastLines {
		s.last = s.last[1:]
	}
	if s.await == nil {
		return
	}
	if found, ok := s.await(line); ok {
		s.await = nil
		s.heard <- found
	}
}

// Explain adds to err what the process said last.
func (p *Process) Explain(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil || len(p.last) == 0 {
		return err
	}
	return fmt.Errorf("%w; %s said:\n\t%s", err, p.name, strings.Join(p.last, "\n\t"))
}

// After is an await for what follows a mark, up to a space or the end.
func After(mark string) func(line string) (string, bool) {
	return func(line string) (string, bool) {
		_, found, ok := strings.Cut(line, mark)
		found, _, _ = strings.Cut(found, " ")
		return found, ok
	}
}

// Run runs a command to its end, and returns what it says.
func Run(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	said, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(failed.Stderr))
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(said)), nil
}
