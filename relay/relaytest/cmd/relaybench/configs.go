package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// write puts a config where only its owner reads it.
func (p *programs) write(name, text string) (path string, err error) {
	path = filepath.Join(p.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// nodeConfig is a node's. Everything that it does not need stays at its default, for
// that is what is to be measured; connections are raised if so many are to be idle.
func nodeConfig(plain bool, idle int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `[node]
listen = "127.0.0.1:0"
self_signed = %t
plain = %t
key = %q

[[node.client]]
name = "bench"
secret = %q

[node.egress]
allow_private = true
`, !plain, plain, tunnelKey, linkSecret)
	if idle > 0 {
		fmt.Fprintf(&b, "\n[node.limits]\nstreams = %d\n", idle+spare)
	}
	return b.String()
}

// clientConfig is that of a client with one deployment. Of a script's day it uses up
// more than one in seconds.
func clientConfig(url, pin, http string, idle int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `[proxy]
listen = "127.0.0.1:0"

[link]
secret = %q

[[account]]
name = "bench"
daily_quota = 0

[[deployment]]
url = %q
key = %q
account = "bench"
http = %q
`, linkSecret, url, authKey, http)
	if pin != "" {
		fmt.Fprintf(&b, "pin_sha256 = %q\n", pin)
	}
	if idle > 0 {
		fmt.Fprintf(&b, "\n[limits]\nconnections = %d\n", idle+spare)
	}
	return b.String()
}

// spare is how many connections may be open beside the idle ones.
const spare = 1000
