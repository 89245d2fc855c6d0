package link

// HasData reports whether bytes, datagrams or opens of streams may go now.
func (c *Conn) HasData() bool {
	return c.fresh.sendable() || c.ready.sendable() || c.owes(dueOpen)
}

// HasNews is HasData of a node, or that a client waits to hear what became of an
// open.
func (c *Conn) HasNews() bool {
	if c.HasData() {
		return true
	}
	for _, s := range c.control {
		if c.streams[s.id] == s && (s.due&dueReset != 0 && !s.out.reply || s.due&dueOpened != 0 && s.Tell()) {
			return true
		}
	}
	return false
}

// HasResets reports whether the other end is to be told soon of streams that were
// given up.
func (c *Conn) HasResets() bool {
	for _, s := range c.control {
		if c.streams[s.id] == s && s.due&dueReset != 0 && !s.quiet {
			return true
		}
	}
	return false
}

// WindowLow reports whether the other end is about to run out of a window, or of
// the credit, and there is more to be told.
func (c *Conn) WindowLow() bool {
	if c.creditDue && c.received+c.freeCredit()/2 > c.told {
		return true
	}
	for _, s := range c.control {
		i := &s.in
		if c.streams[s.id] == s && s.due&dueWindow != 0 && !i.done && i.highest+i.window/2 > i.told {
			return true
		}
	}
	return false
}

func (c *Conn) owes(d due) bool {
	for _, s := range c.control {
		if c.streams[s.id] == s && s.due&d != 0 {
			return true
		}
	}
	return false
}
