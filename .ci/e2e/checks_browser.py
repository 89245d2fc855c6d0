"""Chromium, and a relay of 1.5 s between two processes: over the link, but for
relay_json."""

import hashlib
import subprocess
import time

import clients
import origin
from clients import curl
from hostile import hostile
from world import HOSTS, ROUND_TRIP, require, until

DOWNLOAD = 20 << 20


def browser_embedded(world):
    """A page of 60 objects on 10 names that only the node can resolve, and a
    WebSocket, through both sides of the proxy."""
    names_are_unknown_here()
    _, proxy = world.embedded(hosts=True)
    times = []
    for side, scheme in (("SOCKS", "socks5"), ("HTTP", "http")):
        with clients.chromium(f"{scheme}://{proxy}") as driver:
            seconds = clients.load_page(driver, HOSTS, world.origin.http)
            clients.browser_websocket(driver, f"ws://{HOSTS[1]}:{world.origin.http}/ws")
        times.append(f"{side} side {seconds:.2f} s")
    return "60 of 60 objects on 10 names: " + ", ".join(times)


def names_are_unknown_here():
    code = subprocess.run(["getent", "hosts", HOSTS[0]], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode
    require(code != 0, f"{HOSTS[0]} is known outside the node: the check would show nothing")


def browser_relay(world):
    """The same page, and 20 MB, through a script of 1.5 s."""
    names_are_unknown_here()
    _, proxy, emulator = world.through_relay()
    said = []
    for side, scheme in (("SOCKS", "socks5"), ("HTTP", "http")):
        before = emulator.total()
        with clients.chromium(f"{scheme}://{proxy}") as driver:
            seconds = clients.load_page(driver, HOSTS, world.origin.http)
        said.append(f"page by {side} {seconds:.2f} s in {emulator.total() - before} exchanges")
    before, start = emulator.total(), time.monotonic()
    text = curl(f"socks5h://{proxy}", f"http://{HOSTS[0]}:{world.origin.http}/bytes/{DOWNLOAD}", timeout=120)
    require(hashlib.sha256(text).hexdigest() == world.origin.sha256(DOWNLOAD), "the download differs")
    said.append(f"20 MiB {time.monotonic() - start:.1f} s in {emulator.total() - before} exchanges")
    return ", ".join(said) + f"; by outcome {emulator.exchanges()}"


def relay_json(world):
    """The page and 5 MiB without a secret: by the JSON wire."""
    run, proxy, emulator = world.through_relay(wire="json")
    with clients.chromium(f"socks5://{proxy}") as driver:
        seconds = clients.load_page(driver, HOSTS, world.origin.http)
    said, start = f"page {seconds:.2f} s in {emulator.total()} exchanges", time.monotonic()
    text = curl(f"socks5h://{proxy}", f"http://{HOSTS[0]}:{world.origin.http}/bytes/{DOWNLOAD // 4}")
    require(hashlib.sha256(text).hexdigest() == world.origin.sha256(DOWNLOAD // 4), "the download differs")
    require("link to the node" not in run.err(), "there is a link without a secret")
    return f"{said}, 5 MiB {time.monotonic() - start:.1f} s"


def relay_fails(world, knob, outcome):
    """One of two deployments turns into a page while eight downloads run."""
    run, proxy, emulator = world.through_relay()
    size = 4 << 20
    url = f"http://{HOSTS[0]}:{world.origin.http}/bytes/{size}"
    argv = ["curl", "-sS", "--fail", "--noproxy", "", "-x", f"socks5h://{proxy}", url]
    downloads = [subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                 for _ in range(8)]
    first = downloads[0].stdout.read(1 << 16)  # they are under way now
    emulator.set("d1", **{knob: True})
    parts = [first + downloads[0].stdout.read()] + [d.stdout.read() for d in downloads[1:]]
    died = sum(d.wait() != 0 for d in downloads)
    require(all(code.returncode != 0 or hashlib.sha256(text).hexdigest() == world.origin.sha256(size)
                for code, text in zip(downloads, parts)), "a download that curl calls whole differs")
    told = until(lambda: named(run, "d1", outcome), 30, f"the log names d1 and {outcome}")
    before = emulator.total("d2")
    with clients.chromium(f"socks5://{proxy}") as driver:
        seconds = clients.load_page(driver, HOSTS, world.origin.http)
    require(emulator.total("d2") > before, "d2 carried nothing")
    return (f"{died} of 8 connections died, then the page {seconds:.2f} s by d2; "
            f"logged: {told['msg']} {told['deployment']} {told['outcome']}: {told['detail']}")


def named(program, deployment, outcome):
    """The first warning about that deployment, if it gives that outcome."""
    for record in program.log():
        if record["level"] == "WARN" and record.get("deployment") == deployment and record.get("outcome") == outcome:
            return record
    return None


@hostile(69)
def relay_decoy(world):
    return relay_fails(world, "Decoy", "decoy")


@hostile(72)
def relay_quota(world):
    return relay_fails(world, "QuotaPage", "quota")


def server_first(world):
    """A banner arrives by itself; two keystrokes, each after 10 s of silence, are
    echoed within 1.2 round trips."""
    _, proxy, emulator = world.through_relay()
    start, echoes = time.monotonic(), []
    with clients.socks5(proxy, HOSTS[0], world.origin.speak_first) as connection:
        require(clients.exactly(connection, len(origin.BANNER)) == origin.BANNER, "another banner")
        banner = time.monotonic() - start
        for key in (b"a", b"b"):
            time.sleep(10)  # silence is what is measured
            pressed = time.monotonic()
            connection.sendall(key)
            require(clients.exactly(connection, 1) == key, "another echo")
            echoes.append(time.monotonic() - pressed)
    figures = (f"banner {banner:.2f} s, echoes {' '.join(f'{e:.2f}' for e in echoes)} s, "
               f"{emulator.total()} exchanges in {time.monotonic() - start:.0f} s")
    require(max(echoes) <= 1.2 * ROUND_TRIP, f"over 1.2 round trips: {figures}")
    return figures


CHECKS = [(browser_embedded, 120), (browser_relay, 180), (relay_json, 90), (relay_decoy, 150), (relay_quota, 150), (server_first, 90)]
