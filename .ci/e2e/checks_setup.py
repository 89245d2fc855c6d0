"""The way of somebody new, by the README: every command here is taken from its text. With
a file's name in $TRANSCRIPT, that gets what was typed and shown.

All of it happens in a network of its own, where names and addresses are as in the README
and lead back to the same machine."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys

from checks_script import HOST, workerd
from world import make_certificate, require, until

HERE = os.path.dirname(os.path.abspath(__file__))
README = os.path.join(HERE, "..", "..", "README.md")
NODE, SITE, WORKER = "node.example", "example.com", "relay.workers.dev"
GOOGLE = ["www.google.com", "script.google.com", "script.googleusercontent.com"]
FRONT = "216.239.38.120"  # connect_to, as relaymux init writes it
AT_WORKER = "127.0.0.2"
OBJECTS = 60


class Machine:
    """A machine with a network of its own, in which all names of the README are itself.
    What is typed on it is kept."""

    def __init__(self, world):
        self.world, self.said = world, []
        self.home = os.path.join(world.directory, "home")
        os.makedirs(os.path.join(world.directory, "bin"))
        os.makedirs(self.home)
        os.symlink(world.tools.relaymux, os.path.join(world.directory, "bin", "relaymux"))
        self.certificate = os.path.join(world.directory, "names.pem")
        make_certificate(self.certificate, [NODE, SITE, WORKER, *GOOGLE])
        hosts = world.write("hosts", "127.0.0.1 localhost\n127.0.0.1 " + " ".join([NODE, SITE, *GOOGLE]) + f"\n{AT_WORKER} {WORKER}\n")
        shell = (f'mount --bind "$0" /etc/hosts && ip link set lo up && ip addr add {FRONT}/32 dev lo || exit; '
                 'trap "kill \\$!; exit 0" TERM; sleep 3600 & echo machine ready; wait')
        program = world.start(["unshare", "--net", "--mount", "sh", "-c", shell, hosts], "machine")
        program.find("machine ready")
        self.pid = program.process.pid
        self.environ = {
            "PATH": os.path.join(world.directory, "bin") + ":" + os.environ["PATH"], "HOME": self.home,
            "SSL_CERT_FILE": self.certificate + ".crt", "CURL_CA_BUNDLE": self.certificate + ".crt",  # Google's and the site's
            "RELAYMUX_NODE_EGRESS_ALLOW_PRIVATE": "true",  # the site is on this machine
        }

    def inside(self, argv):
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", f"--mount=/proc/{self.pid}/ns/mnt", "sh", "-c", 'cd "$0" && exec "$@"', self.home, *argv]

    def type(self, command, more="", seconds=60):
        """Runs a command line that ends, with more behind it; returns its output."""
        done = subprocess.run(self.inside(["sh", "-c", command + more]), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=seconds, check=False, env=self.environ)
        self.note(command + more, done.stdout)
        require(done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def leave(self, command, name, mark):
        """Starts a command line that goes on, and waits for mark in its output."""
        program = self.world.start(self.inside(["sh", "-c", "exec " + command]), name, self.environ)
        program.find(mark)
        self.note(command, program.out())
        return program

    def start(self, argv, name, **environ):
        """Starts what the README does not speak of."""
        return self.world.start(self.inside(argv), name, {**self.environ, **environ})

    def site(self):
        program = self.start([sys.executable, "-B", os.path.join(HERE, "page_server.py"), self.certificate, str(OBJECTS)], "site")
        program.find("site serves")

    def answer(self, command, *answers):
        """Runs a command at a terminal, and answers its questions, which end with a colon."""
        near, far = pty.openpty()
        process = subprocess.Popen(self.inside(["sh", "-c", "exec " + command]), stdin=far, stdout=far, stderr=far, env=self.environ)
        os.close(far)
        text, left = "", list(answers)
        while True:
            try:
                part = os.read(near, 4096).decode()
            except OSError:  # it has ended
                break
            text += part
            if left and text.endswith(": "):
                os.write(near, (left.pop(0) + "\n").encode())
        os.close(near)
        require(process.wait(20) == 0 and not left, f"{command}: {process.returncode}, {left} not asked for\n{text}")
        self.note(command, text.replace("\r", ""))
        return text

    def note(self, command, output):
        self.said.append(f"$ {command}\n{output.rstrip()}\n")
        if "TRANSCRIPT" in os.environ:
            with open(os.environ["TRANSCRIPT"], "w", encoding="utf-8") as file:
                file.write("\n".join(self.said))


def commands():
    """Those of the README, in their order, from setting up to the programs."""
    with open(README, encoding="utf-8") as file:
        text = re.search(r"## Set it up\n(.*?)\n## Your programs", file.read(), re.S)[1]
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines()]


def program(name):
    """What the README says to type for a program."""
    with open(README, encoding="utf-8") as file:
        return re.search(rf"\n\| {name} \| `([^`]+)` \|", file.read())[1]


def typed(lines, beginning):
    """The next of lines, which must begin like that."""
    line = lines.pop(0)
    require(line.startswith(beginning), f"the README goes on with {line!r}, not {beginning!r}")
    return line


def setup_walk(world):
    """init, a node, the script in Google's place, doctor, the proxy, a page in Chromium."""
    machine, lines = Machine(world), commands()
    machine.site()
    said = machine.type(typed(lines, "relaymux init --node node.example:8443 --relay apps-script"))
    require("The relay:" in said and "DEPLOYMENT_ID" in said, said)
    made = os.path.join(machine.home, "relaymux-setup")
    for secret in secrets_of(made):
        require(secret not in said, "init prints a secret")
        world.secrets.append(secret)
    require("is free: the node does not run" in machine.type(typed(lines, "relaymux doctor")), "the node's port is taken")
    machine.leave(typed(lines, "relaymux node"), "node", "node listens")
    google = machine.start(["node", HOST, os.path.join(made, "Code.gs"), machine.certificate, "https://" + GOOGLE[2]], "appsscript",
                           APPSSCRIPT_LISTEN=f"{FRONT}:443")
    google.find("appsscript")
    machine.type(typed(lines, "sed -i").replace("THE-ID-YOU-WERE-SHOWN", "AKfyGoogle"))
    doctor = typed(lines, "relaymux doctor")
    healthy(json.loads(machine.type(doctor, " --json")))
    table = machine.type(doctor)
    require(table.endswith("Nothing is broken.\n"), table)
    run = machine.leave(typed(lines, "relaymux --config"), "run", "SOCKS5 and HTTP proxy on 127.0.0.1:1080")
    require(not lines, f"the README goes on: {lines}")
    require("whole: " in machine.type(program("curl")), "curl shows another page")
    dom = machine.type(program("Chromium"), f" --headless --no-sandbox --disable-gpu --user-data-dir={machine.home}/chromium --dump-dom https://{SITE}/"
                       " --ignore-certificate-errors --proxy-bypass-list='<-loopback>' 2>/dev/null", 100)
    require(f"whole: {OBJECTS}" in dom, f"Chromium shows {dom[:300]}")
    until(lambda: "link to the node is made" in run.err(), 5, "there is a link")
    require(json.loads(machine.type("relaymux status --json --config relaymux-setup/relaymux.toml"))["deployments"], "no deployment is shown")
    before = open(os.path.join(made, "relaymux.toml"), encoding="utf-8").read()
    again = machine.type("relaymux init")
    require("left as they are" in again and before == open(os.path.join(made, "relaymux.toml"), encoding="utf-8").read(), again)
    return f"{len(machine.said)} commands; Chromium shows a page of {OBJECTS} objects through the script"


def healthy(report):
    for finding in report["findings"]:
        for leg in finding["legs"]:
            require(leg["status"] == "ok" or leg["status"] == "skipped" and leg["leg"] == "udp", f"{leg}")


def secrets_of(directory):
    """What is secret in the files that init writes."""
    found = set()
    for name in "relaymux.toml", "node.toml":
        with open(os.path.join(directory, name), encoding="utf-8") as file:
            found |= set(re.findall(r'^(?:secret|key) += "([^"]+)"', file.read(), re.M))
    require(len(found) == 3, f"{len(found)} secrets")
    return found


def setup_asked(world):
    """The same at a terminal: what is not given by flags is asked for, with reasons."""
    machine = Machine(world)
    said = machine.answer("relaymux init", "node.example:8443", "apps-script direct", "plain", "")
    for part in "Address of the node", "plain does not go with a script", "your own proxy trusts this one", "2. The relay:":
        require(part in said, f"no {part!r} in {said}")
    for name in "relaymux.toml", "node.toml":
        require(machine.type(f"relaymux check --config relaymux-setup/{name}").endswith(": ok\n"), name)
    machine.leave("relaymux node --config relaymux-setup/node.toml", "node", "node listens")
    report = json.loads(machine.type("sed -i 's|DEPLOYMENT_ID|AKfyGoogle|' relaymux-setup/relaymux.toml; "
                                     f"relaymux doctor --config relaymux-setup/relaymux.toml --json --target {SITE}:443; true"))
    legs = {leg["leg"]: leg for leg in report["findings"][1]["legs"]}
    require(all(legs[name]["status"] == "ok" for name in ("connect", "tls", "secret", "udp")), f"straight: {legs}")
    legs = {leg["leg"]: leg for leg in report["findings"][0]["legs"]}
    require(legs["connect"]["status"] == "broken" and legs["connect"]["remedy"], f"without Google: {legs}")
    return "4 questions, 2 ways"


def setup_worker(world):
    """The Worker as init writes it, in workerd: before a node with a certificate that it
    trusts, and before one without TLS, which then has no key."""
    machine = Machine(world)
    machine.site()
    binary = workerd(world)
    said = []
    for how, port in ("files", 8443), ("plain", 8080):
        made = os.path.join(machine.home, how)
        machine.type(f"relaymux init --dir {how} --node {NODE}:{port} --relay worker --node-tls {how}")
        if how == "files":
            machine.type(f"install -m 600 {machine.certificate}.crt {how}/cert.pem && install -m 600 {machine.certificate} {how}/key.pem")
        machine.type(f"sed -i 's|YOUR-WORKER.workers.dev|{WORKER}|' {how}/relaymux.toml")
        node = machine.leave(f"relaymux node --config {how}/node.toml", f"node-{how}", "node listens")
        with open(os.path.join(made, "node.toml"), encoding="utf-8") as file:
            require(not re.search(r"^key ", file.read(), re.M), "the node has a key that nobody needs")
        with open(os.path.join(made, "workerd.capnp"), "w", encoding="utf-8") as file:
            file.write(CAPNP)
        for ending in "", ".crt":
            shutil.copy(machine.certificate + ending, os.path.join(made, "tls.pem" + ending))
        worker = machine.start([binary, "serve", "--control-fd=1", os.path.join(made, "workerd.capnp")], f"workerd-{how}")
        worker.find(r'"port":443')
        healthy_but_udp = json.loads(machine.type(f"relaymux doctor --config {how}/relaymux.toml --json --target {SITE}:443"))
        for leg in healthy_but_udp["findings"][0]["legs"]:
            require(leg["status"] == "ok" or leg["leg"] == "udp", f"{how}: {leg}")
            require(leg["leg"] != "relay" or leg["detail"] == "answered", f"the Worker is not seen: {leg}")
        proxy = machine.leave(f"relaymux run --config {how}/relaymux.toml", f"{how}-run", "SOCKS5 and HTTP proxy on 127.0.0.1:1080")
        require("whole: " in machine.type(program("curl")), "curl shows another page")
        proxy.find("deployment streams", 15)
        said.append(f"{how}: streams")
        for each in proxy, worker, node:
            each.signal()
            each.wait(20)
    return ", ".join(said)


def setup_proxy(world):
    """nginx and Caddy with what init writes, which verify the certificate that it makes."""
    machine = Machine(world)
    machine.site()
    machine.type(f"relaymux init --node {NODE}:8443 --relay proxy=https://{WORKER}/below")
    made = os.path.join(machine.home, "relaymux-setup")
    machine.leave("relaymux node --config relaymux-setup/node.toml", "node", "node listens")
    for name, argv in ("nginx.conf", ["nginx", "-p", made, "-e", "stderr", "-c"]), ("Caddyfile", ["caddy", "run", "--adapter", "caddyfile", "--config"]):
        with open(os.path.join(made, name), encoding="utf-8") as file:
            text = file.read()
        require(text.count("/etc/relaymux/cert.pem") == 1 and "/below/" in text, text)
        config = world.write(f"whole-{name}", (NGINX if name == "nginx.conf" else CADDY)
                             .replace("HERE", text.replace("/etc/relaymux/cert.pem", os.path.join(made, "cert.pem")))
                             .replace("PEM", machine.certificate).replace("TMP", world.directory))
        proxy = machine.start([*argv, config], name)
        until(lambda: healthy_through(machine, proxy), 20, f"{name} leads to the node")  # pylint: disable=cell-var-from-loop
        proxy.signal()
        proxy.wait(20)
    return "nginx, Caddy"


def healthy_through(machine, proxy):
    """Whether the doctor finds nothing broken: the reverse proxy may not listen yet."""
    require(proxy.running(), proxy.err())
    done = subprocess.run(machine.inside(["relaymux", "doctor", "--config", "relaymux-setup/relaymux.toml", "--json", "--target", f"{SITE}:443"]),
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False, env=machine.environ)
    return done.returncode == 0


NGINX = """
daemon off;
user root;
pid TMP/nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path TMP/body;
    proxy_temp_path TMP/proxy;
    fastcgi_temp_path TMP/fastcgi;
    uwsgi_temp_path TMP/uwsgi;
    scgi_temp_path TMP/scgi;
    server {
        listen 127.0.0.2:443 ssl http2;
        ssl_certificate PEM;
        ssl_certificate_key PEM;
        HERE
    }
}
"""

CADDY = """
{
	admin off
	auto_https disable_redirects
}
https://relay.workers.dev {
	bind 127.0.0.2
	tls PEM PEM
	HERE
}
"""

# A config of workerd with the Worker at port 443, which trusts the certificate that it
# has itself.
CAPNP = """
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "relay", worker = (modules = [(name = "worker.js", esModule = embed "worker.js")],
                               compatibilityDate = "2026-11-01", globalOutbound = "net")),
    (name = "net", network = (allow = ["public", "private"],
                              tlsOptions = (trustedCertificates = [embed "tls.pem.crt"]))),
  ],
  sockets = [(name = "https", address = "127.0.0.2:443", service = "relay",
              https = (options = (), tlsOptions = (keypair = (privateKey = embed "tls.pem", certificateChain = embed "tls.pem.crt"))))],
);
"""


CHECKS = [(setup_walk, 180), (setup_asked, 60), (setup_worker, 180), (setup_proxy, 90)]
