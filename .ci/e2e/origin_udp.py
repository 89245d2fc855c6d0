"""The UDP servers that clients are sent to, in threads of this process."""

import os
import socket
import struct
import threading

ADDRESS = "192.0.2.7"  # that every name has (RFC 5737: nobody's)
NOISE = os.urandom(1 << 16)


class OriginUDP:
    """Ports of servers on 127.0.0.1, and on ::1 where the name ends in 6."""

    def __init__(self):
        self.echo, self.echo6 = serve_udp(echo), serve_udp(echo, "::1")
        self.sized, self.sized6 = serve_udp(sized), serve_udp(sized, "::1")
        self.dns = serve_udp(dns)


def serve_udp(answer, host="127.0.0.1"):
    """Answers every datagram with answer(datagram), and returns the port."""
    server = udp_socket(host)

    def serve():
        while True:
            datagram, peer = server.recvfrom(1 << 16)
            server.sendto(answer(datagram), peer)

    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1]


def udp_socket(host, port=0):
    """A bound socket that holds a burst of some thousand small datagrams."""
    server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)  # or what the system allows
    server.bind((host, port))
    return server


def free_port():
    """A port of 127.0.0.1 for a program that cannot tell which one it chose."""
    with udp_socket("127.0.0.1") as free:
        return free.getsockname()[1]


def echo(datagram):
    return datagram


def sized(datagram):
    """As many bytes as the datagram says in decimal."""
    return NOISE[:int(datagram)]


def dns(query):
    """An answer (RFC 1035): every name has ADDRESS, and a text of 3 KB."""
    end = query.index(b"\0", 12) + 5  # of the question: a name, its type and class
    kind = query[end - 4:end - 2]
    text = (b"\xff" + b"t" * 255) * 12
    data = socket.inet_aton(ADDRESS) if kind == b"\0\1" else text
    head = query[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, 1, 0, 0)
    return head + query[12:end] + b"\xc0\x0c" + kind + struct.pack(">HIH", 1, 60, len(data)) + data
