package socks

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// The numbers of SOCKS4 (Ying-Da Lee, "SOCKS: A protocol for TCP proxy across
// firewalls") and of its extension 4a, which sends names.
const (
	socks4Version = 4
	socks4Connect = 1
	socks4MaxText = 255 // bytes of a user id or a name; the protocol has no limit
)

var errTooLong = errors.New("text without an end")

// socks4 reads a SOCKS4 or 4a request:
//
//	VER CD PORT(2) IP(4) USERID NUL [NAME NUL, if IP is 0.0.0.x and x is not 0]
//
// The user id is what the application claims and nothing else, so that it is
// ignored, and that with Config.Users nobody comes in by this door.
func (s *Server) socks4(c *client, br *bufio.Reader) (*Request, error) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(br, head); err != nil {
		return nil, fmt.Errorf("reading the SOCKS4 request: %w", err)
	}
	if _, err := readText(br); err != nil {
		return nil, fmt.Errorf("reading the SOCKS4 user id: %w", err)
	}
	host, err := socks4Host(br, [4]byte(head[4:]))
	if err != nil {
		return nil, fmt.Errorf("reading the SOCKS4a name: %w", err)
	}
	port := binary.BigEndian.Uint16(head[2:])
	if err := s.checkSOCKS4(c, head[1]); err != nil {
		return nil, &refusal{socks4Reply(socks4Rejected), err}
	}
	if host, err = s.destination(host, port, c.local); err != nil {
		return nil, &refusal{socks4Reply(socks4Rejected), err}
	}
	return &Request{Host: host, Port: port, Source: c.source, Protocol: SOCKS4, client: c}, nil
}

func (s *Server) checkSOCKS4(c *client, command byte) error {
	switch {
	case command != socks4Connect:
		return fmt.Errorf("SOCKS4 command %d", command)
	case s.guard.neededOf(c):
		return errors.New("SOCKS4 has no passwords, and users are configured")
	}
	return nil
}

// socks4Host returns the address as text, or for 4a the name that follows.
func socks4Host(br *bufio.Reader, ip [4]byte) (string, error) {
	if ip[0] == 0 && ip[1] == 0 && ip[2] == 0 && ip[3] != 0 {
		return readText(br)
	}
	return netip.AddrFrom4(ip).String(), nil
}

// readText reads up to the next NUL and returns what stands before it.
func readText(br *bufio.Reader) (string, error) {
	var text []byte
	for {
		b, err := br.ReadByte()
		switch {
		case err != nil:
			return "", err
		case b == 0:
			return string(text), nil
		case len(text) == socks4MaxText:
			return "", errTooLong
		}
		text = append(text, b)
	}
}
