"""The link: both ends killed, relays that lose and double, secrets."""

import concurrent.futures
import contextlib
import hashlib
import os
import subprocess
import time

import clients
from hostile import hostile
from origin import RATE
from world import require, until

CHUNK = 10_000_000  # bytes of a transfer that has to end well
SLOW = 60 * RATE    # of a download that is under way when something is killed
RESTART_TRIP = 1.0  # seconds, of the relay of link_kill_node
DEBUG = ("--log-level", "debug")
FLAT = 32 << 20     # bytes by which a process may have grown, and be called the same


class Transfer:
    """One curl at work."""

    def __init__(self, world, proxy, *options):
        self.out = os.path.join(world.directory, f"transfer-{time.monotonic_ns()}")
        argv = ["curl", "-sS", "--fail", "--noproxy", "", "-x", f"socks5h://{proxy}", "-o", self.out, *options]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def under_way(self):
        """Some of a download has arrived."""
        return os.path.exists(self.out) and os.path.getsize(self.out) > 0

    def ended(self):
        return self.process.poll() is not None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def wait(self):
        """Returns curl's exit code and the SHA-256 of what it received, "" if nothing."""
        code = self.process.wait()
        if not os.path.exists(self.out):
            return code, ""
        with open(self.out, "rb") as file:
            return code, hashlib.file_digest(file, "sha256").hexdigest()


def download(world, proxy, path):
    return Transfer(world, proxy, f"http://127.0.0.1:{world.origin.http}/{path}")


def upload(world, proxy, file, *options):
    url = f"http://127.0.0.1:{world.origin.http}/sum"
    return Transfer(world, proxy, "-H", "Expect:", "-X", "POST", "-T", file, *options, url)


def payload(world, size):
    """A file of noise to upload, and its SHA-256."""
    path, text = os.path.join(world.directory, "up"), os.urandom(size)
    with open(path, "wb") as file:
        file.write(text)
    return path, hashlib.sha256(text).hexdigest()


def slow_pair(world, proxy):
    """A download and an upload that take a minute and more."""
    return download(world, proxy, f"slow/{SLOW}"), upload(world, proxy, world.origin.noise, "--limit-rate", str(RATE))


@hostile(77)
def link_kill_node(world):
    """kill -9 of the node, which comes back on its port. What was open is reset
    within two exchanges: one to hear that the link is unknown, one to prove it
    (mux/link/PROTOCOL.md). What is new works at once."""
    node = world.node()
    emulator = world.emulator(node, ["script"], ["worker"], RESTART_TRIP)
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor() as pool:
        ways = []
        for name in ("script", "worker"):
            run, proxy = world.proxy(emulator.deployment(name), node.secrets["e2e"])
            pair = [stack.enter_context(each) for each in slow_pair(world, proxy)]
            until(pair[0].under_way, 10, "the download is under way")
            ways.append((name, run, proxy, pair))
        time.sleep(2 * RESTART_TRIP)
        node.program.kill()
        node.start()
        return "; ".join(pool.map(lambda way: recovery(world, *way), ways))


def recovery(world, name, run, proxy, pair):
    """How long it takes until both transfers are reset and new ones work."""
    back, before = time.monotonic(), run.resident()
    until(lambda: all(each.ended() for each in pair), 20, f"both transfers by the {name} end")
    reset = time.monotonic() - back
    require(all(each.process.wait() for each in pair), "curl calls a transfer whole that was cut")
    clients.curl(f"socks5h://{proxy}", f"http://127.0.0.1:{world.origin.http}/bytes/1000")
    again, grown = time.monotonic() - back - reset, run.resident() - before
    figures = (f"{name}: reset {reset:.2f} s after the node was back ({reset / RESTART_TRIP:.1f} round trips), "
               f"a new connection {again:.2f} s, client {before >> 20} MiB {grown / (1 << 20):+.0f}")
    require(reset <= 2.5 * RESTART_TRIP + 0.5 and again <= 3 * RESTART_TRIP and grown <= FLAT, figures)
    return figures


def link_kill_client(world):
    """kill -9 of the proxy: the node lets go of the origin once its last exchange
    is over, which is 5 s at the most here, and the reap time after it."""
    reap, hold, round_trip = 10, 5, 0.3
    node = world.node(reap=f"{reap}s")
    emulator = world.emulator(node, ["script"], ["worker"], round_trip)
    ways = "".join(emulator.deployment(name, f'exchange_limit = "{hold + 5}s"\n') for name in ("script", "worker"))
    run, proxy = world.proxy(ways, node.secrets["e2e"])
    with contextlib.ExitStack() as stack:
        down, _ = [stack.enter_context(each) for each in slow_pair(world, proxy)]
        idle = stack.enter_context(clients.socks5(proxy, "127.0.0.1", world.origin.speak_first))
        until(down.under_way, 10, "the download is under way")
        clients.exactly(idle, 1)
        time.sleep(2)
        ports = (world.origin.http, world.origin.speak_first)
        held, before = [node.program.connections(port) for port in ports], node.program.resident()
        require(held == [2, 1], f"the node has {held} connections to the origin")
        run.kill()
        killed = time.monotonic()
        until(lambda: not any(node.program.connections(port) for port in ports), 60, "the node lets go of the origin")
        took = time.monotonic() - killed
    grown = node.program.resident() - before
    figures = f"3 connections gone after {took:.1f} s, reap {reap} s, node {before >> 20} MiB {grown / (1 << 20):+.0f}"
    require(took <= hold + reap * 1.1 + round_trip + 0.5, f"late: {figures}")
    return figures


@hostile(65, 66)
def link_loss(world):
    """Ten downloads at once, then ten uploads, through a script and a worker that
    lose and double: curl never notices."""
    node = world.node()
    emulator = world.emulator(node, ["script"], ["worker"], 0.3)
    emulator.set(LoseAfter=10, LoseBefore=20, Duplicate=15)
    _, proxy = world.proxy(emulator.deployment("script") + emulator.deployment("worker"), node.secrets["e2e"])
    file, digest = payload(world, CHUNK)
    answer = hashlib.sha256(f"{CHUNK} {digest}".encode()).hexdigest()
    said = []
    for name, begin, want in (("down", lambda: download(world, proxy, f"bytes/{CHUNK}"), world.origin.sha256(CHUNK)),
                              ("up", lambda: upload(world, proxy, file), answer)):
        start, before = time.monotonic(), emulator.total()
        with contextlib.ExitStack() as stack:
            ends = [each.wait() for each in [stack.enter_context(begin()) for _ in range(10)]]
        require(ends == [(0, want)] * 10, f"{name}: exit codes {[code for code, _ in ends]}, {sum(got == want for _, got in ends)} whole")
        said.append(f"10 of 10 MB {name} {time.monotonic() - start:.1f} s in {emulator.total() - before} exchanges")
    return ", ".join(said) + f"; by outcome {emulator.exchanges()}"


@hostile(58)
def link_secret(world):
    """Wrong secrets, a revoked one, and a node that has no clients. All logs are
    at their longest, and have no secret in them (World.inspect)."""
    node, bare = world.node(("ann", "bob")), world.node(())
    relay, other = (world.emulator(each, ["script"], ["worker"], 0.3) for each in (node, bare))
    url = f"http://127.0.0.1:{world.origin.http}/bytes/1000"
    with contextlib.ExitStack() as stack:
        strangers = []
        for emulator, name, *words in (  # a worker's 404 is all that a stranger gets of a node
            (relay, "script", "no such secret"), (relay, "worker", "404"),
            (other, "script", "does not know the link", 'wire = "json"'), (other, "worker", "404"),
        ):
            run, proxy = world.proxy(emulator.deployment(name), world.secret(), flags=DEBUG)
            strangers.append((run, stack.enter_context(Transfer(world, proxy, url)), [*words, "[[node.client]]"]))
        said = revoked(world, node, relay)
        _, proxy = world.proxy(other.deployment("script", 'wire = "json"\n'), flags=DEBUG)
        clients.curl(f"socks5h://{proxy}", url)
        codes = [transfer.process.wait() for _, transfer, _ in strangers]
    require(all(codes), f"curl ends with {codes}")
    unsaid = [untold(run, words) for run, _, words in strangers]
    require(not any(unsaid), "what strangers are told: " + "; ".join(filter(None, unsaid)))
    return f"4 strangers told what to change, curl ends with {codes}; {said}; JSON by wire = \"json\""


def untold(run, words):
    """What of words the first warning of a program does not say."""
    told = next((record for record in run.log() if record["level"] == "WARN"), {})
    text = f"{told.get('detail')} ({told.get('hint')})"
    missing = [word for word in words if word not in text]
    return missing and f"{run.name} says {text!r} and not {' or '.join(missing)}"


def revoked(world, node, relay):
    """Takes ann's secret away while she and bob are connected. The node cuts her
    off; her end cannot tell that from a relay's lie, and resets what is open after
    its grace."""
    grace, port, ends = 5, world.origin.echo, {}
    for name in ("ann", "bob"):
        run, proxy = world.proxy(relay.deployment("script"), node.secrets[name], grace=f"{grace}s", flags=DEBUG)
        ends[name] = run, clients.socks5(proxy, "127.0.0.1", port, b"hello")
    (ann, hers), (_, his) = ends.values()
    with hers, his:
        for connection in (hers, his):
            require(clients.exactly(connection, 5) == b"hello", "another echo")
        require(node.program.connections(port) == 2, "ann and bob are not both connected")
        start = time.monotonic()
        node.revoke("ann")
        until(lambda: node.program.connections(port) == 1, 5, "ann's connection to the origin is closed")
        cut = time.monotonic() - start
        his.sendall(b"still there")
        require(clients.exactly(his, 11) == b"still there", "another echo")
        ann.find("no such secret")
        told = time.monotonic() - start
        try:
            require(hers.recv(1) == b"", "data for who is revoked")
        except ConnectionResetError:
            pass
        ended = time.monotonic() - start
    require(ended < grace + 3, f"her connection ended only after {ended:.1f} s, the grace being {grace} s")
    return f"revoked: off at the node after {cut:.2f} s, told after {told:.1f} s, reset after {ended:.1f} s; the other goes on"


CHECKS = [(link_kill_node, 120), (link_kill_client, 90), (link_loss, 120), (link_secret, 120)]
