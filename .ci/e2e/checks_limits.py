"""What many connections cost, and what happens when files run out."""

import contextlib
import os
import selectors
import signal
import socket
import statistics
import sys
import time

import clients
from faults import complaints, processor
from hostile import hostile
from world import most_files, require, until

IDLE = 10_000            # connections
IDLE_COST = 40 << 10     # bytes that one may cost, both ends together: 20 KB each
WAVE = 200               # connections that are opened at once


@hostile(81)
def few_files(world):
    """64 file descriptors for the proxy and its node, 200 connections: it does
    not exit, and works again when they have gone (HOSTILE.md 81)."""
    program, proxy = world.embedded(limit_files=64)
    return starve(world, program, proxy, program)


@hostile(81)
def few_files_proxy(world):
    """The same where the node has enough."""
    node = world.node()
    program, proxy = world.proxy(node.deployment(), node.secrets["e2e"], limit_files=64)
    return starve(world, program, proxy, program)


@hostile(81)
def few_files_node(world):
    """The same where the proxy has enough."""
    node = world.node(limit_files=64)
    program, proxy = world.proxy(node.deployment(), node.secrets["e2e"])
    return starve(world, node.program, proxy, program)


def starve(world, starved, proxy, run):
    """One that has few files says so, a few times, and does not spin; and the admin page
    answers all the time."""
    url = f"http://127.0.0.1:{world.origin.http}/bytes/1000"
    (admin,) = run.find(r"Admin page on (http://\S+)")
    clients.curl(f"socks5h://{proxy}", url)
    held = [begin(proxy, world.origin.echo) for _ in range(200)]
    used = processor(starved)
    time.sleep(3)  # long enough to fail several times
    require(starved.running(), f"{starved.name} has exited")
    used, most = processor(starved) - used, starved.files()
    require(used < 0.3, f"{used:.2f} s of CPU in 3 s: it spins")
    page = clients.run(["curl", "-sS", "--fail", "-m", "5", "--noproxy", "*", admin + "api/status"])
    require(b'"deployments"' in page, "the admin page has no status")
    said = [record for record in complaints(starved) if "too few file descriptors" in record["msg"] and "ulimit -n" in record["hint"]]
    require(0 < len(said) <= 4, f"{len(said)} lines in the log say why: {complaints(starved)[:3]}")
    for connection in held:
        connection.close()
    start = time.monotonic()
    until(lambda: clients.curl_code(f"socks5h://{proxy}", url)[0] == 0, 30, "it works again")
    back = time.monotonic() - start
    loud = len(complaints(starved))
    require(loud < 10, f"{loud} warnings: a flood")
    return f"{most} of 64 files in use at most, {used:.2f} s of CPU in 3 s, {loud} warnings, works again after {back:.1f} s"


def begin(proxy, port):
    """Starts a connection without waiting for any answer."""
    connection = socket.create_connection(clients.host_port(proxy), 10)
    connection.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big") + b"x")
    return connection


@hostile(80)
def idle_connections(world):
    """10,000 of them, or as many as the machine's limit of open files allows:
    the process holds two for each."""
    count = min(IDLE, (most_files() - 500) // 2)
    program, proxy = world.embedded(RELAYMUX_LIMITS_CONNECTIONS="20000", RELAYMUX_NODE_LIMITS_STREAMS="20000",
                                    RELAYMUX_NODE_LIMITS_DIALS_PER_SECOND="100000")
    sink = world.start([sys.executable, "-B", os.path.abspath(__file__)], "sink")
    port = int(sink.find(r"port (\d+)")[0])
    alone = latency(proxy, port)
    empty = settled(program)
    start, held = time.monotonic(), []
    while len(held) < count:
        held += wave(proxy, port, min(WAVE, count - len(held)))
    opened = time.monotonic() - start
    each = (settled(program) - empty) / len(held)
    beside = latency(proxy, port)
    alive(held)
    require(program.running(), "the proxy has exited")
    for connection in held:
        connection.close()
    until(lambda: program.files() < 300, 60, "the files of closed connections are closed")
    figures = (f"{len(held)} connections in {opened:.1f} s, {each / 1000:.1f} KB each for both ends, "
               f"a new one answers in {1000 * alone:.0f} ms alone, {1000 * beside:.0f} ms beside them")
    require(each <= IDLE_COST, f"too much memory: {figures}")
    return figures


def wave(proxy, port, size):
    """Opens size connections at once, each up to its first echo."""
    connections = [begin(proxy, port) for _ in range(size)]
    for connection in connections:
        connection.settimeout(30)
        require(clients.exactly(connection, 2 + 10 + 1)[3] == 0, "refused")
    return connections


def latency(proxy, port):
    """Seconds from connect to the first echo, the median of 15."""
    times = []
    for _ in range(15):
        start = time.monotonic()
        wave(proxy, port, 1)[0].close()
        times.append(time.monotonic() - start)
    return statistics.median(times)


def settled(program):
    """Resident memory once garbage has been collected: the least of 7 s."""
    least = program.resident()
    for _ in range(7):
        time.sleep(1)
        least = min(least, program.resident())
    return least


def alive(held):
    """One in fifty still echoes."""
    some = held[::50]
    for connection in some:
        connection.sendall(b"y")
    for i, connection in enumerate(some):
        require(clients.exactly(connection, 1) == b"y", f"connection {50 * i} is dead")


def sink():
    """The program behind idle_connections: an echo server for many."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    most_files()
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    ready = selectors.DefaultSelector()
    ready.register(listener, selectors.EVENT_READ)
    print("port", listener.getsockname()[1], flush=True)
    while True:
        for key, _ in ready.select():
            if key.fileobj is listener:
                accept_some(ready, listener)
            else:
                echo_once(ready, key.fileobj)


def accept_some(ready, listener):
    """As many as wait, for a burst is faster than a turn for each."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(256):
            ready.register(listener.accept()[0], selectors.EVENT_READ)


def echo_once(ready, connection):
    try:
        piece = connection.recv(4096)
    except ConnectionError:
        piece = b""
    if piece:
        connection.sendall(piece)
    else:
        ready.unregister(connection)
        connection.close()


CHECKS = [(few_files, 90), (few_files_proxy, 90), (few_files_node, 90), (idle_connections, 180)]

if __name__ == "__main__":
    sink()
