package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"relaymux/relay/relaytest"
	"relaymux/relay/relaytest/proc"
)

// A way is how a proxy reaches the node, by which wire.
type way struct {
	name  string
	link  bool
	relay string // path of a relay's deployments; "" is straight to the node
	http  string // that the proxy speaks
}

func ways() []way {
	return []way{
		{"script, link", true, "/macros/s/%s/exec", "1.1"},
		{"script, json", false, "/macros/s/%s/exec", "1.1"},
		{"worker, link", true, "/w/%s", "1.1"},
		{"worker, json", false, "/w/%s", "1.1"},
		{"direct, link", true, "", "auto"},
		{"direct, json", false, "", "2"},
	}
}

// The names of a way's deployments.
var ids = [...]string{"one", "two"}

// A world is a node, and a client for each way to it, with all that is between them and
// around.
type world struct {
	dir, bin string
	logs     string // directory for what processes say, "" for none
	rnd      *rand.Rand
	node     *member
	pin      string
	at       string // where the node listens
	clients  []*client
	restarts restarts
	started  time.Time
	busy     time.Time // when the weather begins, and
	done     time.Time // all that was begun is over
}

// A client is a proxy with its way, and what it carries.
type client struct {
	way
	*member
	host   *relaytest.Host
	app    relaytest.App
	stop   []func()
	relay  *relaytest.Relay // nil if it is straight
	gate   *gate            // likewise, otherwise
	url    string           // of a deployment; %s is its id
	admin  *http.Client     // of the admin page
	faults map[string]int   // how often each struck
	told   int              // of what was wrong
}

// open starts everything.
func (w *world) open(ctx context.Context) (err error) {
	w.started = time.Now()
	if err := w.certify(); err != nil {
		return err
	}
	w.node = &member{name: "node", log: w.log("node")}
	if err = w.startNode(ctx, "127.0.0.1:0"); err != nil {
		return err
	}
	for i, each := range ways() {
		c := &client{way: each, faults: make(map[string]int)}
		w.clients = append(w.clients, c)
		if err = w.openClient(ctx, c, i); err != nil {
			return fmt.Errorf("%s: %w", each.name, err)
		}
	}
	return nil
}

func (w *world) close() {
	for _, c := range w.clients {
		for _, stop := range c.stop {
			stop()
		}
	}
	if w.node != nil {
		w.node.kill()
	}
}

// command is one of the program, which tells of its goroutines every few seconds.
func (w *world) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, w.bin, args...)
	cmd.Dir = w.dir
	every := sampleEvery.Milliseconds()
	cmd.Env = append(proc.Environ(w.dir), fmt.Sprintf("GODEBUG=gctrace=1,schedtrace=%d,scheddetail=1", every))
	return cmd
}

// write puts a file where only its owner reads it.
func (w *world) write(name, text string) (path string, err error) {
	path = filepath.Join(w.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// startNode starts the node, at an address.
func (w *world) startNode(ctx context.Context, listen string) error {
	config, err := w.nodeConfig(listen, 0)
	if err != nil {
		return err
	}
	said, err := w.node.start(w.command(ctx, "node", "--config", config), func(line string) (string, bool) {
		var said struct{ Msg string }
		return line, json.Unmarshal([]byte(line), &said) == nil && said.Msg == "node listens"
	})
	if err != nil {
		return err
	}
	var is struct {
		Address string `json:"address"`
	}
	if err := json.Unmarshal([]byte(said), &is); err != nil {
		return fmt.Errorf("what the node says: %w", err)
	}
	w.at = is.Address
	return nil
}

// certify writes a certificate that the node keeps over its lives.
func (w *world) certify() error {
	c := relaytest.Certificate()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return err
	}
	w.pin = fmt.Sprintf("%x", sha256.Sum256(c.Certificate[0]))
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: c.Certificate[0]},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if _, err := w.write(name, string(pem.EncodeToMemory(block))); err != nil {
			return err
		}
	}
	return nil
}

// nodeConfig writes the node's config. It forgets sessions of the JSON wire soon, so that
// the quiet time shows what stays. guests are clients who do not come.
func (w *world) nodeConfig(listen string, guests int) (path string, err error) {
	text := fmt.Sprintf(`[node]
listen = %q
tls_cert = "cert.pem"
tls_key = "key.pem"
key = %q

[node.egress]
allow_private = true

[node.limits]
memory = "64MiB"
reap = "45s"

[[node.client]]
name = "soak"
secret = %q
`, listen, relaytest.TunnelKey, relaytest.LinkSecret)
	for i := range guests {
		text += fmt.Sprintf("\n[[node.client]]\nname = \"guest%d\"\nsecret = \"a secret of a guest who never comes, %d\"\n", i, i)
	}
	return w.write("node.toml", text)
}

// openClient starts what is between a client and the node, and the client.
func (w *world) openClient(ctx context.Context, c *client, number int) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	pc, err := new(relaytest.Stack).ListenPacket()
	if err != nil {
		return err
	}
	c.host = relaytest.NewHost(ln, pc)
	c.host.Once, c.host.Patience = c.link, 5*time.Minute
	c.host.Excuse = w.restarts.since
	c.stop = append(c.stop, func() { ln.Close(); pc.Close() })
	if c.way.relay != "" {
		err = c.openRelay(ctx, w.at, uint64(number))
	} else {
		err = c.openGate(w.at)
	}
	if err != nil {
		return err
	}
	c.member = &member{name: c.way.name, log: w.log(c.file())}
	config, err := w.clientConfig(c, 50, len(ids))
	if err != nil {
		return err
	}
	said, err := c.start(w.command(ctx, "run", "--config", config), proc.After("proxy on "))
	if err != nil {
		return err
	}
	c.stop = append(c.stop, c.kill)
	apps := &relaytest.Stack{Proxy: said}
	c.app = relaytest.App{Dial: apps.Connect, Associate: func(ctx context.Context) (net.PacketConn, error) { return apps.Associate(ctx) }}
	socket := w.socket(c)
	c.admin = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}}}
	return nil
}

func (c *client) openRelay(ctx context.Context, node string, seed uint64) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	config := relaytest.RelayConfig{
		AuthKey: relaytest.AuthKey, TunnelKey: relaytest.TunnelKey, Node: &url.URL{Scheme: "https", Host: node}, Seed: seed,
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 256, IdleConnTimeout: 20 * time.Second,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}
	if strings.HasPrefix(c.way.relay, "/w/") {
		config.Workers = ids[:]
	} else {
		config.Deployments = ids[:]
	}
	c.relay = relaytest.NewRelay(config)
	c.relay.Set(well)
	ctx, cancel := context.WithCancel(ctx)
	var served sync.WaitGroup
	served.Go(func() { _ = relaytest.ServeRelay(ctx, ln, c.relay) }) // it ends with ctx
	c.stop = append(c.stop, func() { cancel(); served.Wait() })
	c.url = "http://" + ln.Addr().String() + c.way.relay
	return nil
}

func (c *client) openGate(node string) (err error) {
	if c.gate, err = openGate(node); err != nil {
		return err
	}
	c.stop = append(c.stop, c.gate.close)
	c.url = "https://" + c.gate.address()
	return nil
}

// file is a way's name in those of files.
func (w *way) file() string { return strings.ReplaceAll(w.name, ", ", "-") }

func (w *world) socket(c *client) string { return filepath.Join(w.dir, c.file()+".sock") }

// log is where what a process says is kept; nil if it is not.
func (w *world) log(name string) io.Writer {
	if w.logs == "" {
		return nil
	}
	f, err := os.Create(filepath.Join(w.logs, name+".log"))
	if err != nil {
		return nil // the directory has been made
	}
	return f
}

// clientConfig writes a client's config, with so many deployments of a relay's.
func (w *world) clientConfig(c *client, maxOps, deployments int) (path string, err error) {
	name := c.file()
	text := fmt.Sprintf(`[proxy]
listen = "127.0.0.1:0"

[admin]
listen = ""
socket = %q

[state]
dir = %q

[limits]
memory = "64MiB"

[batch]
max_ops = %d

[[account]]
name = %q
daily_quota = %d
slots = 30
`, w.socket(c), filepath.Join(w.dir, name), maxOps, name, quota)
	if c.link {
		text += fmt.Sprintf("\n[link]\nsecret = %q\n", relaytest.LinkSecret)
	}
	key := relaytest.AuthKey
	if !c.link && !strings.HasPrefix(c.way.relay, "/macros") {
		key = relaytest.TunnelKey
	}
	for i, id := range ids[:deployments] {
		if c.gate != nil && i > 0 {
			break // it is one node
		}
		at := c.url
		if c.relay != nil {
			at = fmt.Sprintf(c.url, id)
		}
		text += fmt.Sprintf("\n[[deployment]]\nname = %q\nurl = %q\nkey = %q\naccount = %q\nhttp = %q\n", id, at, key, name, c.http)
		if c.gate != nil {
			text += fmt.Sprintf("pin_sha256 = %q\n", w.pin)
		}
	}
	return w.write(name+".toml", text)
}

// quota is more than any soak uses in a day.
const quota = 100_000_000
