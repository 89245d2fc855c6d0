"""curl's whole matrix: each kind of proxy, login, destination and origin, over both wires."""

import concurrent.futures
import itertools
import os
import subprocess
import time
from dataclasses import dataclass

import clients
from clients import free_port
from hostile import hostile
from judge import Front, sha256, verdict, version
from world import HOSTS, require

SIZE = 300_000  # bytes each way
UNKNOWN = "unknown.e2e.test"
USER = "ann"
DESTINATIONS = {"IPv4": "127.0.0.1", "IPv6": "[::1]", "name": HOSTS[0]}
KINDS = ("socks4", "socks4a", "socks5", "socks5h", "http", "connect")
LOCAL = ("socks4", "socks5")  # curl itself looks names up
ORIGINS = ("1.1", "1.1 TLS", "2 TLS")
PROXY_FAILED, HTTP_ERROR, RESET = 97, 22, 56  # EXIT CODES of curl(1), with --fail


@dataclass(frozen=True)
class Case:
    """One call of curl. password is None, "right" or "wrong"."""
    kind: str
    to: str
    origin: str
    up: bool
    password: str | None
    guarded: bool  # whether the proxy wants a password
    ask: str = ""  # an option by which curl chooses how to log in

    def code(self):
        """The exit code that curl must end with, and what the proxy says to CONNECT."""
        if self.kind.startswith("socks4"):
            if self.guarded or (self.kind, self.to) == ("socks4", "IPv6"):
                return PROXY_FAILED, 0  # the one has no passwords, the other no such addresses
            return 0, 0
        if self.guarded and self.password != "right":
            return {"http": (HTTP_ERROR, 0), "connect": (HTTP_ERROR, 407)}.get(self.kind, (PROXY_FAILED, 0))
        return 0, 200 if self.kind == "connect" else 0


class Matrix:
    """Two proxies over one wire, of which one wants a password, and an origin."""

    def __init__(self, world, front, node, wire):
        self.world, self.front, self.wire = world, front, wire
        self.password, self.wrong = world.secret(), world.secret()
        self.up = world.write("up", "")
        with open(self.up, "wb") as up, open(world.origin.noise, "rb") as noise:
            up.write(noise.read(SIZE))
        secret = node.secrets["e2e"] if wire == "link" else None
        deployment = node.deployment() + f'wire = "{wire}"\n'
        self.open = world.proxy(deployment, secret)[1]
        self.confirmed = world.proxy(deployment, secret, connect="confirmed")[1]
        self.guarded = world.proxy(deployment, secret, users=f'[{{ name = "{USER}", password = "{self.password}" }}]')[1]

    def argv(self, case):
        proxy = self.guarded if case.guarded else self.open
        scheme = {"connect": "http"}.get(case.kind, case.kind)
        argv = ["--noproxy", "", "-x", f"{scheme}://{proxy}", "--cacert", self.world.tools.certificate, "-m", "30"]
        argv += ["-p"] if case.kind == "connect" else []
        argv += [case.ask] if case.ask else []
        argv += ["--http2" if case.origin.startswith("2") else "--http1.1"]
        if case.password:
            argv += ["--proxy-user", f"{USER}:{self.password if case.password == 'right' else self.wrong}"]
        port, host = self.port(case), DESTINATIONS[case.to]
        if case.kind in LOCAL:
            argv += ["--resolve", f"{HOSTS[0]}:{port}:127.0.0.1"]
        url = f"http{'s' * ('TLS' in case.origin)}://{host}:{port}/"
        return [*argv, "--data-binary", f"@{self.up}", url + "sum"] if case.up else [*argv, url + f"bytes/{SIZE}"]

    def port(self, case):
        return self.front.https if "TLS" in case.origin else self.front.http

    def fault(self, case):
        """Runs curl, and returns what is wrong with how it went, if anything is."""
        say = "\n%{http_code} %{http_connect} %{http_version}"
        done = subprocess.run(["curl", "-sS", "--fail", "-w", say, *self.argv(case)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        body, _, said = done.stdout.rpartition(b"\n")
        status, connect, spoken = said.decode().split()
        code, answered = case.code()
        want = self.world.origin.sha256(SIZE)
        right = (done.returncode, int(connect)) == (code, answered)
        if right and code == HTTP_ERROR and case.kind == "http":
            right = status == "407"
        elif right and code == 0:
            whole = body.decode() == f"{SIZE} {want}" if case.up else sha256(body) == want
            right = whole and status == "200" and spoken == case.origin.split()[0]
        if right:
            return None
        return (f"{self.wire} {case}: exit code {done.returncode}, not {code}; status {status}, CONNECT {connect}, HTTP/{spoken}, "
                f"{len(body)} bytes, {done.stderr.decode(errors='replace')[-200:]}")


def cases():
    """All that work; and those of logging in, of which no more may be wrong than the
    proxy lets try."""
    for kind, to, origin, up in itertools.product(KINDS, DESTINATIONS, ORIGINS, (False, True)):
        if kind == "http" and origin != "1.1":
            continue  # it forwards no https
        yield Case(kind, to, origin, up, None, False)
        yield Case(kind, to, origin, up, "right", True)
    for kind, password in itertools.product(KINDS, (None, "wrong")):
        yield Case(kind, "name", "1.1", False, password, True)
    for kind, ask in itertools.product(("http", "connect"), ("--proxy-anyauth", "--proxy-basic")):
        for password in ("right", "wrong"):
            yield Case(kind, "name", "1.1", True, password, True, ask)
        yield Case(kind, "name", "1.1", False, "right", False, ask)  # of which the proxy asks none


@hostile(6, 40, 42)
def judge_curl(world):
    """Exit codes, statuses, HTTP versions and checksums."""
    node, front = world.node(), Front(world)
    matrices, listed, wrong = [Matrix(world, front, node, wire) for wire in ("link", "json")], list(cases()), []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for matrix in matrices:
            wrong += filter(None, pool.map(matrix.fault, listed))
    said = [verdict(2 * len(listed), wrong)]
    for matrix in matrices:
        said.append(f"{matrix.wire}: {refusals(matrix)}, {manners(matrix)}")
    return f"{version('curl', '--version').split(' (')[0]}: " + "; ".join(said)


def refusals(matrix):
    """What curl says of a port where nobody is, and of a name that nobody has: the
    proxy's own reply code where it connects first; else the connection is reset."""
    closed, wrong, count = free_port(), [], 0
    wants = {  # RFC 1928, section 6; SOCKS4 knows one way to say no
        "socks4": ("91", None), "socks4a": ("91", "91"), "socks5": ("(5)", None), "socks5h": ("(5)", "(4)"),
        "http": ("502", "502"), "connect": ("502", "502")}
    for kind, codes in wants.items():
        for url, want in zip((f"http://127.0.0.1:{closed}/", f"http://{UNKNOWN}:80/"), codes):
            if want is None:
                continue  # curl would ask a resolver
            count += 2
            scheme, more = ("http", ["-p"]) if kind == "connect" else (kind, [])
            for proxy, code in ((matrix.confirmed, HTTP_ERROR if scheme == "http" else PROXY_FAILED), (matrix.open, RESET)):
                done = subprocess.run(["curl", "-sS", "--fail", "--noproxy", "", "-m", "20", "-x", f"{scheme}://{proxy}", *more, url],
                                      stdin=subprocess.DEVNULL, capture_output=True, check=False)
                said = done.stderr.decode()
                code = HTTP_ERROR if kind == "http" else code  # it is the proxy that answers, always
                if done.returncode != code or code != RESET and want not in said:
                    wrong.append(f"{kind} {url}: exit code {done.returncode}, not {code}: {said}")
    return "refusals " + verdict(count, wrong)


def manners(matrix):
    """Many at once on one HTTP/2 connection, 100 (Continue), a slow reader, one that leaves."""
    via = ["--noproxy", "", "-x", f"socks5h://{matrix.open}", "--cacert", matrix.world.tools.certificate]
    https, http = (f"{scheme}://{HOSTS[1]}:{port}" for scheme, port in (("https", matrix.front.https), ("http", matrix.front.http)))
    files = [os.path.join(matrix.world.directory, f"{matrix.wire}-{i}") for i in range(40)]
    config = matrix.world.write(f"{matrix.wire}-parallel", "".join(
        f'url = "{https}/bytes/{7000 * i + 1}"\noutput = "{file}"\n' for i, file in enumerate(files)))
    clients.run(["curl", "-sS", "--fail", *via, "--parallel", "--parallel-max", "40", "-K", config])
    for i, file in enumerate(files):
        with open(file, "rb") as text:
            require(sha256(text.read()) == matrix.world.origin.sha256(7000 * i + 1), f"parallel download {i} differs")
    for proxy in ("socks5h", "http"):
        argv = ["curl", "-sSv", "--fail", "--noproxy", "", "-x", f"{proxy}://{matrix.open}", "-H", "Expect: 100-continue", "--expect100-timeout", "30",
                "--data-binary", f"@{matrix.up}", http + "/sum"]
        start = time.monotonic()
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        require(done.returncode == 0 and b"HTTP/1.1 100 Continue" in done.stderr and time.monotonic() - start < 10,
                f"100-continue by {proxy}: {done.returncode} {done.stderr[-600:]}")
        require(done.stdout.decode() == f"{SIZE} {matrix.world.origin.sha256(SIZE)}", "an upload after 100 (Continue) differs")
    start, slow = time.monotonic(), 20_000_000
    text = clients.run(["curl", "-sS", "--fail", *via, "--limit-rate", "10M", f"{http}/bytes/{slow}"])
    took = time.monotonic() - start
    require(sha256(text) == matrix.world.origin.sha256(slow) and took > 1, f"{len(text)} bytes with --limit-rate in {took:.1f} s")
    for proxy in ("socks5h", "http"):
        code, _ = clients.curl_code(f"{proxy}://{matrix.open}", f"{http}/slow/50000000", "-m", "0.4")
        require(code == 28, f"a curl that leaves early ends with {code}")
    return f"40 at once by HTTP/2, 2 of 100-continue, {slow / 1e6:.0f} MB at 10 MB/s in {took:.1f} s, 2 that left early"


CHECKS = [(judge_curl, 120)]
