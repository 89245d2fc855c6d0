// Package exit is the node: it receives batches of ops from the relays, carries
// them out against the world, and answers with what the targets sent. It speaks
// the JSON wire (mux/wire) under POST /tunnel/batch and POST /tunnel; to
// everybody who does not know the key it is a web server without pages.
//
// Words: a session is one TCP connection or one UDP socket to a target, known to
// the client by its sid. An exchange is one request and its answer; a hold is an exchange
// that is kept open until one of its sessions has something to say.
//
// A request goes through the files in this order:
//
//	handler.go  path, key, the one 404       body.go, compress.go  its bytes, bounded
//	batch.go    carries out each op          session.go  what a session is
//	            TCP                          tcp.go, read.go, write.go, dial.go, end.go
//	            UDP                          udp.go, udp_socket.go, udp_queue.go
//	timing.go   when to answer               drain.go  what goes into the answer
//
// A TCP session to the address of udpgw ends in the node itself (udpgw.go), and so does
// one to that by which clients measure the way (yardstick.go).
//
// The native link (mux/link) comes under POST /tunnel/link, or in an op "link" of a
// batch, and goes through the files link*.go:
//
//	link_http.go  its carriage             link_handshake.go  hellos
//	link.go  the table of links            link_end.go  one link, and what its Conn says
//	link_records.go  what a request has    link_exchange.go  its wait, and its answer
//	link_timing.go, link_news.go  when to answer    link_pipe.go  exchanges that go on
//	streams                                link_tcp.go, link_upload.go, link_udp.go
//
// Nothing here waits for somebody else's target: dials, reads and writes run in
// goroutines of the session, and an exchange only looks at what they brought.
package exit

import (
	"errors"
	"log/slog"
	"time"

	"relaymux/mux/link"
	"relaymux/mux/secret"
)

// Config is what a Node needs to know. The zero value of every field stands for its
// default, but there must be a Key or Clients.
type Config struct {
	// Key is the secret that a request of the JSON wire must carry under "k". If
	// it is empty, there is no JSON wire.
	Key secret.Text

	// Clients may open links (mux/link); SetClients replaces them.
	Clients []link.Client

	// Identity is what clients know the node by after a restart: any bytes that
	// stay the same. If it is none, it is Key; without that they take each run for
	// another node.
	Identity secret.Text

	// Diagnostics answers a bad request with a JSON error instead of the
	// 404, and /health for everybody, and has the log warn of links that are
	// refused. It makes the node easy to recognise.
	Diagnostics bool

	// Dialer reaches the targets. If nil, it is NewDialer(Policy).
	Dialer Dialer
	Policy Policy

	Memory         int64   // bytes that all buffers may take together; 256 MiB
	Streams        int     // sessions at a time, of them half with a UDP socket at most; 4096
	DialsPerSecond float64 // over all clients; 0 is no limit

	// What one client may have of Streams, and of dials; those who have Key count as one. 0
	// is for ClientStreams three quarters if there are several, and all if there is one,
	// and for ClientDialsPerSecond no limit.
	ClientStreams        int
	ClientDialsPerSecond float64

	Reap     time.Duration // a TCP session without op or data for so long ends, and all streams of a link whose client is silent; 300 s
	LongPoll time.Duration // longest hold of a batch of polls; 15 s, below a client's 30 s

	UDP UDP

	// Log gets one line per failed dial and the like at Debug, and nothing
	// that a prober could fill a disk with above it. If nil, nothing is
	// logged.
	Log *slog.Logger
}

const (
	defaultMemory   = 256 << 20
	defaultStreams  = 4096
	defaultReap     = 300 * time.Second
	defaultLongPoll = 15 * time.Second
)

// withDefaults fills in what was left zero.
func (c Config) withDefaults() Config {
	orDefault(&c.Memory, defaultMemory)
	orDefault(&c.Streams, defaultStreams)
	orDefault(&c.Reap, defaultReap)
	orDefault(&c.LongPoll, defaultLongPoll)
	c.UDP = c.UDP.withDefaults()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func orDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

var errNoKey = errors.New("exit: a node needs a key, or clients of links")
