"""UDP: real clients of UDP ASSOCIATE, and what must not get through."""

import collections
import contextlib
import hashlib
import os
import re
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

import clients
import clients_udp
import origin_udp
from clients_udp import Association, PySocks
from hostile import hostile
from world import HOSTS, require, until

# Payloads up to the largest that fits a datagram of IPv4 below its SOCKS header:
# 65,507 bytes (RFC 768 in RFC 791) less 10. IPv6 has 65,527 less 10 or 22.
SIZES = (0, 1, 2, 511, 512, 1199, 1200, 1201, 1472, 8999, 9000, 9001, 1 << 14, 1 << 15, 65000, 65496, 65497)
MOST_IPV4, MOST_IPV6 = 65507, 65527


def named(host):
    """SIZES below a SOCKS header with that name."""
    return (*SIZES[:-2], MOST_IPV4 - 7 - len(host))


def echoes(client, target, sizes, peer=None):
    """Sends and receives one datagram of each size. Every answer must be from
    peer, which is target unless that is a name."""
    for size in sizes:
        payload = os.urandom(size)
        client.send(target, payload)
        got, sender = client.receive()
        require(got == payload, f"{size} bytes to {target} came back as {len(got)}, or differ")
        require(sender == (peer or target), f"the answer from {target} says {sender}")


def too_large(client, target, most):
    """An answer of most bytes arrives, a larger one is dropped, never cut: nothing
    arrives but that and the small one behind it. They may change places, for UDP
    promises no order."""
    for size in (most, most + 1, 5):
        client.send(target, b"%d" % size)
    came = sorted((client.receive()[0] for _ in range(2)), key=len)
    require(came == [origin_udp.NOISE[:size] for size in (5, most)], f"for answers of 5 and {most} bytes came {[len(got) for got in came]}")


@hostile(24)
def pysocks_udp(world):
    """Datagrams of all sizes by address and by name; over IPv6 by bare sockets,
    for PySocks speaks to its proxy by IPv4 alone."""
    program, proxy = world.embedded(hosts=True)
    origin = origin_udp.OriginUDP()
    with PySocks(proxy) as client:
        echoes(client, ("127.0.0.1", origin.echo), SIZES)
        echoes(client, ("::1", origin.echo6), (*SIZES[:-2], MOST_IPV4 - 22))
        too_large(client, ("127.0.0.1", origin.sized), MOST_IPV4 - 10)
    with PySocks(proxy) as client:
        echoes(client, (HOSTS[0], origin.echo), named(HOSTS[0]), ("127.0.0.1", origin.echo))
    dropped = counts(stopped(program))
    require(dropped == {"too_large": 1}, f"one datagram was too large, counted: {dropped}")
    node, program, proxy = world.direct(host="[::1]")
    with Association(proxy) as client:
        echoes(client, ("::1", origin.echo6), (*SIZES, MOST_IPV6 - 22))
        echoes(client, ("127.0.0.1", origin.echo), (*SIZES, MOST_IPV4))
        client.send(("127.0.0.1", origin.echo), bytes(MOST_IPV4 + 1))
        too_large(client, ("::1", origin.sized6), MOST_IPV6 - 22)
    dropped = [counts(stopped(each)) for each in (program, node)]
    require(dropped == [{"too_large": 1}] * 2, f"one answer was too large, and one datagram for the node, counted: {dropped}")
    return f"{len(SIZES)} sizes up to {MOST_IPV4 - 10} and {MOST_IPV6 - 22} bytes whole, 3 larger ones dropped"


def stopped(program):
    """Stops the program and returns the record of its end: the proxy's, or else the node's."""
    program.signal()
    code = program.wait(15)
    require(code == 0, f"exit code {code}")
    ends = {record["msg"]: record for record in program.log()}
    return ends.get("stopped") or ends["node stopped"]


def counts(record):
    """How many datagrams were dropped, by reason."""
    return {name.removeprefix("dropped_"): count for name, count in record.items() if name.startswith("dropped_") and count}


@hostile(29)
def openvpn_udp(world):
    """OpenVPN between two network namespaces: pings, and 10 MB each way."""
    program, proxy = world.embedded()
    host, port = clients.host_port(proxy)
    served = os.path.join(world.directory, "served")
    os.mkdir(served)
    with open(os.path.join(served, "noise"), "wb") as file:
        file.write(os.urandom(10_000_000))
    web = [sys.executable, "-m", "http.server", "--directory", served, "8000"]
    near, far = world.namespace("near", *web), world.namespace("far", *web)
    listen = str(origin_udp.free_port())
    server = clients_udp.openvpn(world, "server", far, ("10.8.0.1", "10.8.0.2"), "--local", "127.0.0.1", "--port", listen,
                                 "--tls-server", "--dh", "none")
    client = clients_udp.openvpn(world, "client", near, ("10.8.0.2", "10.8.0.1"), "--remote", "127.0.0.1", listen, "--nobind",
                                 "--tls-client", "--socks-proxy", host, str(port))
    for end in (server, client):
        end.find("Peer Connection Initiated")
        end.find("Initialization Sequence Completed")
    pings = clients.run(near.inside(["ping", "-n", "-q", "-c", "10", "-i", "0.2", "10.8.0.1"])).decode()
    require(" 0% packet loss" in pings, pings)
    said = [f"ping {re.search(r'= ([0-9./]+) ms', pings)[1]} ms, 0 % loss"]
    for name, namespace, address in (("down", near, "10.8.0.1"), ("up", far, "10.8.0.2")):
        start = time.monotonic()
        got = clients.run(namespace.inside(["curl", "-sS", "--fail", "--noproxy", "*", f"http://{address}:8000/noise"]))
        seconds = time.monotonic() - start
        with open(os.path.join(served, "noise"), "rb") as file:
            require(hashlib.sha256(got).digest() == hashlib.file_digest(file, "sha256").digest(), f"10 MB {name} differ")
        said.append(f"10 MB {name} {seconds:.2f} s")
    record = stopped(program)  # beside a tunnel that is up
    require(min(record["up_bytes"], record["down_bytes"]) > 10_000_000, f"they went another way: {record}")
    return ", ".join(said)


def redsocks_udp(world):
    """Questions and long answers of DNS by redsocks, with a password."""
    name, password = "ann", world.secret()
    _, program, proxy = world.direct(users=f'[{{ name = "{name}", password = "{password}" }}]')
    port = clients_udp.redsocks(world, proxy, name, password, ("127.0.0.1", origin_udp.OriginUDP().dns))
    text = clients_udp.kdig(port, "+short", "e2e.test", "A")
    require(text.strip() == origin_udp.ADDRESS, f"the answer is {text}")
    text = clients_udp.kdig(port, "+bufsize=4096", "e2e.test", "TXT")
    require(text.count("t" * 255) == 12, f"the long answer is {text}")
    flows = stopped(program)["udp_flows"]
    require(flows == 2, f"{flows} flows went through the proxy")
    return "2 of 2 questions, one answer of 3 KB"


def torrent_udp(world):
    """20 MB from peer to peer by libtorrent's uTP."""
    program, proxy = world.embedded()
    size = 20_000_000
    with clients_udp.torrents(world.directory, proxy, size) as (has, torrent):
        seconds = clients_udp.download(has, torrent, 60)
    record = stopped(program)
    require(record["down_bytes"] > size, f"they went another way: {record}")
    return f"{size / 1e6:.0f} MB in {seconds:.2f} s"


@hostile(19, 20, 21, 22, 23)
def udp_drops(world):
    """What is dropped and counted: other senders, fragments, bad headers. And
    nothing is left of an association a second after its connection's end."""
    program, proxy = world.embedded()
    target = origin_udp.udp_socket("127.0.0.1")
    target.settimeout(clients_udp.WAIT)
    good = clients_udp.header(target.getsockname())
    with Association(proxy) as client, client.sender() as other, client.sender("127.0.0.2") as stranger:
        first = [("source", stranger, good + b"a stranger"), ("header", other, b"latches nothing")]
        later = [("source", stranger, good + b"a stranger"), ("source", other, good + b"another port")]
        later += [("fragment", client.socket, good[:2] + bytes([fragment]) + good[3:]) for fragment in (1, 127, 128, 255)]
        later += [("header", client.socket, datagram) for datagram in (
            b"", good[:-1], bytes(3) + b"\2" + good[4:], bytes(3) + b"\3\xffa name past the end", bytes(3) + b"\4" + bytes(17))]
        deliver(first, client.socket, good + b"good", target)
        proxied = deliver(later, client.socket, b"RS\0" + good[3:] + b"good", target)  # RSV is not looked at
        target.sendto(b"answer", proxied)
        require(client.receive() == (b"answer", target.getsockname()), "another answer")
    ends = [ended(proxy, target, end) for end in (close, half_close, reset)]
    target.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        require(not target.recv(100), "a datagram arrived after its association's end")
    want, counted = dict(collections.Counter(reason for reason, *_ in first + later)), counts(stopped(program))
    require(counted == want, f"dropped are {want}, counted {counted}")
    return f"counted {want}; sockets gone after {', '.join(f'{1000 * seconds:.0f}' for seconds in ends)} ms"


def deliver(bad, sender, datagram, target):
    """Sends all of bad, and then datagram, which alone arrives. Returns the
    node's address."""
    for _, other, refused in bad:
        other.send(refused)
    sender.send(datagram)
    got, proxied = target.recvfrom(100)
    require(got == b"good", f"{got} arrived")
    return proxied


def close(connection):
    connection.close()


def half_close(connection):
    connection.shutdown(socket.SHUT_WR)


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def ended(proxy, target, end):
    """Ends an association, and returns the seconds until its port and the node's
    are free. Five datagrams: the end of a mere question waits for an exchange to
    travel with, and its session at the node as well."""
    with Association(proxy) as client:
        for _ in range(5):
            proxied = deliver([], client.socket, clients_udp.header(target.getsockname()) + b"good", target)
        end(client.control)
        start = time.monotonic()
        for name, port in (("association", client.relay), ("node", proxied)):
            until(lambda port=port: is_free(port), 1, f"the {name}'s port is free after {end.__name__}")
        seconds = time.monotonic() - start
        client.send(target.getsockname(), b"after the end")
        return seconds


def is_free(port):
    with contextlib.suppress(OSError):
        origin_udp.udp_socket(*port).close()
        return True
    return False


@hostile(25, 29)
def udp_many(world):
    """256 destinations of one association at once, 100 associations at once, and
    64 datagrams on their way."""
    _, proxy = world.embedded()
    origin = origin_udp.OriginUDP()
    targets = many_origins(256)
    with Association(proxy) as client:
        start = time.monotonic()
        for target in targets:
            client.send(target, b"to %d" % target[1])
        got = [client.receive() for _ in targets]
        said = [f"256 destinations {time.monotonic() - start:.2f} s"]
        require(sorted(got) == sorted((b"to %d" % target[1], target) for target in targets), "answers differ")
    start, target = time.monotonic(), ("127.0.0.1", origin.echo)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(Association(proxy)) for _ in range(100)]
        require(len({client.relay for client in held}) == 100, "two associations share a port")
        for turn in range(20):
            for i, client in enumerate(held):
                client.send(target, b"%d %d" % (i, turn))
            for i, client in enumerate(held):
                require(client.receive() == (b"%d %d" % (i, turn), target), f"association {i} has another's answer")
    said.append(f"100 associations of 20 echoes {time.monotonic() - start:.2f} s")
    with Association(proxy) as client:
        said.append(outstanding(client, target, 64, 3))
    return ", ".join(said)


def many_origins(count):
    """That many echo servers on 127.0.0.1, in one thread."""
    ready, targets = selectors.DefaultSelector(), []
    for _ in range(count):
        server = origin_udp.udp_socket("127.0.0.1")
        ready.register(server, selectors.EVENT_READ)
        targets.append(server.getsockname())

    def serve():
        while True:
            for key, _ in ready.select():
                key.fileobj.sendto(*key.fileobj.recvfrom(100))

    threading.Thread(target=serve, daemon=True).start()
    return targets


def outstanding(client, target, count, seconds):
    """Keeps count echoes of 1,200 bytes on their way, each told by its first
    bytes, and loses none."""
    sent, times, started = {}, [], time.monotonic()
    while sent or time.monotonic() < started + seconds:
        while len(sent) < count and time.monotonic() < started + seconds:
            number = struct.pack(">Q", len(times) + len(sent))
            sent[number] = time.monotonic()
            client.send(target, number + bytes(1192))
        got, _ = client.receive()
        require(got[8:] == bytes(1192), "an echo differs")
        times.append(time.monotonic() - sent.pop(got[:8]))
    return (f"{len(times) / (time.monotonic() - started):.0f} echoes/s with {count} on their way, "
            f"p50 {1000 * statistics.median(times):.1f} ms, none lost")


@hostile(24)
def udp_relay(world):
    """PySocks through a script of 0.3 s and two processes, over the link."""
    program, proxy, emulator = world.through_relay(round_trip=0.3)
    origin = origin_udp.OriginUDP()
    start = time.monotonic()
    with PySocks(proxy) as client:
        echoes(client, ("127.0.0.1", origin.echo), SIZES)
        echoes(client, (HOSTS[0], origin.echo), named(HOSTS[0]), ("127.0.0.1", origin.echo))
        too_large(client, ("127.0.0.1", origin.sized), MOST_IPV4 - 10)
    each = (time.monotonic() - start) / (2 * len(SIZES) + 1)
    exchanges = emulator.total()
    with PySocks(proxy) as client:
        said = outstanding(client, ("127.0.0.1", origin.echo), 64, 3)
    dropped = counts(stopped(program))
    require(dropped == {"too_large": 1}, f"one datagram was too large, counted: {dropped}")
    return f"{2 * len(SIZES)} sizes, {each:.2f} s each in {exchanges} exchanges; {said}"


def gso_shaper(_):
    """mux/gso's own tests in network namespaces, with shapers."""
    done = subprocess.run(["go", "test", "-count=1", "-v", "-run", "Netns", "./mux/gso"], env={**os.environ, "RELAYMUX_NETNS": "1"},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    passed = re.findall(r"^--- PASS: (\w+)", done.stdout, re.MULTILINE)
    require(done.returncode == 0 and passed and "--- SKIP" not in done.stdout, f"not all passed:\n{done.stdout[-2000:]}")
    return f"{len(passed)} passed; " + "; ".join(re.findall(r"\d+ Mbit/s.*", done.stdout))


CHECKS = [(pysocks_udp, 60), (openvpn_udp, 60), (redsocks_udp, 30), (torrent_udp, 90), (udp_drops, 40), (udp_many, 60),
          (udp_relay, 90), (gso_shaper, 120)]
