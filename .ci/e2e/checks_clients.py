"""curl, git, ncat, WebSocket and half-close through the embedded node."""

import hashlib
import os
import socket
import threading
import time

import clients
from clients import SIDES, curl
from hostile import hostile
from world import require

MIB = 1 << 20
DOWN, UP = 200 * MIB, 50 * MIB


def greeting(world):
    """What a person sees first: an address, and a command to try."""
    program, proxy = world.embedded()
    (line,) = program.find(r"try +(curl -x socks5h://\S+ \S+)")
    require(proxy in line, f"the greeting says {line}, the proxy is {proxy}")
    return line


def curl_bulk(world):
    """200 MB down and 50 MB up: SOCKS5, CONNECT and absolute-form."""
    _, proxy = world.embedded()
    http, https = (f"{scheme}://127.0.0.1:{port}" for scheme, port in
                   (("http", world.origin.http), ("https", world.origin.https)))
    ways = [("socks", f"socks5h://{proxy}", http), ("connect", f"http://{proxy}", https), ("absolute", f"http://{proxy}", http)]
    return ", ".join(f"{name} {bulk(world, via, target)}" for name, via, target in ways)


def bulk(world, via, target):
    start = time.monotonic()
    down = os.path.join(world.directory, "down")
    curl(via, f"{target}/bytes/{DOWN}", "--cacert", world.tools.certificate, "-o", down)
    middle = time.monotonic()
    require(sha256(down) == world.origin.sha256(DOWN), "the download differs")
    up = os.path.join(world.directory, "up")
    with open(world.origin.noise, "rb") as noise, open(up, "wb") as file:
        file.write(noise.read(UP))
    again = time.monotonic()
    said = curl(via, f"{target}/sum", "--cacert", world.tools.certificate, "-H", "Expect:", "--data-binary", f"@{up}")
    require(said.decode() == f"{UP} {world.origin.sha256(UP)}", f"the upload differs: {said}")
    return f"{DOWN / (middle - start) / 1e6:.0f} MB/s down {UP / (time.monotonic() - again) / 1e6:.0f} MB/s up"


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def curl_hundred(world):
    """100 downloads at once."""
    _, proxy = world.embedded()
    times = []
    for side in SIDES:
        lines = "".join(f'url = "http://127.0.0.1:{world.origin.http}/bytes/{1000 * i + 1}"\n'
                        f'output = "{world.directory}/{side}-{i}"\n' for i in range(100))
        config = world.write("curl", lines)
        start = time.monotonic()
        clients.run(["curl", "-sS", "--fail", "--noproxy", "", "-x", f"{side}://{proxy}",
                     "--parallel", "--parallel-immediate", "--parallel-max", "100", "-K", config])
        times.append(f"{side} {time.monotonic() - start:.2f} s")
        for i in range(100):
            require(sha256(f"{world.directory}/{side}-{i}") == world.origin.sha256(1000 * i + 1), f"download {i} differs")
    return "100 of 100 whole: " + ", ".join(times)


@hostile(18)
def curl_socks4a(world):
    _, proxy = world.embedded()
    text = curl(f"socks4a://{proxy}", f"http://localhost:{world.origin.http}/bytes/{MIB}")
    require(hashlib.sha256(text).hexdigest() == world.origin.sha256(MIB), "the download differs")
    return "1 MiB whole, the name resolved at the node"


@hostile(17)
def half_close(world):
    """A server that answers only after the client's end, and ncat likewise."""
    _, proxy = world.embedded()
    payload = os.urandom(3 * MIB)
    want = f"{len(payload)} {hashlib.sha256(payload).hexdigest()}\n".encode()
    for side in SIDES:
        with clients.dial(side, proxy, "127.0.0.1", world.origin.at_eof) as connection:
            connection.sendall(payload)
            connection.shutdown(socket.SHUT_WR)
            require(clients.to_end(connection) == want, f"{side}: the answer differs")
        with clients.dial(side, proxy, "127.0.0.1", world.origin.echo) as connection:
            require(echo_all(connection, payload) == payload, f"{side}: the echo differs")
    for kind in ("socks5", "http"):
        got = clients.run(["ncat", "--proxy", proxy, "--proxy-type", kind, "127.0.0.1", str(world.origin.at_eof)],
                          stdin=None, input=payload)
        require(got == want, f"ncat over {kind}: {got!r}")
    return "3 MiB up, end, answer whole: sockets and ncat, both sides"


def echo_all(connection, payload):
    """Sends and receives at once, ends its half, and reads to the other's end."""
    def send():
        connection.sendall(payload)
        connection.shutdown(socket.SHUT_WR)
    sender = threading.Thread(target=send)
    sender.start()
    got = clients.to_end(connection)
    sender.join()
    return got


@hostile(41)
def websocket(world):
    """SOCKS, CONNECT and an absolute-form Upgrade; messages up to 100 kB."""
    _, proxy = world.embedded()
    host = f"127.0.0.1:{world.origin.http}"
    for side in SIDES:
        with clients.dial(side, proxy, "127.0.0.1", world.origin.http) as connection:
            clients.websocket(connection, "/ws", host)
    with socket.create_connection(clients.host_port(proxy), 30) as connection:
        clients.websocket(connection, f"http://{host}/ws", host)
    return "3 of 3 ways"


def git_clone(world):
    """A repository of 20 MB over smart HTTP, checked by git fsck."""
    _, proxy = world.embedded()
    head, environ = make_repository(world)
    times = []
    for side in SIDES:
        clone, start = os.path.join(world.directory, side), time.monotonic()
        url = f"http://127.0.0.1:{world.origin.http}/big.git"
        clients.run(["git", "-c", f"http.proxy={side}://{proxy}", "clone", "-q", url, clone], env=environ)
        times.append(f"{side} {time.monotonic() - start:.1f} s")
        clients.run(["git", "-C", clone, "fsck", "--full", "--strict"], env=environ)
        require(clients.run(["git", "-C", clone, "rev-parse", "HEAD"], env=environ) == head, "another HEAD")
    return ", ".join(times)


def make_repository(world):
    """Makes big.git, 20 MB of noise in 40 files, for the origin to serve."""
    environ = {"PATH": os.environ["PATH"], "HOME": world.directory, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    for who in ("AUTHOR", "COMMITTER"):
        environ.update({f"GIT_{who}_NAME": "e2e", f"GIT_{who}_EMAIL": "e2e@example.test"})
    work, bare = os.path.join(world.directory, "work"), os.path.join(world.origin.repositories, "big.git")
    clients.run(["git", "init", "-q", work], env=environ)
    for i in range(40):
        with open(os.path.join(work, f"file{i}"), "wb") as file:
            file.write(os.urandom(500_000))
    clients.run(["git", "-C", work, "add", "."], env=environ)
    clients.run(["git", "-C", work, "commit", "-q", "-m", "noise"], env=environ)
    clients.run(["git", "clone", "-q", "--bare", work, bare], env=environ)
    return clients.run(["git", "-C", bare, "rev-parse", "HEAD"], env=environ), environ


@hostile(6, 40)
def passwords(world):
    """Right and wrong ones, on both sides."""
    name, right, wrong = "ann", world.secret(), world.secret()
    _, _, proxy = world.direct(users=f'[{{ name = "{name}", password = "{right}" }}]')
    plain, tls = f"http://127.0.0.1:{world.origin.http}/bytes/1", f"https://127.0.0.1:{world.origin.https}/bytes/1"
    cases = [  # side, URL, password, curl's exit code (EXIT CODES of curl(1)), status
        ("socks5h", plain, right, 0, 200), ("socks5h", plain, wrong, 97, 0), ("socks5h", plain, None, 97, 0),
        ("http", plain, right, 0, 200), ("http", plain, wrong, 0, 407), ("http", plain, None, 0, 407),
        ("http", tls, right, 0, 200), ("http", tls, wrong, 56, 407), ("http", tls, None, 56, 407),
    ]
    for side, url, password, code, status in cases:
        user = ["--proxy-user", f"{name}:{password}"] if password else []
        got = clients.curl_code(f"{side}://{proxy}", url, "-k", *user)
        require(got == (code, status), f"{side} {url[:5]} password {['none', 'wrong', 'right'][(password is not None) + (password == right)]}: "
                f"exit code and status are {got}, not {(code, status)}")
    return f"{len(cases)} of {len(cases)} cases, no password in any log"


CHECKS = [(greeting, 20), (curl_bulk, 180), (curl_hundred, 60), (curl_socks4a, 30), (half_close, 60),
          (websocket, 30), (git_clone, 90), (passwords, 60)]
