package relaytest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
)

// Transport returns an http.Transport on the network.
func (n *Network) Transport() *http.Transport {
	return &http.Transport{DialContext: n.Dial, DisableCompression: true, MaxIdleConnsPerHost: 256}
}

// Connect opens a connection to host and port through the proxy's SOCKS5 side,
// names as names.
func (s *Stack) Connect(ctx context.Context, address string) (net.Conn, error) {
	conn, err := s.Dial(ctx, "tcp", s.Proxy)
	if err != nil {
		return nil, err
	}
	if err := socks5(conn, address); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// socks5 is the client's side of RFC 1928, without authentication.
func socks5(conn net.Conn, address string) error {
	request, err := appendSOCKSAddress([]byte{5, 1, 0, 5, 1, 0}, address)
	if err != nil {
		return err
	}
	_, err = socks5Ask(conn, request)
	return err
}

// socks5Ask sends a greeting and a request in one, and reads the replies. It
// returns the address in the second.
func socks5Ask(conn net.Conn, request []byte) (bound string, err error) {
	if _, err := conn.Write(request); err != nil {
		return "", err
	}
	var reply [2 + 3 + 255 + 4]byte
	const head = 2 + 3 + 2 // up to the first byte of the address
	if _, err := io.ReadFull(conn, reply[:head]); err != nil {
		return "", fmt.Errorf("reading the SOCKS reply: %w", err)
	}
	if code := reply[3]; code != 0 {
		return "", SOCKSError(code)
	}
	address := reply[5 : 5+socksAddressLen(reply[5], reply[6])]
	if _, err := io.ReadFull(conn, reply[head:5+len(address)]); err != nil {
		return "", fmt.Errorf("reading the SOCKS reply: %w", err)
	}
	bound, _, err = cutSOCKSAddress(address)
	return bound, err
}

// appendSOCKSAddress appends ATYP, address and port of RFC 1928, section 5.
func appendSOCKSAddress(b []byte, address string) ([]byte, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	if ip, err := netip.ParseAddr(host); err != nil {
		b = append(append(b, 3, byte(len(host))), host...)
	} else if ip.Is4() {
		b = append(append(b, 1), ip.AsSlice()...)
	} else {
		b = append(append(b, 4), ip.AsSlice()...)
	}
	return append(b, byte(port>>8), byte(port)), nil
}

// cutSOCKSAddress is the other way round. It returns what follows.
func cutSOCKSAddress(b []byte) (address string, rest []byte, err error) {
	n := 0
	if len(b) >= 2 {
		n = socksAddressLen(b[0], b[1])
	}
	if n == 0 || len(b) < n {
		return "", nil, fmt.Errorf("no SOCKS address: % x", b[:min(len(b), 32)])
	}
	host, port := string(b[2:n-2]), int(b[n-2])<<8|int(b[n-1])
	if b[0] != 3 {
		ip, _ := netip.AddrFromSlice(b[1 : n-2])
		host = ip.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), b[n:], nil
}

// socksAddressLen is how many bytes an address of a type takes, the type and the
// port among them, whose first byte is first; 0 if there is no such type.
func socksAddressLen(atyp, first byte) int {
	switch atyp {
	case 1:
		return 1 + 4 + 2
	case 3:
		return 1 + 1 + int(first) + 2
	case 4:
		return 1 + 16 + 2
	}
	return 0
}

// ConnectHTTP opens a connection to host and port through the proxy's HTTP side,
// by CONNECT.
func (s *Stack) ConnectHTTP(ctx context.Context, address string) (net.Conn, error) {
	conn, err := s.Dial(ctx, "tcp", s.Proxy)
	if err != nil {
		return nil, err
	}
	if err := connectHTTP(conn, address); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// connectHTTP is the client's side of RFC 9110 section 9.3.6. It reads byte by
// byte, for what follows the answer's head belongs to the caller.
func connectHTTP(conn net.Conn, address string) error {
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", address); err != nil {
		return err
	}
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		var b [1]byte
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			return fmt.Errorf("reading the answer to CONNECT: %w", err)
		}
		head = append(head, b[0])
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return fmt.Errorf("parsing the answer to CONNECT: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return StatusError(resp.StatusCode)
	}
	return nil
}

// A StatusError is an HTTP status other than 200 in answer to CONNECT.
type StatusError int

func (e StatusError) Error() string { return fmt.Sprintf("status %d", int(e)) }

// A SOCKSError is a reply code other than success.
type SOCKSError byte

func (e SOCKSError) Error() string { return fmt.Sprintf("SOCKS reply %d", byte(e)) }

// Client returns an HTTP client that uses the proxy, over SOCKS5 or as an HTTP
// proxy.
func (s *Stack) Client(overSOCKS bool) *http.Client {
	t := &http.Transport{DialContext: s.Dial, DisableCompression: true, MaxIdleConnsPerHost: 256}
	if overSOCKS {
		t.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) { return s.Connect(ctx, addr) }
	} else {
		t.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: s.Proxy})
	}
	return &http.Client{Transport: t}
}
