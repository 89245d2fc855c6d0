package setup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A Console is where questions are asked and answered.
type Console struct {
	Out io.Writer

	// In is a person's terminal; nil: there is nobody to ask.
	In *bufio.Reader
}

func (c *Console) say(format string, args ...any) { fmt.Fprintf(c.Out, format+"\n", args...) }

var errNoAnswer = errors.New("the terminal was closed before the answer")

// ask returns the answer to a question, preset if it is empty.
func (c *Console) ask(question, preset string) (string, error) {
	if preset != "" {
		question += " [" + preset + "]"
	}
	fmt.Fprint(c.Out, question+": ")
	line, err := c.In.ReadString('\n')
	line = strings.TrimSpace(line)
	switch {
	case err != nil && line == "":
		return "", errNoAnswer
	case line == "":
		return preset, nil
	}
	return line, nil
}

// confirm asks for a yes. Where nobody can be asked, or nobody is to be, what was
// asked for by a flag is meant.
func (c *Console) confirm(question string, yes bool) (bool, error) {
	if yes || c.In == nil {
		return true, nil
	}
	answer, err := c.ask(question+" yes or no", "no")
	return strings.EqualFold(answer, "yes") || strings.EqualFold(answer, "y"), err
}
