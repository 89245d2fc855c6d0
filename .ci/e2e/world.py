"""The programs under test: started for one check, stopped and inspected after it."""

import contextlib
import json
import os
import re
import resource
import secrets
import signal
import subprocess
import time

from parts import Emulator, Namespace, Node

HOSTS = [f"h{i}.e2e.test" for i in range(10)]  # known only in the node's /etc/hosts
ROUND_TRIP = 1.5                                # seconds, of the emulated relay
ADMIN = ("--admin", "127.0.0.1:0")              # the usual port may be another relaymux's


class Failed(Exception):
    """A check did not hold."""


def require(holds, what):
    if not holds:
        raise Failed(what)


def until(condition, seconds, what):
    """Waits until condition() is true and returns what it returned."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        require(time.monotonic() < deadline, f"{what}: not within {seconds} s")
        time.sleep(0.02)
    return value


class Program:
    """A process of ours, with its output in files."""

    def __init__(self, argv, directory, name, environ):
        self.name, self.path = name, os.path.join(directory, name)
        self.stopped = False
        with open(self.path + ".out", "wb") as out, open(self.path + ".err", "wb") as err:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environ)

    def out(self):
        with open(self.path + ".out", encoding="utf-8") as file:
            return file.read()

    def err(self):
        with open(self.path + ".err", encoding="utf-8") as file:
            return file.read()

    def log(self):
        """The records on stderr, which are JSON when it is no terminal."""
        return [json.loads(line) for line in self.err().splitlines() if line.startswith("{") and line.endswith("}")]

    def find(self, pattern, seconds=20):
        """Waits for pattern in the output and returns its groups."""
        def look():
            require(self.running(), f"{self.name} ended with {self.process.poll()}: {self.err()[-500:]}")
            return re.search(pattern, self.out() + self.err())
        return until(look, seconds, f"{self.name} prints {pattern!r}").groups()

    def running(self):
        return self.process.poll() is None

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, seconds):
        """Returns the exit code."""
        self.stopped = True
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} still runs after {seconds} s") from None

    def kill(self):
        """Ends it as kill -9 does."""
        self.process.kill()
        self.wait(10)

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def connections(self, port):
        """How many TCP connections it has to that port (proc_net(5): state 1 is
        ESTABLISHED; 8 is CLOSE_WAIT, which ends only with the socket)."""
        own = set()
        for file in os.scandir(f"/proc/{self.process.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed by now
                own.add(os.readlink(file.path))
        with open(f"/proc/{self.process.pid}/net/tcp", encoding="ascii") as file:
            rows = [line.split() for line in file.readlines()[1:]]
        return sum(row[2].endswith(f":{port:04X}") and row[3] in ("01", "08") and f"socket:[{row[9]}]" in own for row in rows)

    def resident(self):
        """Resident memory in bytes (VmRSS of proc(5))."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read())[1]) << 10


class World:
    """What one check uses. Leaving it stops every program."""

    def __init__(self, tools, origin, directory):
        self.tools, self.origin, self.directory = tools, origin, directory
        self.programs, self.secrets = [], []
        self.environ = {}  # of all programs that are started
        self.hosts = HOSTS  # that the node knows
        os.makedirs(directory)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        codes = {}
        last_first = reversed(self.programs)
        for program in sorted(last_first, key=lambda program: not program.name.endswith("-run")):  # whose end the node is told
            if not program.stopped:
                codes[program.name] = self.stop(program)
        if kind is None:
            for name, code in codes.items():
                require(code == 0, f"{name} ended with {code} after SIGTERM")
            self.inspect()

    @staticmethod
    def stop(program):
        if program.running():
            program.signal()
        try:
            return program.wait(20)
        except Failed as late:
            program.process.kill()
            return str(late)

    def inspect(self):
        """What no program may ever print."""
        for program in self.programs:
            text = program.out() + program.err()
            require("panic" not in text and "DATA RACE" not in text, f"{program.name}: {text[-2000:]}")
            for secret in self.secrets:
                require(secret not in text, f"{program.name} prints a secret")

    def secret(self):
        self.secrets.append(secrets.token_hex(16))
        return self.secrets[-1]

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def start(self, argv, name, environ=None):
        clean = {"PATH": os.environ["PATH"], "HOME": self.directory}
        program = Program(argv, self.directory, f"{len(self.programs)}-{name}", {**clean, **self.environ, **(environ or {})})
        self.programs.append(program)
        return program

    def with_hosts(self, argv):
        """argv in a mount namespace whose /etc/hosts knows hosts, and which asks no resolver."""
        hosts = self.write("hosts", "127.0.0.1 localhost\n" + "".join(f"127.0.0.1 {name}\n" for name in self.hosts), 0o644)
        switch = self.write("nsswitch.conf", "hosts: files\n", 0o644)
        mounts = 'mount --bind "$0" /etc/hosts && mount --bind "$1" /etc/nsswitch.conf && shift && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mounts, hosts, switch, *argv]

    def namespace(self, name, *argv):
        """A network namespace in which argv runs."""
        shell = 'ip link set lo up; trap "kill \\$!; exit 0" TERM; "$@" & echo namespace ready; wait'
        return Namespace(self.start(["unshare", "--net", "sh", "-c", shell, "sh", *argv], name))

    @staticmethod
    def limited(argv, files):
        """argv with so many file descriptors, if that is to be limited."""
        return ["prlimit", f"--nofile={files}", *argv] if files else argv

    def embedded(self, limit_files=None, hosts=False, ports=1, **environ):
        """relaymux run without a config: the node is in the same process.
        Returns it and the proxy's host:port."""
        argv = [self.tools.relaymux, "run", "--proxy", ",".join(["127.0.0.1:0"] * ports), *ADMIN]
        if hosts:
            argv = self.with_hosts(argv)
        argv = self.limited(argv, limit_files)
        environ["RELAYMUX_NODE_EGRESS_ALLOW_PRIVATE"] = "true"  # the origin is on loopback
        program = self.start(argv, "run", environ)
        return program, proxy_of(program)

    def node(self, clients=("e2e",), reap="180s", tls=False, limit_files=None):
        """relaymux node, which those may make links with."""
        return Node(self, clients, reap, tls, limit_files)

    def emulator(self, node, scripts=(), workers=(), round_trip=ROUND_TRIP):
        """Scripts and workers in front of a node."""
        key = self.secret()
        argv = [self.tools.relayemu, "-node", f"http://{node.address}", "-deployments", ",".join(scripts),
                "-workers", ",".join(workers), "-rtt", f"{round_trip}s", "-certificate", self.tools.certificate,
                "-echo", "https://script.googleusercontent.com"]
        environ = {"RELAYEMU_AUTH_KEY": key, "RELAYEMU_TUNNEL_KEY": node.key}
        return Emulator(self.start(argv, "relayemu", environ), key, scripts, self.tools.certificate)

    def proxy(self, deployments, secret=None, host="127.0.0.1", users="[]", grace="120s", flags=(), connect="optimistic", limit_files=None):
        """relaymux run through deployments, over the link if there is a secret.
        Returns it and its host:port."""
        link = f'[link]\nsecret = "{secret}"\ngrace = "{grace}"\n' if secret else ""
        name = os.path.join(self.directory, str(len(self.programs)))
        config = self.write(f"{name}-run.toml", f"""
[proxy]
listen = "{host}:0"
users = {users}
connect = "{connect}"
[state]
dir = "{name}-state"
{link}{deployments}""")
        program = self.start(self.limited([self.tools.relaymux, "run", "--config", config, *ADMIN, *flags], limit_files), "run")
        return program, proxy_of(program)

    def direct(self, host="127.0.0.1", users="[]"):
        """run -> node, over the link. Returns both, and run's host:port."""
        node = self.node()
        program, proxy = self.proxy(node.deployment(), node.secrets["e2e"], host, users)
        return node.program, program, proxy

    def through_relay(self, scripts=("d1", "d2"), round_trip=ROUND_TRIP, wire="link", flags=()):
        """run -> emulated scripts -> node. Returns run, its host:port and the emulator."""
        node = self.node()
        emulator = self.emulator(node, scripts, round_trip=round_trip)
        deployments = "".join(emulator.deployment(name, f'wire = "{wire}"\n') for name in scripts)
        program, proxy = self.proxy(deployments, node.secrets["e2e"] if wire == "link" else None, flags=flags)
        return program, proxy, emulator


def proxy_of(program):
    (address,) = program.find(r"SOCKS5 and HTTP proxy on (\S+)")
    return address


class Tools:
    """Paths of what was built, and a certificate for all names in use."""

    def __init__(self, relaymux, relayemu, directory):
        self.relaymux, self.relayemu = os.path.abspath(relaymux), os.path.abspath(relayemu)
        self.certificate = os.path.join(directory, "certificate.pem")
        make_certificate(self.certificate, ["localhost", "www.google.com", "script.google.com", "script.googleusercontent.com", *HOSTS])


def make_certificate(path, names):
    """Writes a key and its certificate for loopback and names to path, and the certificate
    alone to path.crt."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "30", "-subj", "/CN=relaymux tests", "-keyout", path, "-out", path + ".crt",
         "-addext", "subjectAltName=IP:127.0.0.1,IP:::1," + ",".join("DNS:" + name for name in names)],
        check=True, capture_output=True, stdin=subprocess.DEVNULL)
    with open(path, "a", encoding="ascii") as file, open(path + ".crt", encoding="ascii") as crt:
        file.write(crt.read())


def most_files():
    """The highest limit of open files that this process may have; it has it then."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, 65536), max(hard, 65536)))
    except (PermissionError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
