// Command relaymux is a local SOCKS5 and HTTP proxy that carries every
// connection through relays which only answer requests, to an exit node of its
// user's own. README.md says how to set it up.
package main

import (
	"os"

	"relaymux/config/command"
)

// version is set by the linker (Makefile).
var version = "dev"

func main() { os.Exit(command.Main(version, os.Args[1:])) }
