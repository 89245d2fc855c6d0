"""The relays that users put up (relaymux script): the Apps Script in an emulated
runtime, the Worker in workerd, and what nginx and Caddy need, in those."""

import contextlib
import hashlib
import http.server
import json
import os
import platform
import re
import socket
import ssl
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request

import clients
from checks_link import CHUNK, download, payload, upload
from clients import free_port, listens
from hostile import hostile
from world import require, until

HERE = os.path.dirname(os.path.abspath(__file__))
HOST = os.path.join(HERE, "..", "..", "relay", "script", "testdata", "appsscript.mjs")
WORKERD = "1.20261117.1"
OBJECTS, AT_ONCE = 60, 12
HIDDEN = "/hidden/path"
LARGEST = 50 << 20  # bytes that Apps Script fetches
DEBUG = ("--log-level", "debug")


def fill(world, kind, node, key="", node_key=""):
    """What relaymux script prints, in a file, and that file's name."""
    flags = ["--node", node, "--path", HIDDEN]
    for flag, secret in (("--key-file", key), ("--node-key-file", node_key)):
        if secret:
            flags += [flag, world.write(f"secret{flag}", secret + "\n")]
    code, text, said = printed(world, kind, *flags)
    told = f"check: {kind} verifies the node's certificate" if kind in ("nginx", "caddy") else ""
    require(code == 0 and said.startswith(told) and bool(said) == bool(told), f"relaymux script {kind}: {code} {said}")
    return world.write(f"{kind}.relay", text)


def printed(world, *arguments):
    """Exit code, stdout and stderr of relaymux script."""
    done = subprocess.run([world.tools.relaymux, "script", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=20, check=False, env={"HOME": world.directory})
    return done.returncode, done.stdout, done.stderr


class Recorder(http.server.ThreadingHTTPServer):
    """A node that does nothing but keep what it is asked, and send it back."""

    def __init__(self):
        self.seen = []
        super().__init__(("127.0.0.1", 0), Recording)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Recording(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers, body))
        self.send_response(200)
        self.send_header("Content-Type", self.headers["Content-Type"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


class AppsScript:
    """The script as it is printed, in a runtime that answers as Google does."""

    def __init__(self, world, node, node_key, *fetches, code=None):
        self.world, self.key = world, world.secret()
        code = code or fill(world, "apps-script", node, self.key, node_key)
        program = world.start(["node", HOST, code, world.tools.certificate, "https://script.googleusercontent.com", *fetches], "appsscript")
        (self.address,) = program.find(r"appsscript (\S+)")

    def deployment(self, wire="link"):
        return (f'[[deployment]]\nname = "script"\nurl = "https://script.google.com/macros/s/ID/exec"\n'
                f'connect_to = "{self.address}"\nserver_name = "www.google.com"\nkey = "{self.key}"\n'
                f'wire = "{wire}"\nca_file = "{self.world.tools.certificate}"\n')


class Worker:
    """The Worker as it is printed, in workerd."""

    def __init__(self, world, node, code=None, key=None):
        self.key = key or world.secret()
        code = code or fill(world, "worker", node, self.key)
        config = world.write("workerd.capnp", f"""
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "relay", worker = (modules = [(name = "worker.js", esModule = embed "{os.path.basename(code)}")],
                               compatibilityDate = "2026-11-01", globalOutbound = "net")),
    (name = "net", network = (allow = ["public", "private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "relay")],
);
""")
        program = world.start([workerd(world), "serve", "--control-fd=1", config], "workerd")
        (port,) = program.find(r'"port":(\d+)')
        self.url = f"http://127.0.0.1:{port}{HIDDEN}"

    def deployment(self, wire="link"):
        return f'[[deployment]]\nname = "worker"\nurl = "{self.url}"\nwire = "{wire}"\nkey = "{self.key}"\n'


def workerd(world):
    """Cloudflare's own runtime of Workers, in its one binary."""
    package = f"@cloudflare/workerd-linux-{'arm64' if platform.machine() == 'aarch64' else '64'}"
    where = os.path.join(world.directory, "workerd")
    subprocess.run(["npm", "install", "--prefix", where, "--no-audit", "--no-fund", "--ignore-scripts", f"{package}@{WORKERD}"],
                   stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=120)
    return os.path.join(where, "node_modules", package, "bin", "workerd")


def carry(world, proxy):
    """A page of many objects, and a file each way. Returns figures."""
    url = f"http://127.0.0.1:{world.origin.http}"
    objects = tempfile.mkdtemp(prefix="objects-", dir=world.directory)
    clients.curl(f"socks5h://{proxy}", f"{url}/img/[1-{OBJECTS}].png", "-Z", "--parallel-max", str(AT_ONCE), "-o", f"{objects}/#1")
    require(len(os.listdir(objects)) == OBJECTS, "the page is not whole")
    file, digest = payload(world, CHUNK)
    with download(world, proxy, f"bytes/{CHUNK}") as down:
        require(down.wait() == (0, world.origin.sha256(CHUNK)), "what came down is another file")
    with upload(world, proxy, file) as up:
        require(up.wait() == (0, hashlib.sha256(f"{CHUNK} {digest}".encode()).hexdigest()), "what went up is another file")
    return f"{OBJECTS} objects, {CHUNK // 1_000_000} MB each way"


def streams(world, program, proxy):
    """A pipe carries a connection that is open."""
    with clients.socks5(proxy, "127.0.0.1", world.origin.echo, b"hello") as connection:
        require(clients.exactly(connection, 5) == b"hello", "another echo")
        program.find("deployment streams", 15)
        connection.sendall(b"by the pipe")
        require(clients.exactly(connection, 11) == b"by the pipe", "another echo")


def script_apps(world):
    """The script carries the link, and the JSON wire."""
    node = world.node()
    script = AppsScript(world, f"http://{node.address}", node.key)
    said = []
    for wire in ("link", "json"):
        _, proxy = world.proxy(script.deployment(wire), node.secrets["e2e"] if wire == "link" else None)
        said.append(f"{wire}: {carry(world, proxy)}")
    return "; ".join(said)


def script_worker(world):
    """The Worker carries the link by a pipe, the JSON wire by exchanges, and a large
    message as it is."""
    node = world.node()
    worker = Worker(world, f"http://{node.address}")
    program, proxy = world.proxy(worker.deployment(), node.secrets["e2e"])
    streams(world, program, proxy)
    said = f"streams: {carry(world, proxy)}"
    worker = Worker(world, f"http://{node.address}", key=node.key)
    _, proxy = world.proxy(worker.deployment("json"))
    return f"{said}; json: {carry(world, proxy)}; {passes(world)}"


def passes(world):
    """A Worker passes a message and its answer on as they are, and nothing of the key."""
    node, text = Recorder(), os.urandom(CHUNK)
    worker = Worker(world, f"http://{node.address}")
    request = urllib.request.Request(worker.url + "/tunnel/link", text, {
        "Authorization": f"Bearer {worker.key}", "Content-Type": "application/octet-stream"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        require(answer.read() == text and answer.headers["Content-Type"] == "application/octet-stream", "the message is another one")
        require("no-transform" in answer.headers["Cache-Control"], f"the answer's head: {answer.headers}")
    ((path, headers, _),) = node.seen
    require(path == "/tunnel/link" and headers["Content-Type"] == "application/octet-stream" and worker.key not in str(headers),
            f"the node sees {path} {headers}")
    return f"{CHUNK // 1_000_000} MB in one message"


def script_nginx(world):
    """What nginx needs, between TLS on both sides: HTTP/2 and 1.1 stream."""
    node, port = world.node(tls=True), free_port()
    location = fill(world, "nginx", f"https://localhost:{node.address.rpartition(':')[2]}")
    with open(location, encoding="utf-8") as file:
        text = file.read()
    cas = "/etc/ssl/certs/ca-certificates.crt"
    require(cas in text, "no CAs in the location")
    text = text.replace(cas, world.tools.certificate)
    config = world.write("nginx.conf", f"""
daemon off;
user root;
pid {world.directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {world.directory}/body;
    proxy_temp_path {world.directory}/proxy;
    fastcgi_temp_path {world.directory}/fastcgi;
    uwsgi_temp_path {world.directory}/uwsgi;
    scgi_temp_path {world.directory}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {world.tools.certificate};
        ssl_certificate_key {world.tools.certificate};
        {text}
    }}
}}
""")
    world.start(["nginx", "-c", config, "-p", world.directory, "-e", "stderr"], "nginx")
    return by_http(world, node, port, {"2": streams, "1.1": streams})


def script_caddy(world):
    """What Caddy needs, likewise: HTTP/2 streams, and 3 and 1.1 carry exchanges."""
    node, port = world.node(tls=True), free_port()
    handle = fill(world, "caddy", f"https://localhost:{node.address.rpartition(':')[2]}")
    with open(handle, encoding="utf-8") as file:
        text = file.read()
    text = re.sub(r"# (tls_trusted_ca_certs) \S+", rf"\1 {world.tools.certificate}", text)
    config = world.write("Caddyfile", f"""
{{
	admin off
	auto_https disable_redirects
}}
https://127.0.0.1:{port} {{
	bind 127.0.0.1
	tls {world.tools.certificate} {world.tools.certificate}
	{text}
}}
""")
    world.start(["caddy", "run", "--adapter", "caddyfile", "--config", config], "caddy")
    return by_http(world, node, port, {"2": streams, "3": None, "1.1": None})


def by_http(world, node, port, versions):
    """Each version of HTTP towards a reverse proxy at port carries files, and what else
    is asked of it."""
    until(lambda: listens(port), 10, "the reverse proxy listens")
    said = []
    for version, more in versions.items():
        program, proxy = world.proxy(
            f'[[deployment]]\nname = "proxy"\nurl = "https://127.0.0.1:{port}{HIDDEN}"\nhttp = "{version}"\n'
            f'ca_file = "{world.tools.certificate}"\n', node.secrets["e2e"])
        if more:
            more(world, program, proxy)
        said.append(f"HTTP/{version}{' streams' if more else ''}: {carry(world, proxy)}")
    return "; ".join(said)


def script_rebuilds(world):
    """Of each request the script makes for the node what the emulated one makes."""
    node = Recorder()
    node.key = world.secret()
    emulator = world.emulator(node, ["ID"], round_trip=0)
    script = AppsScript(world, f"http://{node.address}", node.key)
    requests = (
        {"t": "batch", "ops": [{"op": "link", "d": "QUJD"}], "zc": 1, "zops": "QQ==", "_pad": "AAAA"},
        {"t": "batch", "ops": [{"op": "data", "sid": 'a"', "wseq": 3, "new": [1, {"x": "\u2028é"}]}, {"op": "close", "sid": "b"}]},
        {"t": "batch"},
        {"t": "connect", "h": "x.test", "p": 443, "d": ""},
        {"t": "connect_data", "h": "x.test", "p": 443, "d": "QQ=="},
        {"t": "connect_data", "h": "x.test", "p": 443, "d": ""},
        {"t": "data", "sid": "s", "d": "QQ=="},
        {"t": "data", "sid": "s"},
        {"t": "close", "sid": "s"},
    )
    for request in requests:
        for relay, key in ((emulator.relay, emulator.key), (script.address, script.key)):
            status, _, text = ask(f"https://{relay}/macros/s/ID/exec", json.dumps({"k": key, **request}))
            require(status == 302, f"{request}: {status} {text}")
        (their_path, their_head, theirs), (path, head, ours) = node.seen[-2:]
        require(their_path == path and json.loads(theirs) == json.loads(ours) and head["Content-Type"] == their_head["Content-Type"],
                f"the script makes {path} {ours} of {request}, the emulated one {their_path} {theirs}")
    return f"{len(requests)} requests"


@hostile(64)
def script_strangers(world):
    """Whoever has no key is shown by the script and by the Worker what the emulated
    ones show, whatever they ask, and the node is not asked by the Worker."""
    node, asked_node = world.node(), Recorder()
    emulator = world.emulator(node, ["ID"], ["w"], round_trip=0)
    script = AppsScript(world, f"http://{node.address}", node.key)
    worker = Worker(world, f"http://{asked_node.address}")
    batch = json.dumps({"k": "wrong", "t": "batch", "ops": []})
    asked = 0
    for body in (None, "", "{", "null", "[]", "0", '"k"', '{"k":1}', '{"k":null}', '{"k":""}', batch, batch.replace("wrong", script.key[:-1])):
        theirs = ask(f"https://{emulator.relay}/macros/s/ID/exec", body)
        ours = ask(f"https://{script.address}/macros/s/ID/exec", body)
        require(theirs == ours and theirs[0] == 200, f"the script shows {ours} for {body!r}, the emulated one {theirs}")
        asked += 1
    strangers = [("/tunnel/link", {}), ("/tunnel/link", {"Authorization": "Bearer wrong"}), ("/tunnel/link", {"Authorization": worker.key}),
                 ("/tunnel/link", {"Authorization": "Bearer " + worker.key + "x"}), ("/tunnel/batch", {}), ("/tunnel/batch", {"Authorization": "Bearer wrong"}), ("/", {}), ("/tunnel", {}), ("/health", {})]
    for path, headers in strangers:
        for body in (None, "", batch):
            ours = ask(worker.url + path, body, headers)
            # The emulated worker lets the node say no to the JSON wire's strangers; ours does not ask it.
            theirs = ask(f"https://{emulator.relay}/w/w/tunnel/link", batch)
            require(theirs == ours and theirs[0] == 404, f"the Worker shows {ours} for {path} {headers.keys()} {body!r}, the emulated one {theirs}")
            asked += 1
    above = ask(worker.url.removesuffix(HIDDEN) + "/tunnel/link", batch, {"Authorization": "Bearer " + worker.key})
    require(above[0] == 404, f"the Worker answers above its path: {above}")
    require(not asked_node.seen, f"the Worker passes on what strangers send: {asked_node.seen}")
    return f"{asked} requests answered alike"


def script_bare(world):
    """What the command says, and that a script that has not been filled in knows no key."""
    node = world.node()
    code, text, said = printed(world, "apps-script")
    left = re.findall(r'"(PUT-[A-Z-]+)"', text)
    require(code == 0 and len(left) == 3 and all(each in said for each in left), f"without values: {code} {left} {said}")
    script = AppsScript(world, "", "", code=world.write("bare.gs", text))
    for key in left:
        shown = ask(f"https://{script.address}/macros/s/ID/exec", json.dumps({"k": key, "t": "batch", "ops": []}))
        require("did not return anything" in shown[2], f"a bare script takes {key} for its key: {shown}")
    code, text, said = printed(world, "worker")
    worker = Worker(world, "", code=world.write("bare.js", text))
    shown = ask(worker.url.removesuffix(HIDDEN) + "/tunnel/link", "x", {"Authorization": "Bearer PUT-THE-DEPLOYMENT-KEY-HERE"})
    require(code == 0 and "DEPLOYMENT-KEY" in said and shown[0] == 404, f"a bare Worker: {code} {said} {shown}")
    key = world.secret()
    proxy = world.write("proxy.toml", f"""
[link]
secret = "{world.secret()}"
[[deployment]]
name = "node"
url = "https://node.test:8443"
[[deployment]]
name = "a"
url = "https://worker.test/below"
key = "{key}"
[[deployment]]
name = "b"
url = "https://script.google.com/macros/s/ID/exec"
key = "{world.secret()}"
""")
    code, text, said = printed(world, "worker", "--config", proxy)
    require(code == 0 and key in text and '"/below"' in text and "NODE-ADDRESS" in said, f"the proxy's config: {code} {said}")
    code, text, said = printed(world, "apps-script", "--config", proxy, "--node", "https://node.test")
    require(code == 0 and world.secrets[-1] in text and said.strip().endswith("PUT-THE-NODE-KEY-HERE"), f"the proxy's config: {code} {said}")
    code, text, said = printed(world, "apps-script", "--config", os.path.join(world.directory, "node.toml"))
    require(code == 0 and node.key in text and "NODE-KEY" not in said, f"the node's config: {code} {said}")
    open_file = world.write("open", key)
    os.chmod(open_file, 0o644)
    for arguments in (), ("nothing",), ("worker", "--key-file", "/none"), ("worker", "--key-file", open_file), ("nginx", "--path", "/;"), ("nginx", "--node", "x"), ("nginx", "x"):
        code, text, said = printed(world, *arguments)
        require(code == 2 and not text and said and key not in said, f"{arguments}: {code} {text} {said}")
    code, _, said = printed(world, "worker", "--config", proxy, "--deployment", "c")
    require(code == 2 and '"c"' in said, f"no such deployment: {code} {said}")
    return "placeholders, both configs, exit codes"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A script's answers are at a host that is not on this machine."""

    def redirect_request(self, *_):
        return None


def ask(url, body, headers=None):
    """Status, type and text of the answer."""
    context = ssl._create_unverified_context()  # pylint: disable=protected-access
    request = urllib.request.Request(url, None if body is None else body.encode(), headers or {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), NoRedirect)
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def script_reasons(world):
    """What the log says of a script that has no answer: the node is not there, it has
    another key, the script may not fetch any more, the answer is too large."""
    node = world.node()
    there, large = f"http://{node.address}", serve_too_much()
    with contextlib.ExitStack() as stack:
        told = []
        for what, url, key, fetches, *words in (
            ("no node", f"http://127.0.0.1:{free_port()}", node.key, (), "server_error", "Address unavailable"),
            ("another key", there, world.secret(), (), "refused", "status 404", "NODE_KEY"),
            ("no node's address", there + "/elsewhere", node.key, (), "refused", "status 404"),
            ("no more fetches", there, node.key, ("0",), "quota", "may not fetch any more", "midnight"),
            ("too large", large, node.key, (), "too_large", "larger than a script may fetch"),
        ):
            script = AppsScript(world, url, key, *fetches)
            program, proxy = world.proxy(script.deployment(), node.secrets["e2e"], flags=DEBUG)
            stack.enter_context(download(world, proxy, "bytes/10"))
            told.append((what, program, words))
        for what, program, words in told:
            until(lambda: all(word in program.err() for word in words), 20, f"{what}: the log says {words}")  # pylint: disable=cell-var-from-loop
    for _, program, _ in told:
        program.signal()  # all at once: each waits for its connection
    for what, program, _ in told:
        require(program.wait(20) == 0, f"{what}: it does not stop")  # a second signal would end it at once
    return ", ".join(what for what, _, _ in told)


def serve_too_much():
    """A server whose every answer is larger than a script may fetch."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            connection, _ = listener.accept()
            with contextlib.suppress(ConnectionError), connection:
                connection.recv(1 << 16)
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {LARGEST + 1}\r\n\r\n".encode())
                for _ in range((LARGEST >> 20) + 1):
                    connection.sendall(b"x" * (1 << 20))

    threading.Thread(target=serve, daemon=True).start()
    return "http://127.0.0.1:%d" % listener.getsockname()[1]


CHECKS = [(script_apps, 120), (script_worker, 180), (script_nginx, 120), (script_caddy, 120), (script_rebuilds, 60), (script_strangers, 180),
          (script_bare, 60), (script_reasons, 120)]
