"""The clients: curl, git, ncat and Chromium as they are, and bare sockets."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

import origin
import websocket_frames as frames
from world import Failed, require

SIDES = ("socks5h", "http")  # of the one port


def run(argv, timeout=60, **options):
    """Runs a client that must succeed and returns its output."""
    done = subprocess.run(argv, timeout=timeout, capture_output=True, check=False, **{"stdin": subprocess.DEVNULL, **options})
    if done.returncode != 0:
        raise Failed(f"{argv[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-400:]}")
    return done.stdout


def curl(proxy, url, *options, timeout=60):
    """curl through proxy, a URL of it (socks5h://host:port, http://...)."""
    return run(["curl", "-sS", "--fail", "--noproxy", "", "-x", proxy, *options, url], timeout)


def curl_code(proxy, url, *options):
    """Returns curl's exit code, and the status that it saw last."""
    done = subprocess.run(["curl", "-s", "--noproxy", "", "-x", proxy, "-o", os.devnull, "-w", "%{http_code} %{http_connect}",
                           "-m", "20", *options, url], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode, max(map(int, done.stdout.split()))


def host_port(address):
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def socks5(proxy, host, port, first=b"", timeout=30):
    """Opens a connection through the SOCKS5 side (RFC 1928), with everything
    including first in one write. The host goes as a name."""
    connection = socket.create_connection(host_port(proxy), timeout)
    name = host.encode()
    connection.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big") + first)
    reply = exactly(connection, 2 + 10)
    require(reply[:4] == b"\x05\x00\x05\x00", f"SOCKS5 reply {reply.hex()}")
    return connection


def http_connect(proxy, host, port, timeout=30):
    """Opens a connection by HTTP's CONNECT."""
    connection = socket.create_connection(host_port(proxy), timeout)
    connection.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += exactly(connection, 1)
    require(b" 200 " in head, f"CONNECT: {head!r}")
    return connection


def free_port():
    """A port of 127.0.0.1 for a program that cannot tell which one it chose."""
    with contextlib.closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listens(port):
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False


def exactly(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        require(piece, f"the connection ended after {len(data)} of {size} bytes")
        data += piece
    return data


def to_end(connection):
    data = b""
    while piece := connection.recv(1 << 16):
        data += piece
    return data


def dial(side, proxy, host, port):
    return socks5(proxy, host, port) if side == "socks5h" else http_connect(proxy, host, port)


def websocket(connection, target, host):
    """Shakes hands (RFC 6455, section 4.1) and has messages of three sizes
    echoed. target is /path, or a whole URL for a proxy."""
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    file = connection.makefile("rwb")
    file.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    file.flush()
    head = []
    while line := file.readline().strip():
        head.append(line.decode().lower())
    require(" 101 " in head[0], f"upgrade: {head[0]}")
    require(f"sec-websocket-accept: {frames.accept(key)}".lower() in head, "upgrade: wrong Sec-WebSocket-Accept")
    for size in (5, 1000, 100_000):
        message = os.urandom(size)
        frames.write(file, frames.BINARY, message, mask=True)
        require(frames.read(file) == (frames.BINARY, message), f"echo of {size} bytes differs")
    frames.write(file, frames.CLOSE, b"", mask=True)
    require(frames.read(file)[0] == frames.CLOSE, "no close frame")


@contextlib.contextmanager
def chromium(proxy, *flags):
    """A browser with an empty profile that uses proxy, a URL, or what flags say."""
    profile = tempfile.mkdtemp(prefix="relaymux-chromium-")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        # The origin is on loopback and speaks http.
        "--disable-features=LocalNetworkAccessChecks,HttpsUpgrades,HttpsFirstBalancedMode",
        "--proxy-bypass-list=<-loopback>", f"--user-data-dir={profile}", *([f"--proxy-server={proxy}"] if proxy else []), *flags,
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
    try:
        driver.set_page_load_timeout(100)
        driver.set_script_timeout(30)
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


# Names and times are the browser's own (Navigation Timing: Resource Timing keeps no more than
# 250 entries).
PAGE_STATE = """
return JSON.stringify({
    whole: [...document.images].filter(i => i.complete && i.naturalWidth === arguments[0]).length,
    hosts: new Set([...document.images].map(i => new URL(i.src).hostname)).size,
    millis: performance.getEntriesByType('navigation')[0].loadEventStart,
})"""

WEBSOCKET_ECHO = """
const done = arguments[arguments.length - 1], socket = new WebSocket(arguments[0]);
socket.onopen = () => socket.send('x'.repeat(70000));
socket.onmessage = e => { socket.close(); done(e.data.length); };
socket.onerror = () => done('error');"""


def load_page(driver, hosts, port, objects=origin.OBJECTS):
    """Loads a page of objects on hosts and returns the seconds that it took."""
    all_hosts = [f"{host}:{port}" for host in hosts]
    driver.get(f"http://{all_hosts[0]}/page?objects={objects}&hosts={','.join(all_hosts)}")
    state = json.loads(driver.execute_script(PAGE_STATE, origin.IMAGE_SIDE))
    require(state["whole"] == objects and state["hosts"] == len(hosts), f"the page is not whole: {state}")
    return state["millis"] / 1000


def browser_websocket(driver, url):
    size = driver.execute_async_script(WEBSOCKET_ECHO, url)
    require(size == 70000, f"WebSocket in the browser: {size}")
