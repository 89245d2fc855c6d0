// A plain server of HTTP/1.1 and HTTP/2 by the same Go: what h2spec has to say about it
// is what it has to say about Go, and not about the node.
//
//	go run plain.go CERTIFICATE
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listens", listener.Addr())
	log.Fatal(http.ServeTLS(listener, http.NotFoundHandler(), os.Args[1], os.Args[1]))
}
