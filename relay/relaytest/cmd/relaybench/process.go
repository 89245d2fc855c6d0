package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// startLimit is how long a process may take until it says where it listens.
const startLimit = 20 * time.Second

// A process is a program that runs until kill, or until the context of its start
// ends.
type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
	speech
}

// speech is what a process says, to either output: its last lines, for people,
// and the one that is awaited.
type speech struct {
	await func(line string) (found string, ok bool)
	heard chan string // of await, once

	mu   sync.Mutex
	rest []byte
	last []string
}

// lastLines is how many lines of a process an error shows.
const lastLines = 8

// start runs cmd until await finds what it looks for in a line, and returns that.
func start(name string, cmd *exec.Cmd, await func(line string) (string, bool)) (*process, string, error) {
	p := &process{name: name, cmd: cmd, ended: make(chan struct{}), speech: speech{await: await, heard: make(chan string, 1)}}
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
		return nil, "", p.explain(fmt.Errorf("starting %s: it ended", name))
	case <-time.After(startLimit):
		p.kill()
		return nil, "", p.explain(fmt.Errorf("starting %s: it is not ready after %v", name, startLimit))
	}
}

// kill ends the process, if it has not ended, and returns when it is gone.
func (p *process) kill() {
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

// explain adds to err what the process said last.
func (p *process) explain(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil || len(p.last) == 0 {
		return err
	}
	return fmt.Errorf("%w; %s said:\n\t%s", err, p.name, strings.Join(p.last, "\n\t"))
}

// after is an await for what follows a mark, up to a space or the end.
func after(mark string) func(line string) (string, bool) {
	return func(line string) (string, bool) {
		_, found, ok := strings.Cut(line, mark)
		found, _, _ = strings.Cut(found, " ")
		return found, ok
	}
}

// run runs a command to its end, and returns what it says.
func run(ctx context.Context, env []string, name string, args ...string) (string, error) {
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
