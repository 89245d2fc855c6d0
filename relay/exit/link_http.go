package exit

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"relaymux/mux/buf"
	"relaymux/mux/link"
	"relaymux/mux/wire"
)

// pathLink is where the messages of links come that are not wrapped in an op.
const pathLink = "/tunnel/link"

var (
	errLinkBody  = errors.New("link: malformed message")
	errLinkAlone = errors.New("link: the op must be alone in its batch")
)

// linkOp is the op of a batch that carries a message, if it does.
func (x *exchange) linkOp() *wire.Op {
	if !x.node.links.on.Load() || x.single || len(x.ops) != 1 || x.ops[0].Kind != wire.Link {
		return nil
	}
	return &x.ops[0]
}

// serveLink answers one message, which lies in req: by the same as it came, text
// for an op of the JSON wire. It owns req. A prober who sends bytes must not learn
// that they look like a link's: on the binary carriage he gets the one 404.
func (n *Node) serveLink(w http.ResponseWriter, r *http.Request, req *request, body []byte, text bool) {
	switch link.KindOf(body) {
	case link.KindHello:
		answer, err := n.hello(body)
		req.release()
		if err != nil {
			n.refuseLink(w, r, err, text)
			return
		}
		n.replyLink(w, answer, text)
	case link.KindRecords:
		l, x, err := n.takeRecords(body, text)
		req.release() // nothing aliases it
		if err != nil {
			n.refuseLink(w, r, err, text)
			return
		}
		carriage := "binary"
		if text {
			carriage = "script"
		}
		n.arrived(l, r, carriage)
		if l.await(r.Context(), x) {
			n.finishLink(w, r, l, x)
		}
	default:
		if !text {
			n.alike(r.URL.Path, body)
		}
		req.release()
		n.refuseLink(w, r, errLinkBody, text)
	}
}

// finishLink answers an exchange whose time has come.
func (n *Node) finishLink(w http.ResponseWriter, r *http.Request, l *linkEnd, x *linkExchange) {
	body, cost, err := l.makeAnswer(x)
	defer n.bodies.Return(cost)
	if err != nil {
		n.refuseLink(w, r, err, x.text)
		return
	}
	defer body.Release()
	n.replyLink(w, body.B, x.text)
}

// replyLink writes an answer, which it borrows.
func (n *Node) replyLink(w http.ResponseWriter, message []byte, text bool) {
	n.count.exchanges.Add(1)
	if text {
		n.replyText(w, wire.Result{Data: [][]byte{message}})
		return
	}
	n.write(w, "application/octet-stream", message)
}

func (n *Node) replyText(w http.ResponseWriter, r wire.Result) {
	body := buf.Body()
	defer body.Release()
	body.B = slices.Grow(body.B, wire.ResultLen(&r)+len(`{"r":[]}`))
	body.B = wire.AppendAnswer(body.B, []wire.Result{r})
	n.write(w, "application/json", body.B)
}

// textLen is what the text of a message of n bytes takes.
func textLen(n int) int { return wire.Base64Len(n) + len(`{"r":[{"d":""}]}`) }

// write sends an answer of a link. That it got lost the client will tell.
func (n *Node) write(w http.ResponseWriter, kind string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
	if err := send(w, body); err != nil {
		n.count.lost.Add(1)
		n.log.Debug("answer lost", "err", err)
	}
}

// refuseLink answers what is no exchange of a link.
func (n *Node) refuseLink(w http.ResponseWriter, r *http.Request, err error, text bool) {
	n.tellRefused(r, err)
	switch {
	case !text || errors.Is(err, errMemory) || errors.Is(err, errClientHellos): // a text would tell of a wrong secret
		n.refuse(w, err)
	case errors.Is(err, errNoLink):
		n.replyText(w, wire.Result{Data: [][]byte{{link.KindUnknown}}})
	default:
		n.replyText(w, wire.Result{Err: []byte(err.Error())})
	}
}
