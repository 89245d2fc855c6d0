// Package top shows on a terminal, live, what a running relaymux does.
//
// The model is what is shown and what keys do (this file), view.go draws it, and
// flows.go sorts. Only Run has to do with a terminal.
package top

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"relaymux/socks/dash"
)

// every is how often the state is asked for.
const every = time.Second

// historyMost is how many samples of the throughput are kept.
const historyMost = 60

// Run shows what c reads on a terminal until its user quits or ctx ends. Where nothing
// answers it is an error at first; later it is shown, and asked again.
func Run(ctx context.Context, c *dash.Client, in, out *os.File, environ []string) error {
	ask := func() (dash.Status, error) {
		body, err := c.Status(ctx)
		if err != nil {
			return dash.Status{}, err
		}
		return dash.Parse(body)
	}
	first, err := ask()
	if err != nil {
		return err
	}
	m := newModel(ask).take(first)
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithEnvironment(environ), tea.WithoutSignalHandler())
	if _, err := p.Run(); err != nil && ctx.Err() == nil && !errors.Is(err, tea.ErrInterrupted) {
		return fmt.Errorf("drawing on the terminal: %w", err)
	}
	return nil
}

// A model is what is shown. It is a value: Update returns another one.
type model struct {
	ask    func() (dash.Status, error)
	st     dash.Status
	err    error    // of the latest try
	down   []uint64 // bytes a second, of each interval of late
	up     []uint64
	rates  rates // by what the state before said
	paused bool
	order  order
	first  int // of the flows that are shown
	width  int
	height int
}

func newModel(ask func() (dash.Status, error)) model {
	return model{ask: ask, width: 80, height: 24, order: order{key: 'd'}}
}

// got is a state, or why there is none.
type got struct {
	st  dash.Status
	err error
}

// due says that it is time to ask again.
type due struct{}

// Init implements tea.Model.
func (m model) Init() tea.Cmd { return wait() }

func wait() tea.Cmd { return tea.Tick(every, func(time.Time) tea.Msg { return due{} }) }

func (m model) fetch() tea.Msg {
	st, err := m.ask()
	return got{st, err}
}

// Update implements tea.Model.
func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case due:
		if m.paused {
			return m, wait()
		}
		return m, m.fetch
	case got:
		if m.err = msg.err; m.err == nil {
			m = m.take(msg.st)
		}
		return m, wait()
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m.press(msg.String())
	}
	return m, nil
}

// press does what a key says.
func (m model) press(key string) (tea.Model, tea.Cmd) {
	page := max(1, m.height/2)
	switch key {
	case "q", "esc", "ctrl+c":
		return m, tea.Quit
	case "p", "space":
		m.paused = !m.paused
	case "d", "u", "t", "e", "a", "h":
		m.order, m.first = m.order.by(key[0]), 0
	case "down", "j":
		m.first++
	case "up", "k":
		m.first--
	case "pgdown":
		m.first += page
	case "pgup":
		m.first -= page
	case "home", "g":
		m.first = 0
	}
	m.first = max(0, min(m.first, len(m.st.Flows)-1))
	return m, nil
}

// take takes in a state.
func (m model) take(st dash.Status) model {
	before := m.st
	m.st = st
	m.rates = ratesOf(&before, &st)
	if m.rates.ok {
		m.down, m.up = remember(m.down, m.rates.down), remember(m.up, m.rates.up)
	}
	m.first = max(0, min(m.first, len(st.Flows)-1))
	return m
}

// remember appends to a history, which other models may share.
func remember(list []uint64, v uint64) []uint64 {
	list = append(slices.Clone(list), v)
	return list[max(0, len(list)-historyMost):]
}
