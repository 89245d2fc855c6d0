"""Firefox, driven by Marionette, its own remote control, and a trap for what it asks resolvers."""

import contextlib
import json
import os
import re
import socket
import subprocess
import threading

import origin_udp
from clients import exactly
from world import require, until

TRAP = "127.0.0.153"  # port 53 of an address that nobody else uses

# What it does by itself at its start is not what is looked at.
QUIET = {
    "app.normandy.enabled": False, "app.update.enabled": False, "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False, "browser.shell.checkDefaultBrowser": False, "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False, "dom.security.https_first": False, "dom.security.https_only_mode": False,
    "extensions.getAddons.cache.enabled": False, "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False, "services.settings.server": "data:,", "toolkit.telemetry.enabled": False,
    "network.proxy.allow_bypass": False, "network.proxy.failover_direct": False,  # else it goes past a proxy that does not lead to its makers
    "network.proxy.allow_hijacking_localhost": True, "network.proxy.no_proxies_on": "", "marionette.port": 0,
    "network.lna.blocking": False, "network.lna.enabled": False, "network.trr.mode": 5, "network.dns.disableIPv6": False,
}


def socks(host, port, names=True):
    """Preferences for SOCKS5, for names too or not."""
    return {"network.proxy.type": 1, "network.proxy.socks": host, "network.proxy.socks_port": port,
            "network.proxy.socks_version": 5, "network.proxy.socks_remote_dns": names, "network.proxy.socks5_remote_dns": names}


def http(host, port):
    """Preferences for HTTP and CONNECT."""
    return {"network.proxy.type": 1, "network.proxy.http": host, "network.proxy.http_port": port,
            "network.proxy.ssl": host, "network.proxy.ssl_port": port}


class Trap:
    """The only resolver that a program within knows: it answers nothing and writes
    everything down."""

    def __init__(self, world):
        self.world, self.asked = world, []
        self.socket = origin_udp.udp_socket(TRAP, 53)
        threading.Thread(target=self.listen, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def listen(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                query, peer = self.socket.recvfrom(512)
                self.asked.append(name_of(query))
                self.socket.sendto(query[:2] + b"\x81\x83" + query[4:6] + bytes(6) + query[12:], peer)  # there is no such name

    def within(self, argv):
        """argv where names are looked up in this place alone."""
        files = {"resolv.conf": f"nameserver {TRAP}\n", "nsswitch.conf": "hosts: files dns\n", "hosts": f"127.0.0.1 localhost {socket.gethostname()}\n"}
        mounts = "".join(f"mount --bind {self.world.write('trap-' + name, text)} /etc/{name} && " for name, text in files.items())
        return ["unshare", "--mount", "sh", "-c", mounts + 'exec "$@"', "sh", *argv]

    def control(self, name):
        """Shows that it would see a query."""
        subprocess.run(self.within(["getent", "hosts", name]), stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
        require(name in self.asked, f"the trap does not see that {name} is asked for, but {self.asked}")
        self.asked.clear()


def name_of(query):
    """The name that a DNS query is about (RFC 1035, section 4.1.2)."""
    labels, at = [], 12
    while size := query[at]:
        labels.append(query[at + 1:at + 1 + size].decode(errors="replace"))
        at += 1 + size
    return ".".join(labels)


class Firefox:
    """A browser with an empty profile and those preferences."""

    def __init__(self, world, trap, preferences):
        self.number = 0
        profile = os.path.join(world.directory, f"firefox-{len(world.programs)}")
        os.mkdir(profile)
        with open(os.path.join(profile, "user.js"), "w", encoding="utf-8") as file:
            for name, value in {**QUIET, **preferences}.items():
                file.write(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n")
        argv = ["firefox-esr", "--headless", "--no-remote", "--profile", profile, "--marionette"]
        self.program = world.start(trap.within(argv), "firefox", {"MOZ_REMOTE_ALLOW_SYSTEM_ACCESS": "1", "MOZ_CRASHREPORTER_DISABLE": "1"})
        port = os.path.join(profile, "MarionetteActivePort")
        until(lambda: os.path.exists(port) and open(port, encoding="ascii").read(), 40, "Firefox listens")
        with open(port, encoding="ascii") as file:
            self.socket = socket.create_connection(("127.0.0.1", int(file.read())), 60)
        self.read()  # how it greets
        session = self.do("WebDriver:NewSession", acceptInsecureCerts=True, pageLoadStrategy="normal")
        self.version = session["capabilities"]["browserVersion"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.program.kill()  # a good end takes seconds, and its profile is nobody's

    def do(self, command, **parameters):
        """Carries out a command of WebDriver."""
        self.number += 1
        text = json.dumps([0, self.number, command, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(text), text))
        _, number, error, result = self.read()
        require(number == self.number, "an answer to another command")
        require(error is None, f"{command}: {error}")
        return result.get("value", result) if isinstance(result, dict) else result

    def read(self):
        head = b""
        while not head.endswith(b":"):
            head += exactly(self.socket, 1)
        return json.loads(exactly(self.socket, int(re.match(rb"\d+", head)[0])))

    def get(self, url):
        self.do("WebDriver:Navigate", url=url)

    def execute_script(self, script, *arguments):
        return self.do("WebDriver:ExecuteScript", script=script, args=list(arguments))

    def execute_async_script(self, script, *arguments):
        return self.do("WebDriver:ExecuteAsyncScript", script=script, args=list(arguments))

    def png(self):
        return self.do("WebDriver:TakeScreenshot", full=False)
