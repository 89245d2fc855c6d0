"""System calls that fail in the real binary (strace -e inject): bytes stay whole, the
process lives and does not spin, its log says why, and afterwards all is as before.

What is not here: EAGAIN of read and write on TCP, of which the kernel tells when it is over
and strace does not, so that a program that waits for it waits for ever; ENOMEM of mmap and
EINTR of a futex's wake-up, which end any Go program; and epoll_pwait: a call that strace
leaves half way, when it ends, fails with ENOSYS.
"""

import hashlib
import os
import re
import subprocess
import time
import typing

import origin_udp
from clients_udp import Association
from faults import Injection, complaints, processor
from hostile import hostile
from world import Failed, require, until

BULK = 3_000_000   # bytes, each way
DATAGRAMS = 20
FEW = 6            # complaints that one fault may cause
HEAVY = 0.5        # share of a processor that a process at rest never uses


class Case(typing.NamedTuple):
    """A fault, and what it may do."""
    end: str                    # proxy or node
    calls: str
    error: str
    when: str = "1+"
    work: str = "bulk"          # what is done meanwhile, a method of Ends
    says: str = ""              # in the log of the end or of the proxy, "" if nothing is to be said aloud
    path: str = ""              # of a file in the state directory


# Those that every change has to pass.
SHORT = (
    Case("proxy", "accept4", "EMFILE", work="connect", says="cannot accept"),
    Case("node", "accept4", "EMFILE", work="visit", says="cannot accept"),
    Case("node", "accept4", "ENOMEM", "1+2", "visit", "cannot accept"),
    Case("proxy", "accept4", "ECONNABORTED", "1+2"),
    Case("node", "socket", "EMFILE", work="connect", says="too few file descriptors"),
    Case("proxy", "socket", "EMFILE", work="associate", says="cannot open a UDP socket"),
    Case("proxy", "write", "EIO", work="count", says="not kept for now", path="quota.new"),
    Case("node", "sendmsg", "EIO", "1"),  # as of a device that cuts no trains
    Case("node", "sendmsg", "EMSGSIZE", "1+3"),
    Case("proxy", "sendmsg", "ENOBUFS", "1+5"),
    Case("proxy", "sendmsg", "ECONNREFUSED", "1+9", says="TCP takes over"),
    Case("node", "sendmmsg", "EIO", "1+2", "udp"),
)

# The rest, for make soak.
LONG = (
    Case("proxy", "accept4", "ENOBUFS", "1+2", says="cannot accept"),
    Case("node", "accept4", "EPERM", "1+2", "visit", "cannot accept"),
    Case("node", "accept4", "ECONNABORTED", "1+2", "visit"),
    Case("proxy", "openat", "EMFILE", work="count", says="not kept for now", path="quota.new"),
    Case("proxy", "openat", "ENOSPC", work="count", says="not kept for now", path="quota.new"),
    Case("proxy", "write", "ENOSPC", work="count", says="not kept for now", path="quota.new"),
    Case("proxy", "fsync", "EIO", work="count", says="not kept for now", path="quota.new"),
    Case("proxy", "sendmsg", "EIO", says="TCP takes over"),
    Case("proxy", "sendmsg", "EIO", "1"),
    Case("node", "sendmsg", "EIO"),
    Case("proxy", "sendmsg", "EMSGSIZE", "1+3"),
    Case("proxy", "sendmsg", "EAGAIN", "1+2"),
    Case("node", "sendmsg", "EAGAIN", "1+2"),
    Case("node", "sendmsg", "ENOBUFS", "1+5"),
    Case("node", "sendmsg", "ECONNREFUSED", "1+9"),
    Case("proxy", "sendmsg", "EINTR", "1+5"),
    Case("node", "sendmsg", "EINTR", "1+5"),
    Case("proxy", "sendmsg", "EPERM", "1+9"),
    Case("node", "sendmsg", "EPERM", "1+9"),
    Case("proxy", "sendmsg", "ENETUNREACH", says="TCP takes over"),
    Case("proxy", "sendmmsg", "EIO", "1+2", "udp"),
    Case("proxy", "sendmmsg", "EMSGSIZE", "1+2", "udp"),
    Case("proxy", "sendmmsg", "EAGAIN", "1+2", "udp"),
    Case("proxy", "sendmmsg", "ENOBUFS", "1+2", "udp"),
    Case("node", "sendmmsg", "ENOBUFS", "1+2", "udp"),
    Case("node", "sendmmsg", "EMSGSIZE", "1+2", "udp"),
    Case("node", "sendmmsg", "ECONNREFUSED", "1+3", "udp"),
    Case("node", "sendmmsg", "EINTR", "1+2", "udp"),
    Case("proxy", "recvmmsg", "EINTR", "1+3"),
    Case("proxy", "recvmmsg", "ECONNREFUSED", "1+3"),
    Case("node", "recvmmsg", "ECONNREFUSED", "1+3", "udp"),
    Case("proxy", "recvmmsg", "ENOBUFS", "1+3"),
    Case("node", "recvmmsg", "ENOMEM", "1+3"),
    Case("node", "recvmmsg", "EIO", "1+3"),
    Case("node", "connect", "EADDRNOTAVAIL", "1+2", "udp"),
    Case("proxy", "read,write", "EINTR", "1+7"),
    Case("node", "read,write", "EINTR", "1+7"),
)


class Ends:
    """A proxy and its node, HTTP/3 between them, or the JSON wire for what is to count."""

    def __init__(self, world, case):
        self.world, count = world, case.work == "count"
        self.node = world.node(tls=not count)
        ways = f'[[deployment]]\nurl = "https://{self.node.address}"\nca_file = "{world.tools.certificate}.crt"\n'
        if count:  # of 200 each exchange is written down
            ways = self.node.deployment() + 'account = "few"\n[[account]]\nname = "few"\ndaily_quota = 200\n'
        self.proxy, self.address = world.proxy(ways, None if count else self.node.secrets["e2e"])
        self.state = os.path.join(world.directory, f"{len(world.programs) - 1}-state")
        self.echo = origin_udp.serve_udp(origin_udp.echo)
        self.file = os.path.join(world.directory, "up")
        with open(self.file, "wb") as file:
            file.write(os.urandom(BULK))
        with open(self.file, "rb") as file:
            self.digest = hashlib.file_digest(file, "sha256").hexdigest()

    def curl(self, path, *options, seconds=30):
        done = subprocess.run(["curl", "-sS", "--fail", "--noproxy", "", "-m", str(seconds), "-x", f"socks5h://{self.address}", *options,
                               f"http://127.0.0.1:{self.world.origin.http}/{path}"],
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)
        return done.returncode, done.stdout

    def begin(self, case):
        """Makes the link, or the file of counts."""
        if case.work != "count":
            self.bulk()
            return
        require(self.curl("bytes/1000")[0] == 0, "no bytes")
        until(lambda: os.path.exists(os.path.join(self.state, "quota")), 5, "the count is written down")
        time.sleep(1.2)  # more often than once a second it is not

    def bulk(self):
        """Bytes both ways, which have to be whole."""
        code, text = self.curl(f"bytes/{BULK}")
        require(code == 0 and hashlib.sha256(text).hexdigest() == self.world.origin.sha256(BULK), f"down: exit {code}, {len(text)} bytes")
        code, text = self.curl("sum", "-H", "Expect:", "-X", "POST", "-T", self.file)
        require(code == 0 and text.decode() == f"{BULK} {self.digest}", f"up: exit {code}, {text!r}")
        return "whole"

    def connect(self):
        """New connections, which may be refused."""
        return "curl exits " + ", ".join(str(self.curl("bytes/1000", seconds=1)[0]) for _ in range(3))

    def visit(self):
        """Connections to the node that are no client's."""
        codes = []
        for _ in range(3):
            done = subprocess.run(["curl", "-s", "-k", "-m", "1", "-o", os.devnull, "-w", "%{http_code}", f"https://{self.node.address}/"],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            codes.append(done.stdout)
        return "strangers get " + ", ".join(codes)

    def associate(self):
        """UDP ASSOCIATE is refused."""
        try:
            Association(self.address).__exit__()
        except Failed as refused:
            return str(refused)
        raise Failed("there is an association without a socket")

    def count(self):
        """Exchanges, while their count cannot be written down."""
        for _ in range(3):
            require(self.curl("bytes/1000")[0] == 0, "no bytes")
        until(lambda: any("not kept for now" in record["msg"] for record in self.proxy.log()), 5, "the log says so")
        return "whole"

    def udp(self):
        """Datagrams, of which some may be lost."""
        return f"{self.echoes()} of {DATAGRAMS} datagrams"

    def echoes(self):
        back = 0
        with Association(self.address) as client:
            client.socket.settimeout(0.3)
            for i in range(DATAGRAMS):
                payload = b"%d" % i * 300
                try:
                    client.send(("127.0.0.1", self.echo), payload)
                    back += client.receive()[0] == payload
                except OSError:  # it is lost
                    continue
        return back

    def recovers(self, case):
        """All is as before."""
        until(lambda: self.curl("bytes/1000", seconds=3)[0] == 0, 20, "new connections work again")
        if case.work == "count":
            self.file_is_whole()
            return
        self.bulk()
        until(lambda: self.echoes() == DATAGRAMS, 20, "all datagrams arrive")

    def file_is_whole(self):
        with open(os.path.join(self.state, "quota"), encoding="ascii") as file:
            text = file.read()
        require(re.fullmatch(r"relaymux quota 1\n(\d+ \d+ \d+ \d+ \"\w+\"\n)*", text), f"the file of counts is {text!r}")


def run(world, case):
    """Injects one fault, and returns what was observed."""
    ends = Ends(world, case)
    program = {"proxy": ends.proxy, "node": ends.node.program}[case.end]
    ends.begin(case)
    said, began, used = len(program.log()), time.monotonic(), processor(program)
    path = os.path.join(ends.state, case.path) if case.path else None
    with Injection(world, program, case.calls, case.error, case.when, path) as fault:
        seen = getattr(ends, case.work)()
    share = (processor(program) - used) / (time.monotonic() - began)
    require(program.running(), "the program has ended")
    require(fault.hits, "no call has failed")
    loud = complaints(program)
    require(len(loud) <= FEW, f"{len(loud)} complaints")
    words = [record["msg"] for record in program.log()[said:] + ends.proxy.log()]
    require(not case.says or any(case.says in word for word in words), f"the log has only {words}")
    require(case.says or not loud, f"it complains: {loud}")
    ends.recovers(case)
    rest = processor(program)
    time.sleep(0.3)
    require(processor(program) - rest < 0.3 * HEAVY, f"it spins: {processor(program) - rest:.2f} s of CPU in 0.3 s")
    for each in (ends.proxy, ends.node.program):
        require(world.stop(each) == 0, f"{each.name} does not stop")
    said = f"; log: {case.says!r}, {len(loud)} complaints" if case.says else ""
    return f"{fault.hits} failed, {seen}{said}; CPU {share:.0%}"


def table(world, cases):
    """A line for each; all are tried, whatever becomes of one."""
    failed = 0
    for case in cases:
        name = f"{case.end} {case.calls} {case.error} when={case.when}{' ' * bool(case.path)}{case.path}"
        try:
            print(f"     {name}: {run(world, case)} PASS", flush=True)
        except Failed as why:
            failed += 1
            print(f"     {name}: {why} FAIL", flush=True)
    require(not failed, f"{failed} of {len(cases)}")
    return f"{len(cases)} faults"


@hostile(76, 81, 83)
def inject_short(world):
    """Those of SHORT."""
    return table(world, SHORT)


@hostile(76, 81, 83)
def long_inject(world):
    """The others."""
    return table(world, LONG)


CHECKS = [(inject_short, 120), (long_inject, 400)]
