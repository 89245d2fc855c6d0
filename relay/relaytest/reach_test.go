package relaytest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// opensSockets are what makes sockets and looks names up, by package.
var opensSockets = map[string][]string{
	"net": {"Dial", "DialIP", "DialTCP", "DialTimeout", "DialUDP", "DialUnix", "Dialer", "Listen", "ListenConfig", "ListenIP", "ListenMulticastUDP",
		"ListenPacket", "ListenTCP", "ListenUDP", "ListenUnix", "ListenUnixgram", "FileConn", "FileListener", "FilePacketConn",
		"DefaultResolver", "Resolver", "LookupAddr", "LookupCNAME", "LookupHost", "LookupIP", "LookupMX", "LookupNS", "LookupPort", "LookupSRV", "LookupTXT",
		"ResolveIPAddr", "ResolveTCPAddr", "ResolveUDPAddr"},
	"crypto/tls":                  {"Dial", "DialWithDialer", "Dialer", "Listen"},
	"net/http":                    {"Client", "DefaultClient", "DefaultTransport", "Get", "Head", "ListenAndServe", "ListenAndServeTLS", "Post", "PostForm", "ProxyFromEnvironment", "Transport"},
	"net/smtp":                    {"Dial", "SendMail"},
	"log/syslog":                  {"Dial", "New"},
	"syscall":                     {"Bind", "Connect", "Sendmsg", "SendmsgN", "Sendto", "Socket", "Socketpair"},
	"golang.org/x/sys/unix":       {"Bind", "Connect", "Sendmsg", "SendmsgBuffers", "SendmsgN", "Sendto", "Socket", "Socketpair"},
	"github.com/quic-go/quic-go":  {"Dial", "DialAddr", "DialAddrEarly", "DialEarly", "Listen", "ListenAddr", "ListenAddrEarly", "ListenEarly", "Transport"},
	"github.com/armon/go-socks5":  {"New"}, // whose server dials
	"golang.org/x/net/proxy":      {"Direct", "FromEnvironment", "SOCKS5"},
	"golang.org/x/net/websocket":  {"Dial"},
	"golang.org/x/net/dns/client": {"Dial"},
}

// mayReach is every place of the program that makes a socket or looks a name up. What a
// client wants at the node, be it TCP or UDP, goes through the first, which asks the policy
// for the address that is really dialled; what goes direct from the proxy's machine goes
// through the second. No client and no destination has a say in what the others reach.
var mayReach = map[string]string{
	"relay/exit/dial.go net.Dialer":    "the node, to targets: policyDialer",
	"relay/exit/dial.go net.Resolver":  "their names, before that: the system's, but in tests",
	"socks/route/router.go net.Dialer": "the proxy, to what [route] leads directly: Router.dial",

	"relay/fronted/config.go net.Dialer":           "to the relay of a [[deployment]]",
	"relay/fronted/transport.go http.Transport":    "HTTP to it, over that dialer",
	"relay/h3/dial.go net.DefaultResolver":         "the relay's name",
	"relay/h3/dial.go net.ListenUDP":               "QUIC to it",
	"relay/h3/dial.go quic.Transport":              "likewise",
	"socks/forward.go http.Transport":              "http:// of programs, over Router.Connect",
	"socks/udp.go net.ListenUDP":                   "an association's port, towards who has asked for it",
	"socks/dash/client.go net.Dialer":              "relaymux status and top, to the admin page",
	"socks/dash/client.go http.Transport":          "likewise",
	"socks/dash/socket.go net.DialTimeout":         "whether a Unix socket has somebody behind it",
	"socks/dash/socket.go net.ListenUnix":          "the admin socket",
	"config/environ/run.go net.DialTimeout":        "relaymux exec, whether the proxy answers",
	"config/daemon/listen.go net.Listen":           "the proxy's ports, the admin page, the DNS port",
	"config/daemon/listen.go net.ListenPacket":     "the DNS port",
	"config/daemon/node.go net.Listen":             "the node's port",
	"config/daemon/acme.go net.Listen":             "where the CA asks",
	"relay/exit/acme.go http.Client":               "to the CA of the config",
	"relay/exit/acme.go http.Transport":            "likewise",
	"relay/exit/acme.go http.ProxyFromEnvironment": "likewise",
	"relay/exit/quic.go net.ListenUDP":             "the node's port of HTTP/3",
	"relay/exit/quic.go quic.Transport":            "likewise",
	"mux/gso/probe_linux.go net.ListenUDP":         "a socket that sends nothing: what can the kernel do",
	"relay/doctor/tcp.go net.DefaultResolver":      "relaymux doctor, the relay's name",
	"relay/doctor/tcp.go net.Dialer":               "and its port",
	"relay/doctor/node.go tls.Dialer":              "and a node's own",
	"relay/doctor/node.go net.Listen":              "whether its port is free",
	"relay/doctor/node.go net.ListenPacket":        "likewise",
	"relay/doctor/acme.go net.Listen":              "likewise of port 80",
}

// TestHostile55_OneWayOut: nothing but what is known to opens sockets, so that no way to a
// target leads past the policy.
func TestHostile55_OneWayOut(t *testing.T) {
	root := filepath.Join("..", "..")
	found := make(map[string]bool)
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "testdata" || d.Name() == "relaytest") {
			if err == nil {
				err = fs.SkipDir
			}
			return err
		}
		if d.IsDir() || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		for _, use := range socketsOf(t, file) {
			found[filepath.ToSlash(rel)+" "+use] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, use := range slices.Sorted(maps.Keys(found)) {
		if mayReach[use] == "" {
			t.Errorf("%s is not in mayReach: what does it reach, who says so, and which policy is asked?", use)
		}
	}
	for _, use := range slices.Sorted(maps.Keys(mayReach)) {
		if !found[use] {
			t.Errorf("%s is in mayReach, and in no file", use)
		}
	}
}

// socketsOf is what of opensSockets a file uses, as package.Name.
func socketsOf(t *testing.T, file string) (uses []string) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]string) // of packages in this file -> import path
	for _, spec := range f.Imports {
		full, _ := strconv.Unquote(spec.Path.Value)
		name := nameOf(full)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "." && opensSockets[full] != nil {
			t.Errorf("%s imports all names of %s", file, full)
		}
		names[name] = full
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && slices.Contains(opensSockets[names[x.Name]], s.Sel.Name) {
				uses = append(uses, nameOf(names[x.Name])+"."+s.Sel.Name)
			}
		}
		return true
	})
	return uses
}

// nameOf is what a package calls itself.
func nameOf(full string) string {
	switch base := path.Base(full); base {
	case "quic-go":
		return "quic"
	case "go-socks5":
		return "socks5"
	default:
		return base
	}
}
