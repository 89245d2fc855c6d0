"""Programs that know no proxy, by others' wrappers, and others' SOCKS and HTTP clients:
proxychains4, torsocks, ncat, socat, ssh, PySocks."""

import os
import shlex
import subprocess
import sys

import clients
from clients import free_port, host_port, listens
from hostile import hostile
from judge import package, sha256, verdict, version
from world import HOSTS, require, until

try:
    import socks  # PySocks
except ImportError as missing:  # of the packages that .ci/run installs: its check fails, the others run
    print(missing, file=sys.stderr)

USER = "ann"
SIZE = 1_000_000
ONION = "relaymux.onion"  # torsocks has names below it looked up by the proxy in the connection's request


FETCH = "import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1], timeout=20).read())"  # curl refuses .onion


class Proxies:
    """A node, with a proxy for everybody and one that wants a password."""

    def __init__(self, world):
        self.world = world
        world.hosts = [*HOSTS, ONION]
        node = world.node()
        self.password, self.wrong = world.secret(), world.secret()
        self.open = world.proxy(node.deployment(), node.secrets["e2e"])[1]
        self.guarded = world.proxy(node.deployment(), node.secrets["e2e"], users=f'[{{ name = "{USER}", password = "{self.password}" }}]')[1]

    def ways(self):
        """Which proxy, with which password, and whether that is to work."""
        return ((self.open, None, True), (self.guarded, self.password, True), (self.guarded, self.wrong, False))


def attempt(argv, right, **options):
    """Runs a client, and returns what is wrong with how it ended. right looks at its
    output, or is None where it must not get any."""
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False, **{"stdin": subprocess.DEVNULL, **options})
    said = f"{' '.join(argv)[:200]}: {done.returncode}, {len(done.stdout)} bytes, {done.stderr.decode(errors='replace')[-300:]}"
    if right is None:
        return None if not done.stdout else said
    return None if right(done.stdout) else said


@hostile(6, 18, 40)
def judge_proxychains(world):
    """curl that knows of no proxy, by a dynamic chain whose first proxy is dead."""
    proxies, wrong, count = Proxies(world), [], 0
    url, want = f"http://{HOSTS[0]}:{world.origin.http}/bytes/{SIZE}", world.origin.sha256(SIZE)
    for kind in ("socks4", "socks5", "http"):
        for proxy, password, works in proxies.ways():
            host, port = host_port(proxy)
            login = f"{USER} {password}" if password else ""
            config = world.write(f"proxychains-{count}.conf", f"dynamic_chain\nproxy_dns\ntcp_connect_time_out 8000\ntcp_read_time_out 15000\n"
                                 f"[ProxyList]\n{kind} 127.0.0.1 {free_port()}\n{kind} {host} {port} {login}\n")
            works = works and not (kind == "socks4" and password)  # which has no passwords
            argv = ["proxychains4", "-q", "-f", config, "curl", "-s", "--fail", "-m", "20", url]
            wrong.append(attempt(argv, (lambda text: sha256(text) == want) if works else None))
            count += 1
    return f"{package('proxychains4')}: {verdict(count, list(filter(None, wrong)))}"


@hostile(6)
def judge_torsocks(world):
    """The same with torsocks, which has the proxy look up what is below .onion."""
    proxies, wrong = Proxies(world), []
    url, want = f"http://{ONION}:{world.origin.http}/bytes/{SIZE}", world.origin.sha256(SIZE)
    for i, (proxy, password, works) in enumerate(proxies.ways()):
        host, port = host_port(proxy)
        login = f"SOCKS5Username {USER}\nSOCKS5Password {password}\n" if password else ""
        config = world.write(f"torsocks-{i}.conf", f"TorAddress {host}\nTorPort {port}\nOnionAddrRange 127.42.42.0/24\n{login}")
        environ = {"PATH": os.environ["PATH"], "HOME": world.directory, "TORSOCKS_CONF_FILE": config, "TORSOCKS_LOG_LEVEL": "1"}
        argv = ["torsocks", sys.executable, "-c", FETCH, url]
        wrong.append(attempt(argv, (lambda text: sha256(text) == want) if works else None, env=environ))
        # Other names it wants looked up by a command of Tor's own, which nobody else has.
        argv[-1] = url.replace(ONION, HOSTS[0])
        wrong.append(attempt(argv, None, env=environ))
    return f"{package('torsocks')}: {verdict(len(wrong), list(filter(None, wrong)))}"


@hostile(6, 18, 40)
def judge_relays(world):
    """ncat and socat, as people put them before programs: what is sent comes back."""
    proxies, wrong, count = Proxies(world), [], 0
    with open(world.origin.noise, "rb") as file:
        payload = file.read(SIZE)
    want = f"{SIZE} {sha256(payload)}\n".encode()
    for proxy, password, works in proxies.ways():
        host, port = host_port(proxy)
        target, login = f"{HOSTS[0]}:{world.origin.at_eof}", f"{USER}:{password}"
        calls = [("socat", ["socat", "-t", "20", "-", f"SOCKS4A:{host}:{target},socksport={port},socksuser={USER}"], not password),
                 ("socat", ["socat", "-t", "20", "-", f"PROXY:{host}:{target},proxyport={port}" + (f",proxyauth={login}" if password else "")], works)]
        for kind in ("socks4", "socks5", "http"):
            name = ["127.0.0.1" if kind == "socks4" else HOSTS[0], str(world.origin.at_eof)]
            more = ["--proxy-auth", login] if password else []
            more += ["--proxy-dns", "remote"] if kind == "socks5" else []
            calls.append((kind, ["ncat", "--proxy", proxy, "--proxy-type", kind, *more, *name], works and not (kind == "socks4" and password)))
        for _, argv, to_work in calls:
            wrong.append(attempt(argv, (lambda text: text == want) if to_work else None, stdin=None, input=payload))
            count += 1
    return f"{package('ncat')}, {package('socat')}: {verdict(count, list(filter(None, wrong)))}"


def judge_ssh(world):
    """OpenSSH by ncat: 5 MB each way on one connection, and a line that is typed."""
    proxies = Proxies(world)
    port, made = free_port(), os.path.join(world.directory, "ssh")
    os.mkdir(made, 0o700)
    os.makedirs("/run/sshd", 0o755, exist_ok=True)  # where sshd locks its other half up
    for name in ("host", "user"):
        clients.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(made, name)])
    config = world.write("sshd_config", f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {made}/host\nAuthorizedKeysFile {made}/user.pub\n"
                         f"StrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile {made}/pid\n")
    server = world.start(["/usr/sbin/sshd", "-D", "-e", "-f", config], "sshd")
    until(lambda: listens(port), 10, "sshd listens")
    payload = os.urandom(5_000_000)
    said = []
    for kind, proxy, login in (("socks5", proxies.open, ""), ("http", proxies.guarded, f"--proxy-auth {USER}:{proxies.password}"), ("socks4", proxies.open, "")):
        command = f"ncat --proxy-type {kind} --proxy {proxy} {login} %h %p"
        ssh = ["ssh", "-o", f"ProxyCommand={command}", "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={made}/known", "-F", "none",
               "-o", "LogLevel=ERROR", "-i", f"{made}/user", "-p", str(port), "root@127.0.0.1"]
        echoed = clients.run([*ssh, "cat"], stdin=None, input=payload)
        require(echoed == payload, f"{len(echoed)} bytes came back by {kind}")
        require(clients.run([*ssh, "echo " + shlex.quote("a b")]) == b"a b\n", "another line")
        said.append(kind)
    server.signal()
    server.wait(10)
    return f"{version('ssh', '-V').split(',')[0]} by ncat: 5 MB each way whole by {', '.join(said)}"


@hostile(6, 18, 40)
def judge_pysocks(world):
    """PySocks by TCP: each kind with each password, by name and by address."""
    proxies, wrong, count = Proxies(world), [], 0
    kinds = {"SOCKS4": socks.SOCKS4, "SOCKS5": socks.SOCKS5, "HTTP": socks.HTTP}
    for (name, kind), (proxy, password, works) in ((kind, way) for kind in kinds.items() for way in proxies.ways()):
        works = works and not (name == "SOCKS4" and password)
        for host in (HOSTS[0], "127.0.0.1"):
            count += 1
            connection = socks.socksocket()
            connection.settimeout(20)
            connection.set_proxy(kind, *host_port(proxy), rdns=True, username=USER if password else None, password=password)
            try:
                connection.connect((host, world.origin.echo))
                connection.sendall(b"hello")
                said = clients.exactly(connection, 5)
            except socks.ProxyError as error:
                said = error
            finally:
                connection.close()
            if (said == b"hello") != works:
                wrong.append(f"{name} to {host}, password {password and 'given'}: {said}")
    return f"PySocks {socks.__version__}: {verdict(count, wrong)}"


CHECKS = [(judge_proxychains, 60), (judge_torsocks, 60), (judge_relays, 60), (judge_ssh, 60), (judge_pysocks, 60)]
