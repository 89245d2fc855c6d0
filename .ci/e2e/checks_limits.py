"""What many connections cost, and what happens when files run out."""

import os
import selectors
import signal
import socket
import statistics
import sys
import time

import clients
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
    url = f"http://127.0.0.1:{world.origin.http}/bytes/1000"
    clients.curl(f"socks5h://{proxy}", url)
    held = [begin(proxy, world.origin.echo) for _ in range(200)]
    time.sleep(3)  # long enough for accept to fail several times
    require(program.running(), "the proxy has exited")
    most = program.files()
    for connection in held:
        connection.close()
    start = time.monotonic()
    until(lambda: clients.curl_code(f"socks5h://{proxy}", url)[0] == 0, 30, "the proxy works again")
    back = time.monotonic() - start
    complaints = sum(record["level"] in ("WARN", "ERROR") for record in program.log())
    require(complaints < 100, f"{complaints} warnings: a flood")
    return f"{most} of 64 files in use at most, {complaints} warnings, works again after {back:.1f} s"


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
                ready.register(listener.accept()[0], selectors.EVENT_READ)
            else:
                echo_once(ready, key.fileobj)


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


CHECKS = [(few_files, 90), (idle_connections, 180)]

if __name__ == "__main__":
    sink()
