"""Straight to the node over a path of 50 ms that loses packets, or cuts UDP off."""

import hashlib
import os
import re
import subprocess
import sys
import time

import stream
from hostile import hostile
from world import require, until

HERE = os.path.dirname(__file__)
SCRIPT = [sys.executable, "-B", os.path.join(HERE, "stream.py")]
WEB, STREAM = 8000, 9  # the origin's ports
DELAY = 0.025          # seconds, one way
NODE = "10.9.0.2:8443"
OBJECTS, AT_ONCE, OBJECT = 60, 12, 20_000  # the page that is measured by relays too
LONGEST_GAP = 3.0      # seconds, when UDP is cut off: half a second, and what a busy machine adds
CUT = "table inet cut { chain in { type filter hook input priority 0; meta l4proto udp drop; }; }"  # without a word to the sender


class Path:
    """A node and its origin at the far end of a wire, which loses one packet in so
    many, and proxies at the near end."""

    def __init__(self, world, lose=0):
        self.world = world
        self.near, self.far = (world.namespace(name, "sleep", "infinity") for name in ("near", "far"))
        argv = [sys.executable, "-B", os.path.join(HERE, "wire.py"), str(self.near.pid), str(self.far.pid), str(DELAY), str(lose)]
        wire = world.start(argv, "wire")
        wire.find("wire ready")
        wire.stopped = True  # it ends with the namespaces
        self.files = os.path.join(world.directory, "files")
        os.makedirs(self.files)
        origin = world.start(self.far.inside([*SCRIPT, "serve", self.files, str(WEB), str(STREAM)]), "origin")
        origin.find("origin ready")
        origin.stopped = True  # likewise
        self.secret = world.secret()
        config = world.write("node.toml", f"""
[node]
listen = "{NODE}"
self_signed = true
[[node.client]]
name = "e2e"
secret = "{self.secret}"
[node.egress]
allow_private = true
""")
        node = world.start(self.far.inside([world.tools.relaymux, "node", "--config", config]), "node")
        (self.pin,) = node.find(r'"certificate_sha256":"([0-9a-f]+)"')
        require("no HTTP/3" not in node.err(), "the node has no HTTP/3")

    def proxy(self, http):
        """A proxy of that http, and its host:port, within the near namespace."""
        name = f"{len(self.world.programs)}-run.toml"
        config = self.world.write(name, f"""
[proxy]
listen = "127.0.0.1:0"
[state]
dir = "{self.world.directory}/{name}-state"
[link]
secret = "{self.secret}"
[[deployment]]
name = "node"
url = "https://{NODE}"
pin_sha256 = "{self.pin}"
http = "{http}"
""")
        program = self.world.start(self.near.inside([self.world.tools.relaymux, "run", "--config", config]), "run")
        (address,) = program.find(r"SOCKS5 and HTTP proxy on (\S+)")
        return program, address

    def file(self, name, size):
        """Makes a file of noise for the origin, and returns it."""
        text = os.urandom(size)
        with open(os.path.join(self.files, name), "wb") as file:
            file.write(text)
        return text

    def get(self, proxy, connections, names, texts):
        """Gets those files, which are to be texts, and returns the seconds."""
        argv = [*SCRIPT, "get", proxy, str(WEB), str(connections), *names]
        done = subprocess.run(self.near.inside(argv), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False)
        require(done.returncode == 0, done.stderr[-500:])
        digest, took = done.stdout.split()
        require(digest == hashlib.sha256(b"".join(texts)).hexdigest(), "what came is not what was sent")
        return float(took)


def path_clean(world):
    """No packet is lost."""
    return compare(world, 0, 20_000_000)


def path_lose_1(world):
    """1 % of the packets are lost, each way."""
    return compare(world, 100, 6_000_000)


def path_lose_3(world):
    """3 % of the packets are lost, each way."""
    return compare(world, 33, 2_000_000)


def compare(world, lose, size):
    """A page, and one file, by h3, by h2, and by what is chosen of itself."""
    path, said = Path(world, lose), []
    bulk = path.file("bulk", size)
    page = {f"object{i}": path.file(f"object{i}", OBJECT) for i in range(OBJECTS)}
    for http in ("3", "2", "auto"):
        program, proxy = path.proxy(http)
        path.get(proxy, 1, ["object0"], [page["object0"]])  # makes the link
        took = path.get(proxy, AT_ONCE, page, page.values())
        rate = size / path.get(proxy, 1, ["bulk"], [bulk]) / 1e6
        program.signal()
        require(program.wait(20) == 0, "the proxy failed")
        ways = len(re.findall("TCP takes over", program.err()))
        said.append(f"{http}: page {took:.2f} s, {rate:.2f} MB/s" + " (TCP took over)" * ways)
    return "; ".join(said)


@hostile(76)
def path_cut(world):
    """UDP is cut off in the middle of a stream, which goes on by TCP within a second;
    and later by UDP again."""
    path = Path(world)
    program, proxy = path.proxy("auto")
    reader = world.start(path.near.inside([*SCRIPT, "read", proxy, str(STREAM)]), "reader")
    program.find("deployment streams", 10)
    require(len(re.findall("reached by HTTP/3", program.err())) == 1, "not by HTTP/3 at first")
    time.sleep(2)
    for side in (path.near, path.far):
        subprocess.run(side.inside(["nft", CUT]), check=True, timeout=10)
    program.find("TCP takes over", 5)
    time.sleep(2)
    for side in (path.near, path.far):
        subprocess.run(side.inside(["nft", "flush ruleset"]), check=True, timeout=10)
    until(lambda: len(re.findall("reached by HTTP/3", program.err())) == 2, 20, "HTTP/3 again")
    require(reader.running(), "the stream was over before UDP was back")
    require(reader.wait(60) == 0, "the reader failed")
    whole, longest = reader.out().split()
    require(whole == stream.digest(), "the stream is not what was sent")
    require(float(longest) <= LONGEST_GAP, f"the longest gap is {float(longest):.2f} s")
    return f"the longest gap is {float(longest):.2f} s"


CHECKS = [(path_clean, 60), (path_lose_1, 90), (path_lose_3, 120), (path_cut, 90)]
