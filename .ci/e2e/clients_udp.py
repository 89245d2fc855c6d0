"""The clients of UDP ASSOCIATE: PySocks, OpenVPN, libtorrent, redsocks with kdig
before it, and bare sockets."""

import contextlib
import os
import socket
import struct
import sys
import time

import clients
import origin_udp
from world import require, until

try:
    import socks  # PySocks
    import libtorrent
except ImportError as missing:  # of the packages that .ci/run installs: its checks fail, the others run
    print(missing, file=sys.stderr)

WAIT = 10  # seconds for an answer; it is there in milliseconds, or in a round trip of the relay


class Association:
    """UDP ASSOCIATE (RFC 1928, section 7) by bare sockets, where clients do not
    go: IPv6, other senders, bad headers."""

    def __init__(self, proxy):
        self.control = socket.create_connection(clients.host_port(proxy), WAIT)
        self.control.sendall(b"\x05\x01\x00" + b"\x05\x03\x00\x01" + bytes(6))
        require(clients.exactly(self.control, 5) == b"\x05\x00\x05\x00\x00", "UDP ASSOCIATE is refused")
        address = clients.exactly(self.control, 1)
        address += clients.exactly(self.control, (4 if address == b"\x01" else 16) + 2)
        self.relay = unpack(address)[0]
        require(self.relay[0] == self.control.getpeername()[0], f"BND.ADDR is {self.relay[0]}")
        self.socket = self.sender()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.control.close()
        self.socket.close()

    def sender(self, host=None):
        """A socket that only this association's port can answer. It is at the
        host of the control connection if nothing else is said."""
        sender = origin_udp.udp_socket(host or self.control.getsockname()[0])
        sender.connect(self.relay)
        sender.settimeout(WAIT)
        return sender

    def send(self, target, payload):
        self.socket.send(header(target) + payload)

    def receive(self):
        """Returns a payload, and the (host, port) that it is said to be from."""
        datagram = self.socket.recv(1 << 16)
        require(datagram[:3] == bytes(3), f"RSV or FRAG in {datagram[:10].hex()}")
        peer, size = unpack(datagram[3:])
        return datagram[3 + size:], peer


def header(target, fragment=0):
    """The SOCKS header of a datagram to (address, port)."""
    host, port = target
    kind, family = (b"\x04", socket.AF_INET6) if ":" in host else (b"\x01", socket.AF_INET)
    return bytes((0, 0, fragment)) + kind + socket.inet_pton(family, host) + struct.pack(">H", port)


def unpack(data):
    """Reads ATYP, address and port; returns (host, port) and their size."""
    family, end = {1: (socket.AF_INET, 5), 4: (socket.AF_INET6, 17)}[data[0]]
    return (socket.inet_ntop(family, data[1:end]), struct.unpack(">H", data[end:end + 2])[0]), end + 2


class PySocks:
    """PySocks, with the methods of Association."""

    def __init__(self, proxy):
        host, port = clients.host_port(proxy)
        self.socket = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.set_proxy(socks.SOCKS5, host, port)
        self.socket.settimeout(WAIT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, target, payload):
        require(self.socket.sendto(payload, target) == len(payload), "a short send")

    def receive(self):
        return self.socket.recvfrom(1 << 16)


def redsocks(world, proxy, user, password, target):
    """A port of 127.0.0.1 behind which is target, by redsocks and the proxy."""
    (host, port), listens = clients.host_port(proxy), origin_udp.free_port()
    config = world.write("redsocks.conf", f"""
base {{ daemon = off; log = "stderr"; log_info = on; redirector = generic; }}
redudp {{
	local_ip = 127.0.0.1; local_port = {listens};
	ip = {host}; port = {port}; login = "{user}"; password = "{password}";
	dest_ip = {target[0]}; dest_port = {target[1]};
}}
""")
    world.start(["redsocks", "-c", config], "redsocks").find("redsocks started")
    return listens


def kdig(port, *question):
    """Asks the DNS server on a port of 127.0.0.1, once."""
    return clients.run(["kdig", "@127.0.0.1", "-p", str(port), "+notcp", "+retry=0", *question]).decode()


@contextlib.contextmanager
def torrents(directory, proxy, size):
    """Two libtorrent sessions that speak uTP alone, and so UDP: yields one that
    has a file of size bytes, and one that lacks it and goes through the proxy."""
    host, port = clients.host_port(proxy)
    source, target = (os.path.join(directory, name) for name in ("source", "target"))
    os.mkdir(source)
    with open(os.path.join(source, "noise"), "wb") as file:
        file.write(os.urandom(size))
    files = libtorrent.file_storage()
    libtorrent.add_files(files, os.path.join(source, "noise"))
    torrent = libtorrent.create_torrent(files)
    libtorrent.set_piece_hashes(torrent, source)
    info = libtorrent.torrent_info(torrent.generate())
    quiet = {name: False for name in ("enable_dht", "enable_lsd", "enable_upnp", "enable_natpmp",
                                      "enable_outgoing_tcp", "enable_incoming_tcp")}
    quiet["listen_interfaces"] = "127.0.0.1:0"
    has = libtorrent.session(quiet)
    lacks = libtorrent.session({**quiet, "proxy_type": int(libtorrent.proxy_type_t.socks5),
                                "proxy_hostname": host, "proxy_port": port})
    has.add_torrent({"ti": info, "save_path": source, "flags": libtorrent.torrent_flags.seed_mode})
    yield has, lacks.add_torrent({"ti": info, "save_path": target})
    for session in (has, lacks):
        session.pause()


def download(has, torrent, seconds):
    """Returns how many seconds it took."""
    listens = until(lambda: has.listen_port(), 10, "libtorrent listens")
    until(lambda: torrent.status().state == libtorrent.torrent_status.downloading, 10, "libtorrent is ready")
    start = time.monotonic()
    torrent.connect_peer(("127.0.0.1", listens))
    until(lambda: torrent.status().is_seeding, seconds, "the file is whole (libtorrent compares its hashes)")
    return time.monotonic() - start


# Moves a new tun device to where it is to be used; the variables are OpenVPN's.
UP = """
ip link set "$dev" netns "$holder"
exec nsenter --net="/proc/$holder/ns/net" sh -ec '
	ip address add "$ifconfig_local" peer "$ifconfig_remote" dev "$dev"
	ip link set "$dev" up mtu 1400'
"""


def openvpn(world, name, namespace, addresses, *options):
    """One end of a tunnel between two: its packets are in namespace, its
    datagrams are on loopback here."""
    certificate = world.tools.certificate
    digest = clients.run(["openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"])
    return world.start([
        "openvpn", "--dev", "tun", "--proto", "udp4", "--cert", certificate, "--key", certificate,
        "--peer-fingerprint", digest.decode().strip().partition("=")[2], "--verb", "3",
        "--ifconfig", *addresses, "--ifconfig-noexec", "--script-security", "2",
        "--setenv", "holder", str(namespace.pid), "--up", "/bin/sh " + world.write("up.sh", UP), *options], name)
