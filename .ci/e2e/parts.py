"""The exit node and the emulated relay, as one check has them."""

import json
import signal
import urllib.request


class Node:
    """relaymux node, with a secret for each of its clients. It can be killed, and
    be started again on its port."""

    def __init__(self, world, clients, reap, tls=False, limit_files=None):
        self.world, self.reap, self.key, self.tls, self.files = world, reap, world.secret(), tls, limit_files
        self.secrets = {name: world.secret() for name in clients}
        self.address = "127.0.0.1:0"
        self.start()

    def start(self):
        argv = self.world.with_hosts([self.world.tools.relaymux, "node", "--config", self.write()])
        argv = self.world.limited(argv, self.files)
        self.program = self.world.start(argv, "node")
        (self.address,) = self.program.find(r'"msg":"node listens","address":"([^"]+)"')

    def write(self):
        """Writes the config, with the clients that have a secret now."""
        certificate = self.world.tools.certificate
        server = f'tls_cert = "{certificate}"\ntls_key = "{certificate}"' if self.tls else "plain = true"
        clients = "".join(f'[[node.client]]\nname = "{name}"\nsecret = "{secret}"\n' for name, secret in self.secrets.items())
        return self.world.write("node.toml", f"""
[node]
listen = "{self.address}"
{server}
key = "{self.key}"
{clients}
[node.egress]
allow_private = true
[node.limits]
reap = "{self.reap}"
""")

    def revoke(self, name):
        """Takes a client out of the file, and has the node read it."""
        del self.secrets[name]
        self.write()
        self.program.signal(signal.SIGHUP)
        self.program.find("config read again")

    def deployment(self, name="direct"):
        """What leads straight to it, in a proxy's config."""
        return f'[[deployment]]\nname = {json.dumps(name)}\nurl = "http://{self.address}"\nkey = "{self.key}"\n'


class Emulator:
    """The emulated relay (relaytest/cmd/relayemu): scripts, workers, and the control
    endpoint."""

    def __init__(self, program, key, scripts, certificate):
        self.relay, self.control = program.find(r"relay (\S+) control (\S+)")
        self.key, self.scripts, self.certificate = key, scripts, certificate
        self.direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def deployment(self, name, more=""):
        """What leads through that script or worker, in a proxy's config."""
        way = f'url = "https://{self.relay}/w/{name}"\n'
        if name in self.scripts:
            way = (f'url = "https://script.google.com/macros/s/{name}/exec"\n'
                   f'connect_to = "{self.relay}"\nserver_name = "www.google.com"\n')
        return f'[[deployment]]\nname = "{name}"\n{way}key = "{self.key}"\nca_file = "{self.certificate}"\n{more}'

    def set(self, deployment=None, **knobs):
        """Changes knobs of that one, or of all."""
        self.direct.open(self.url("knobs", deployment), json.dumps(knobs).encode(), timeout=10).close()

    def exchanges(self, deployment=None):
        """How many exchanges have ended, by their outcome."""
        with self.direct.open(self.url("stats", deployment), timeout=10) as answer:
            return json.load(answer)["Exchanges"] or {}

    def total(self, deployment=None):
        return sum(self.exchanges(deployment).values())

    def url(self, what, deployment):
        return f"http://{self.control}/{what}" + (f"?id={deployment}" if deployment else "")


class Namespace:
    """A network of its own, with a loopback that is up and nothing else. It is
    there while a program of ours runs in it."""

    def __init__(self, program):
        program.find("namespace ready")
        self.pid = program.process.pid

    def inside(self, argv):
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *argv]
