package dash

import (
	"context"
	"fmt"
	"io"
	"time"
)

// watchEvery is how often a state that is watched is shown anew.
const watchEvery = 2 * time.Second

// A View is how a state is written.
type View struct {
	JSON  bool // as it came; else as a table
	Watch bool // again and again, until the context ends
	Quiet bool // not at all: whether there is one is all that counts
}

// Show writes the state of a running relaymux.
func (c *Client) Show(ctx context.Context, w io.Writer, v View) error {
	const clear = "\x1b[H\x1b[2J" // the cursor to the corner, and nothing on the screen (ECMA-48)
	var before *Status
	for {
		body, err := c.Status(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		st, err := Parse(body)
		switch {
		case err != nil:
			return err
		case v.Quiet:
			return nil
		case v.JSON:
			fmt.Fprintf(w, "%s\n", body)
		default:
			if v.Watch {
				io.WriteString(w, clear)
			}
			if err := WriteTable(w, &st, before); err != nil {
				return err
			}
		}
		if !v.Watch {
			return nil
		}
		before = &st
		select {
		case <-time.After(watchEvery):
		case <-ctx.Done():
			return nil
		}
	}
}
