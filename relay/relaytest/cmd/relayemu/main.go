// Command relayemu is the emulated relay (relaytest.Relay), scripts and binary
// ones, as a process of its own, to put between two real ones. It is for tests
// only.
//
// It prints one line, "relay ADDRESS control ADDRESS", and serves until SIGTERM
// or SIGINT. The control address is for whoever runs the test (control.go).
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"relaymux/relay/relaytest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "relayemu:", err)
		os.Exit(1)
	}
}

// options are what the flags say. The keys come from the environment,
// RELAYEMU_AUTH_KEY and RELAYEMU_TUNNEL_KEY, for argv is everybody's to read.
type options struct {
	listen, control string
	certificate     string // PEM of the chain and the key; "" is plain HTTP
	relay           relaytest.RelayConfig
	knobs           relaytest.Knobs
}

func parse(args []string) (*options, error) {
	o := &options{relay: relaytest.RelayConfig{
		AuthKey: os.Getenv("RELAYEMU_AUTH_KEY"), TunnelKey: os.Getenv("RELAYEMU_TUNNEL_KEY"), Seed: 1}}
	fs := flag.NewFlagSet("relayemu", flag.ContinueOnError)
	fs.StringVar(&o.listen, "listen", "127.0.0.1:0", "`address` of the relay")
	fs.StringVar(&o.control, "control", "127.0.0.1:0", "`address` of the control endpoint")
	fs.StringVar(&o.certificate, "certificate", "", "PEM `file` of certificate and key; without it, plain HTTP")
	fs.Func("node", "`URL` of the node", setURL(&o.relay.Node))
	fs.Func("echo", "`URL` whose scheme and host redirects lead to; default plain HTTP, same host", setURL(&o.relay.Echo))
	deployments := fs.String("deployments", "d1", "`ids` of the scripts, with commas between")
	workers := fs.String("workers", "", "`ids` of binary relays, under /w/<id>/; they ask messages of the link for the key")
	fs.DurationVar(&o.knobs.RTT, "rtt", 0, "`time` of an exchange")
	fs.IntVar(&o.knobs.Slots, "slots", 30, "executions at once of each deployment; 0 is no limit")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	o.relay.Deployments, o.relay.Workers = ids(*deployments), ids(*workers)
	if o.relay.Node == nil {
		return nil, fmt.Errorf("-node is missing")
	}
	return o, nil
}

// ids are those of a list, none if it is empty.
func ids(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

func setURL(to **url.URL) func(string) error {
	return func(text string) (err error) {
		*to, err = url.Parse(text)
		return err
	}
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	ln, err := listen(o)
	if err != nil {
		return err
	}
	defer ln.Close()
	control, err := net.Listen("tcp", o.control)
	if err != nil {
		return fmt.Errorf("opening the control port: %w", err)
	}
	r := relaytest.NewRelay(o.relay)
	r.Set(func(k *relaytest.Knobs) { *k = o.knobs })
	s := &http.Server{Handler: controller(r), ReadHeaderTimeout: 10 * time.Second}
	defer s.Close()
	go s.Serve(control) // ends with Close
	fmt.Printf("relay %s control %s\n", ln.Addr(), control.Addr())
	return relaytest.ServeRelay(ctx, ln, r)
}

// listen opens the relay's port, with TLS (HTTP/1.1 and h2) if there is a
// certificate.
func listen(o *options) (net.Listener, error) {
	ln, err := net.Listen("tcp", o.listen)
	if err != nil {
		return nil, fmt.Errorf("opening the relay's port: %w", err)
	}
	if o.certificate == "" {
		return ln, nil
	}
	cert, err := tls.LoadX509KeyPair(o.certificate, o.certificate)
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	return tls.NewListener(ln, &tls.Config{
		Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}), nil
}
