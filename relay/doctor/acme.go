package doctor

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"relaymux/config"
)

// acmeLeg is what there is to say of a node whose certificate is not there yet, or
// cannot be seen.
func acmeLeg(n *config.ExitNode, file string) (l Leg, missing bool) {
	l = Leg{Name: LegCertificate, Status: Warning}
	if file == "" {
		l.Status, l.Detail = Broken, "there is no place for what the CA gives"
		l.Remedy = `write dir = "/var/lib/relaymux" under [state]`
		return l, true
	}
	f, err := os.Open(file)
	switch {
	case err == nil:
		f.Close()
		return l, false
	case errors.Is(err, fs.ErrNotExist):
		port := "443"
		if n.ByHTTP() {
			port = "80"
		}
		l.Detail = "none from the CA yet: the node asks for it when it starts"
		l.Remedy = "port " + port + " of " + plain(strings.Join(n.ACME.Domains, ", ")) +
			" must lead to this machine from everywhere; if the node runs, its log has the CA's reasons (journalctl -u relaymux-node)"
	default:
		l.Detail, l.Remedy = plain(err.Error()), "run this as root, or as the user who runs the node"
	}
	return l, true
}

// port80Leg is whether the CA can be answered by HTTP. Who has the port cannot be seen:
// it is the node if that has its own port too.
func port80Leg(n *config.ExitNode) Leg {
	l := Leg{Name: LegPort80, Status: OK, Detail: "TCP " + n.ACME.HTTPListen + " is free for the CA's question"}
	ln, err := net.Listen("tcp", n.ACME.HTTPListen)
	switch {
	case err == nil:
		ln.Close()
	case errors.Is(err, syscall.EADDRINUSE) && !isFree(n.Listen):
		l.Detail = "TCP " + n.ACME.HTTPListen + " is in use, as the node's own port is"
	case errors.Is(err, syscall.EADDRINUSE):
		l.Status, l.Detail = Broken, "TCP "+n.ACME.HTTPListen+" is in use by another program"
		l.Remedy = `see who has it (ss -ltnp); or listen = "0.0.0.0:443", where the CA asks by TLS, or have that program get the certificate`
	case errors.Is(err, syscall.EACCES):
		l.Status, l.Detail = Broken, "TCP "+n.ACME.HTTPListen+": not permitted"
		l.Remedy = "ports below 1024 want CAP_NET_BIND_SERVICE (relaymux init writes a unit that has it)"
	default:
		l.Status, l.Detail, l.Remedy = Broken, plain(err.Error()), "http_listen under [node.acme] must be an address of this machine"
	}
	return l
}

func isFree(address string) bool {
	ln, err := net.Listen("tcp", address)
	if err == nil {
		ln.Close()
	}
	return err == nil
}
