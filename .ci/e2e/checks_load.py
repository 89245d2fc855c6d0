"""What load does to both ends: memory, latency, descriptors. These are long, and run only
when named, as make soak does."""

import concurrent.futures
import contextlib
import hashlib
import os
import re
import selectors
import socket
import statistics
import sys
import threading
import time

import clients
from checks_limits import begin, settled, wave
from faults import processor
from hostile import hostile
from world import most_files, require, until

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
STORM = 5000     # connections a second
MANY = {"RELAYMUX_LIMITS_CONNECTIONS": "20000", "RELAYMUX_NODE_LIMITS_STREAMS": "20000"}


def sink(world):
    """The port of an echo server for many."""
    program = world.start([sys.executable, "-B", os.path.join(HERE, "checks_limits.py")], "sink")
    return int(program.find(r"port (\d+)")[0])


def peak(program):
    """The most resident memory that it ever had (VmHWM of proc(5)), in MiB."""
    with open(f"/proc/{program.process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) >> 10


def collector(program):
    """The share of CPU that the garbage collector has had, in percent (GODEBUG=gctrace=1),
    and how often it ran."""
    lines = re.findall(r"^gc (\d+) @[\d.]+s (\d+)%", program.err(), re.MULTILINE)
    return (int(lines[-1][1]), int(lines[-1][0])) if lines else (0, 0)


def get(world, proxy, size):
    """Downloads so many bytes, which have to be whole."""
    with clients.socks5(proxy, "127.0.0.1", world.origin.http) as connection:
        connection.sendall(f"GET /bytes/{size} HTTP/1.1\r\nHost: origin\r\nConnection: close\r\n\r\n".encode())
        connection.settimeout(60)
        with connection.makefile("rb") as file:
            while file.readline().strip():
                pass
            return hashlib.file_digest(file, "sha256").hexdigest()


def put(world, proxy, text):
    """Uploads text and returns what the origin says of it."""
    with clients.socks5(proxy, "127.0.0.1", world.origin.at_eof) as connection:
        connection.settimeout(60)
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        return clients.to_end(connection).decode().strip()


def bulk(world, proxy, streams, size):
    """Downloads at the same time, all whole; returns MB/s."""
    want, start = world.origin.sha256(size), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(streams) as pool:
        ends = list(pool.map(lambda _: get(world, proxy, size), range(streams)))
    require(ends == [want] * streams, "a download is not whole")
    return streams * size / (time.monotonic() - start) / 1e6


def way(world, wire):
    """A node and a proxy of it, by HTTP/3 or by the JSON wire."""
    if wire == "json":
        node = world.node()
        program, proxy = world.proxy(node.deployment() + 'wire = "json"\n')
        return node.program, program, proxy
    node = world.node(tls=True)
    ways = f'[[deployment]]\nurl = "https://{node.address}"\nca_file = "{world.tools.certificate}.crt"\n'
    program, proxy = world.proxy(ways, node.secrets["e2e"])
    return node.program, program, proxy


@hostile(88)
def long_memory(world):
    """GOMEMLIMIT=64MiB at both ends, with the memory of buffers to match and without: 16
    downloads and 200 connections at a time."""
    said = []
    for wire in ("link", "json"):
        for memory in ("32MiB", "256MiB"):
            world.environ = {"GOMEMLIMIT": "64MiB", "GODEBUG": "gctrace=1",
                             "RELAYMUX_LIMITS_MEMORY": memory, "RELAYMUX_NODE_LIMITS_MEMORY": memory}
            node, run, proxy = way(world, wire)
            start, before = time.monotonic(), [processor(each) for each in (run, node)]
            rate = bulk(world, proxy, 16, 20_000_000)
            with contextlib.ExitStack() as stack:
                for each in wave(proxy, world.origin.echo, 200):
                    stack.enter_context(each)
                rate = max(rate, bulk(world, proxy, 16, 20_000_000))
            took = time.monotonic() - start
            figures = [f"{name} {peak(each)} MiB, GC {collector(each)[0]} % of CPU in {collector(each)[1]} turns, "
                       f"{(processor(each) - was) / took:.0%} of one" for name, each, was in zip(("proxy", "node"), (run, node), before)]
            said.append(f"{wire}, limits.memory {memory}: {rate:.0f} MB/s, " + "; ".join(figures))
            print("     " + said[-1], flush=True)
            for each in (run, node):
                require(memory != "32MiB" or peak(each) <= 110, f"too much memory: {said[-1]}")
                require(memory != "32MiB" or collector(each)[0] <= 25, f"it does little but collect: {said[-1]}")
                require(world.stop(each) == 0, "it does not stop")
    return f"{len(said)} ways"


@hostile(88)
def long_procs(world):
    """GOMAXPROCS=1 at both ends."""
    world.environ = {"GOMAXPROCS": "1"}
    said = []
    for wire in ("link", "json"):
        _, _, proxy = way(world, wire)
        text = os.urandom(20_000_000)
        require(put(world, proxy, text) == f"{len(text)} {hashlib.sha256(text).hexdigest()}", "an upload is not whole")
        said.append(f"{wire} {bulk(world, proxy, 8, 20_000_000):.0f} MB/s down")
    return ", ".join(said)


@hostile(80)
def long_idle(world):
    """10,000 connections, what each costs at either end."""
    count = min(10_000, most_files() - 1000)
    world.environ = MANY
    node, run, proxy = way(world, "link")
    port = sink(world)
    wave(proxy, port, 10)
    empty = [settled(each) for each in (run, node)]
    held = []
    while len(held) < count:
        held += wave(proxy, port, 200)
    cost = [(settled(each) - was) / len(held) / 1000 for each, was in zip((run, node), empty)]
    used = [processor(each) for each in (run, node)]
    time.sleep(5)
    used = [(processor(each) - was) / 5 for each, was in zip((run, node), used)]
    for connection in held:
        connection.close()
    until(lambda: run.files() < 300 and node.files() < 300, 60, "all files are closed")
    left = [settled(each) / MIB for each in (run, node)]
    figures = (f"{len(held)} connections, {cost[0]:.1f} KB each at the proxy, {cost[1]:.1f} KB at the node, CPU {used[0]:.1%} and {used[1]:.1%}; "
               f"when they are gone {left[0]:.0f} and {left[1]:.0f} MiB")
    require(max(cost) <= 20, f"too much memory: {figures}")
    return figures


class Active:
    """Connections of which each sends so many bytes a second, and has to get them back."""

    def __init__(self, proxy, port, count, size):
        self.held, self.payload, self.over, self.late = [], os.urandom(size), False, []
        while len(self.held) < count:
            self.held += wave(proxy, port, 100)
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()
        for each in self.held:
            each.close()

    def run(self):
        """Sends on one after the other, evenly over each second, and reads what comes."""
        ready, sent, left = selectors.DefaultSelector(), {}, {}
        for each in self.held:
            each.setblocking(False)
            ready.register(each, selectors.EVENT_READ)
        began, turn = time.monotonic(), 0
        while not self.over:
            due = int((time.monotonic() - began) * len(self.held))
            while turn < due:
                each = self.held[turn % len(self.held)]
                if left.get(each, 0) == 0:  # else it is slow, and the next one waits
                    sent[each], left[each] = time.monotonic(), len(self.payload)
                    each.sendall(self.payload)
                turn += 1
            for key, _ in ready.select(0.002):
                left[key.fileobj] -= len(key.fileobj.recv(1 << 16))
                if left[key.fileobj] == 0:
                    self.late.append(time.monotonic() - sent[key.fileobj])


def quantiles(times):
    cuts = statistics.quantiles(times, n=100)
    return f"{1000 * cuts[49]:.1f} ms, p99 {1000 * cuts[98]:.1f} ms"


def opens(proxy, port, count=300):
    """Seconds from connect to the first echo, of each."""
    times = []
    for _ in range(count):
        start = time.monotonic()
        wave(proxy, port, 1)[0].close()
        times.append(time.monotonic() - start)
        time.sleep(0.02)
    return times


@hostile(80)
def long_active(world):
    """2,000 connections that send 1 KB a second each: how long a new one takes beside them."""
    world.environ = MANY
    node, run, proxy = way(world, "link")
    port = sink(world)
    alone = opens(proxy, port)
    with Active(proxy, port, 2000, 1000) as active:
        time.sleep(3)
        used, start = [processor(each) for each in (run, node)], time.monotonic()
        beside = opens(proxy, port)
        used = [(processor(each) - was) / (time.monotonic() - start) for each, was in zip((run, node), used)]
        memory = [each.resident() / MIB for each in (run, node)]
    figures = (f"a new connection takes {quantiles(alone)} alone, {quantiles(beside)} beside {len(active.held)}, their own bytes {quantiles(active.late)} "
               f"there and back, {len(active.late)} messages; CPU {used[0]:.0%} and {used[1]:.0%}, {memory[0]:.0f} and {memory[1]:.0f} MiB")
    require(statistics.quantiles(beside, n=100)[98] < 1, f"not stable: {figures}")
    return figures


@hostile(80)
def long_storm(world):
    """5,000 new connections a second for 10 s: none that is taken in is lost, and memory and
    files come back."""
    world.environ = MANY
    node, run, proxy = way(world, "link")
    port = sink(world)
    wave(proxy, port, 10)
    before, files = [settled(each) for each in (run, node)], [each.files() for each in (run, node)]
    start = time.monotonic()
    storms = [world.start([sys.executable, "-B", os.path.join(HERE, "storm.py"), proxy, str(port), str(STORM // 2), "10"], "storm") for _ in range(2)]
    for each in storms:
        require(each.wait(90) == 0, each.err()[-500:])
    took = time.monotonic() - start
    counts = [each.out().split() for each in storms]
    begun, served, refused, closed, silent = (sum(int(each[i]) for each in counts) for i in range(5))
    until(lambda: all(each.files() <= was + 10 for each, was in zip((run, node), files)), 60, "the files come back")
    after, start = [settled(each) for each in (run, node)], time.monotonic()
    until(lambda: all(each.resident() <= was + 32 * MIB for each, was in zip((run, node), before)), 300, "memory comes back")
    back = time.monotonic() - start
    figures = (f"{begun} begun, {served} served, {refused} refused, {closed} closed, {silent} without an answer, in {took:.0f} s; to the first byte "
               f"{', '.join(f'{each[5]} s, p99 {each[6]} s' for each in counts)}; memory {before[0] / MIB:.0f} and {before[1] / MIB:.0f} MiB, "
               f"then {after[0] / MIB:.0f} and {after[1] / MIB:.0f}, at most {peak(run)} and {peak(node)}, near the first again after {back:.0f} s")
    require(served + refused == begun, f"some are lost: {figures}")
    return figures


@hostile(82)
def long_slow(world):
    """100 downloads, of which 10 read 1 KB a second and 10 nothing, then 100 uploads, of which
    20 send 1 KB a second, and 10 to a target that does not read: the others go at full speed,
    and memory stays below what is configured."""
    memory = 64
    world.environ = {"RELAYMUX_LIMITS_MEMORY": f"{memory}MiB", "RELAYMUX_NODE_LIMITS_MEMORY": f"{memory}MiB"}
    said = []
    for wire in ("link", "json"):
        node, run, proxy = way(world, wire)
        deaf = socket.create_server(("127.0.0.1", 0), backlog=64)
        with contextlib.ExitStack() as stack:
            stack.callback(deaf.close)
            slow = Slow(stack)
            for _ in range(20):
                each = stack.enter_context(clients.socks5(proxy, "127.0.0.1", world.origin.http))
                each.sendall(b"GET /bytes/200000000 HTTP/1.1\r\nHost: origin\r\n\r\n")
                slow.readers.append(each)
            del slow.readers[10:]  # the rest stall
            time.sleep(2)
            down = bulk(world, proxy, 80, 3_000_000)
            for _ in range(20):
                slow.writers.append(stack.enter_context(clients.socks5(proxy, "127.0.0.1", world.origin.echo)))
            for _ in range(10):
                each = stack.enter_context(clients.socks5(proxy, "127.0.0.1", deaf.getsockname()[1]))
                each.setblocking(False)
                slow.pushers.append(each)
            time.sleep(2)
            text, start = os.urandom(3_000_000), time.monotonic()
            want = f"{len(text)} {hashlib.sha256(text).hexdigest()}"
            with concurrent.futures.ThreadPoolExecutor(70) as pool:
                require(list(pool.map(lambda _, p=proxy: put(world, p, text), range(70))) == [want] * 70, "an upload is not whole")
            up = 70 * len(text) / (time.monotonic() - start) / 1e6
        said.append(f"{wire}: {down:.0f} MB/s down, {up:.0f} MB/s up beside them, at most {peak(run)} MiB at the proxy, {peak(node)} MiB at the node, "
                    f"of {memory} MiB for buffers")
        print("     " + said[-1], flush=True)
        most = memory * 5 // 4 + 64 + 32  # the heap's limit (config/daemon/process.go), and the program itself
        require(max(peak(run), peak(node)) <= most, f"more than {most} MiB: {said[-1]}")
        for each in (run, node):
            require(world.stop(each) == 0, "it does not stop")
    return f"{len(said)} ways"


class Slow:
    """Connections that read, or send, 1 KB a second, or push what nobody takes."""

    def __init__(self, stack):
        self.readers, self.writers, self.pushers, self.over = [], [], [], threading.Event()
        thread = threading.Thread(target=self.run)
        thread.start()
        stack.callback(lambda: (self.over.set(), thread.join()))

    def run(self):
        while not self.over.wait(1):
            for each in list(self.readers):
                each.recv(1000)
            for each in list(self.writers):
                each.sendall(bytes(1000))
            for each in list(self.pushers):
                with contextlib.suppress(BlockingIOError):
                    while each.send(bytes(1 << 20)):
                        pass


@hostile(75)
def long_suspend(world):
    """The proxy is stopped for two minutes, as a machine that sleeps: connections outlive it,
    and what was due meanwhile does not come all at once."""
    program, proxy, emulator = world.through_relay(round_trip=0.3)
    held = wave(proxy, world.origin.echo, 50)
    time.sleep(5)
    before = emulator.total()
    time.sleep(60)
    usual = emulator.total() - before
    program.process.send_signal(19)
    time.sleep(120)
    before, start = emulator.total(), time.monotonic()
    program.process.send_signal(18)
    time.sleep(5)
    first = emulator.total() - before
    for each in held:
        each.sendall(b"y")
    alive = sum(each.recv(1) == b"y" for each in held)
    talk = emulator.total() - before - first
    time.sleep(max(0, 60 - (time.monotonic() - start)))
    after = emulator.total() - before - talk
    figures = f"{alive} of {len(held)} alive; exchanges in a minute: {usual} before, {after} after, of which {first} in the first 5 s; {talk} to talk again"
    require(alive == len(held), figures)
    require(after <= usual + 15, f"a burst: {figures}")
    return figures


CHECKS = [(long_memory, 300), (long_procs, 60), (long_idle, 180), (long_active, 120), (long_storm, 480), (long_slow, 240), (long_suspend, 260)]
