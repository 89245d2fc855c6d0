"""A state directory that is full, read-only, or gone: the proxy goes on, says so once, and
keeps its counts again when it can. What it has written is whole at any time."""

import contextlib
import os
import re
import subprocess
import time

import clients
from faults import complaints
from hostile import hostile
from world import ADMIN, proxy_of, require, until

KILLS = 12
RETRY = 60  # seconds between tries to write (relay/account)


class Disk:
    """A file system of eight pages for the state directory, in a mount namespace."""

    def __init__(self, world):
        self.world, self.node = world, world.node()
        self.state = os.path.join(world.directory, "state")
        os.mkdir(self.state)
        self.holder = world.start(["unshare", "--mount", "sh", "-c",
                                   'mount -t tmpfs -o size=32k,mode=700 tmpfs "$0" && echo mounted && exec sleep infinity', self.state], "disk")
        self.holder.find("mounted")
        self.holder.stopped = True  # it ends with a signal
        self.inside = os.path.join(f"/proc/{self.holder.process.pid}/root", self.state.lstrip("/"))
        self.config = world.write("disk.toml", f"""
[proxy]
listen = "127.0.0.1:0"
[state]
dir = "{self.state}"
[[account]]
name = "few"
daily_quota = 200
{self.node.deployment()}account = "few"
""")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.holder.kill()

    def path(self, name):
        return os.path.join(self.inside, name)

    def mount(self, how):
        subprocess.run(["nsenter", f"--mount=/proc/{self.holder.process.pid}/ns/mnt", "mount", "-o", f"remount,{how}", self.state], check=True)

    def start(self):
        """The proxy, and what one download through it is."""
        program = self.world.start(["nsenter", f"--mount=/proc/{self.holder.process.pid}/ns/mnt", self.world.tools.relaymux, "run",
                                    "--config", self.config, *ADMIN], "run")
        proxy = proxy_of(program)
        url = f"http://127.0.0.1:{self.world.origin.http}/bytes/1000"
        return program, lambda: require(len(clients.curl(f"socks5h://{proxy}", url)) == 1000, "a download is cut")

    def fill(self):
        with contextlib.suppress(OSError), open(self.path("filler"), "wb", buffering=0) as file:
            while True:
                file.write(b"x")

    def used(self):
        """What the file says, which must be whole."""
        with open(self.path("quota"), encoding="ascii") as file:
            text = file.read()
        require(re.fullmatch(r'relaymux quota 1\n(\d+ \d+ \d+ \d+ "\w+"\n)*', text), f"the file of counts is {text!r}")
        return int(text.split()[4])


@hostile(83)
def disk_full(world):
    """Full, read-only and gone while the proxy runs, and from the start."""
    with Disk(world) as disk:
        program, load = disk.start()
        load()
        until(lambda: os.path.exists(disk.path("quota")), 5, "the count is written")
        before = disk.used()
        disk.fill()
        for _ in range(4):
            load()
            time.sleep(0.6)
        program.find("counts of exchanges are not kept for now", 5)
        load()
        said = complaints(program)
        require(len(said) == 1 and "no space left" in said[0]["error"] and disk.state in said[0]["file"], f"it complains: {said}")
        require(disk.used() == before, "the old count is gone")
        program.kill()
        program, load = disk.start()  # on the full disk
        load()
        require(disk.used() == before, "the old count is gone")
        stop(program)
        os.remove(disk.path("filler"))
        program, load = disk.start()
        load()
        until(lambda: disk.used() > before, 5, "it counts on")
        disk.mount("ro")
        for _ in range(3):
            load()
        stop(program)
        program, load = disk.start()  # read-only
        load()
        program.find("counts of exchanges are not kept for now", 5)
        said = complaints(program)
        require(len(said) == 1 and "read-only" in said[0]["error"], f"it complains: {said}")
        stop(program)
        disk.mount("rw")
        program, load = disk.start()
        load()
        for name in os.listdir(disk.inside):
            os.remove(disk.path(name))
        for _ in range(3):
            load()
        stop(program)
        return f"count {before}, then {disk.used()}; one complaint each"


def stop(program):
    program.signal()
    require(program.wait(20) == 0, "the proxy failed")


@hostile(83, 87)
def disk_kill(world):
    """kill -9 at any moment, with space and without: the file is whole, and no count is lost
    but of the last second."""
    with Disk(world) as disk:
        last = 0
        for i in range(KILLS):
            if os.path.exists(disk.path("filler")):
                os.remove(disk.path("filler"))
            program, load = disk.start()
            load()
            time.sleep(0.05 * i)
            if i % 3 == 2:
                disk.fill()
                load()
            program.kill()
            if os.path.exists(disk.path("quota")):
                used = disk.used()
                require(used >= last, f"the count has gone back from {last} to {used}")
                last = used
        require(last > 0, "nothing was ever counted")
        return f"{KILLS} kills, {last} counted"


@hostile(83)
def long_disk(world):
    """Space comes back while the proxy runs."""
    with Disk(world) as disk:
        program, load = disk.start()
        load()
        until(lambda: os.path.exists(disk.path("quota")), 5, "the count is written")
        disk.fill()
        load()
        program.find("counts of exchanges are not kept for now", 5)
        os.remove(disk.path("filler"))
        start = time.monotonic()
        program.find("counts of exchanges are kept again", RETRY + 5)
        took = time.monotonic() - start
        until(lambda: disk.used() > 3, 5, "all are counted")
        return f"kept again after {took:.0f} s"


CHECKS = [(disk_full, 60), (disk_kill, 60), (long_disk, 120)]
