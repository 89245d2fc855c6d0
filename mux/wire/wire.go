// Package wire is the JSON wire between a client, a relay's script and a node,
// without reflection and, on the hot paths, without allocation: requests and
// answers are appended to a caller's slice, and parsed in place.
//
// One batch up, as it leaves a client for a script and as the script hands it
// to the node (k swapped, t dropped):
//
//	{"k":"KEY","t":"batch","ops":[
//	  {"op":"connect_data","host":"example.org","port":443,"d":"FgMBAg=="},
//	  {"op":"data","sid":"JX5..","d":"AAEC","wseq":3},
//	  {"op":"data","sid":"QW2.."}]}
//
// and its answer, one RESULT for each op, in the same order:
//
//	{"r":[{"sid":"A7K..","d":"FgMD..","eof":false,"off":0},
//	      {"sid":"JX5..","eof":false,"off":5120},
//	      {"sid":"QW2..","d":"SFRU..","eof":true,"off":77}]}
//
// A message of the native link (mux/link) goes as an op that is alone in its
// batch, {"op":"link","d":".."}, and comes back as {"r":[{"d":".."}]}.
//
// Base64 is RFC 4648 section 4, padded. Unknown fields are ignored. Beyond the
// wire's own fields, which other programs know, ours adds a few that theirs
// ignore: "empty", "fin", "rst", "max" and "rtt" in an op; "off", "rst", "pend",
// "more", "jam" and "ip" in a RESULT.
//
// Ownership: a parsed Op, Result or Envelope aliases the text it was parsed
// from, which the parser overwrites in place (base64 decodes to fewer bytes
// than it has). They are good for as long as that text is.
package wire

// Kind is what an op asks for.
type Kind uint8

const (
	Unknown Kind = iota
	Connect
	ConnectData
	Data
	Close
	UDPOpen
	UDPData
	Link
)

var kindName = [...]string{
	Unknown: "", Connect: "connect", ConnectData: "connect_data", Data: "data",
	Close: "close", UDPOpen: "udp_open", UDPData: "udp_data", Link: "link",
}

func (k Kind) String() string { return kindName[k] }

func kindOf(name []byte) Kind {
	for k := Connect; k <= Link; k++ {
		if kindName[k] == string(name) {
			return k
		}
	}
	return Unknown
}

// An Op is one instruction to the node.
type Op struct {
	Kind Kind
	Name []byte // as it was sent; only set by the parser, to name an unknown one
	Host []byte // Connect, ConnectData, UDPOpen: a name or an IP literal without brackets
	Port uint16 // likewise; 0 if it was missing or no port
	SID  []byte // Data, UDPData, Close: the session, from an earlier RESULT

	// Data is the payload, in order. It is many slices going up, so that
	// what an application wrote is never joined before it is encoded, and at
	// most one after parsing.
	Data    [][]byte
	BadData bool // the parser met a payload that is no base64

	HasSeq, HasWSeq bool
	Seq             uint64 // op counter of the session, echoed in the RESULT
	WSeq            uint64 // counter of the session's uploads, from 0

	Empty bool // ours, UDPOpen, UDPData: one datagram without payload, where no Data means none

	Fin bool   // ours: after Data, the application sends no more (half-close)
	Rst bool   // ours, Close: end by RST, not by FIN
	Max uint64 // ours: answer with at most so many bytes of payload; 0 leaves it to the node
	RTT uint64 // ours: how long an exchange takes, in ms, which says how long an answer may settle
}

// Len is the number of payload bytes.
func (o *Op) Len() int { return length(o.Data) }

func length(chunks [][]byte) (n int) {
	for _, c := range chunks {
		n += len(c)
	}
	return n
}

// Reset empties o for another use and keeps the capacity of its Data.
func (o *Op) Reset() { *o = Op{Data: o.Data[:0]} }

// A Result is what became of one op.
type Result struct {
	SID  []byte
	Data [][]byte // what the target sent: many slices at the node, at most one after parsing
	Pkts [][]byte // UDP: one slice a datagram
	EOF  bool     // everything that the target sent has been delivered, this included
	Err  []byte   // the op failed, in words
	Code []byte   // CodeUnsupported, or nothing

	HasSeq bool
	Seq    uint64 // the op's seq

	HasOff bool   // ours: its presence tells that the node is relaymux
	Off    uint64 // ours: how many bytes of the session were delivered before this Data; of UDP, datagrams
	Rst    bool   // ours, with EOF: the session ended by RST, or never was; not a clean end
	Pend   bool   // ours: the dial has not ended yet
	Jam    uint64 // ours: odd, and the target does not take what was uploaded; it grows with each change, so that the latest word counts
	More   uint64 // ours: bytes that the node has, and this answer had no room for
	IP     []byte // ours, once in a UDP session: the target's address, which its name led to
}

// CodeUnsupported is the RESULT code of an op that the node does not know.
const CodeUnsupported = "UNSUPPORTED_OP"

// Len is the number of payload bytes of a TCP session.
func (r *Result) Len() int { return length(r.Data) }

// Reset empties r for another use and keeps the capacity of its slices.
func (r *Result) Reset() { *r = Result{Data: r.Data[:0], Pkts: r.Pkts[:0]} }

// An Envelope is the outer object of a request, its ops still text.
type Envelope struct {
	Key  []byte
	Type []byte // "t": "batch", or the op of a single request; a node gets none
	Ops  []byte // the text of the "ops" array, brackets included; nil if absent
	ZOps []byte // base64 of zstd of such a text; nil if absent
	ZC   bool   // the client understands "zr"
}

// An Answer is a node's or a script's answer to a batch.
type Answer struct {
	Results []Result
	HasErr  bool
	Err     []byte // the whole batch failed, in words
	ZR      []byte // base64 of zstd of the "r" array's text
	ZC      bool
}
