"""What the quota ledger says, against what the emulated relay has counted."""

import concurrent.futures
import json
import os
import subprocess

import clients
from world import ADMIN, proxy_of, require

QUOTA = 20_000
LOADS = 60  # of an object, each some exchanges of the JSON wire
AT_ONCE = 8


def quota_ledger(world):
    """The count outlives a stop as it is, and kill -9 within a hundredth of the quota."""
    node = world.node()
    emulator = world.emulator(node, ["d1"], round_trip=0.1)
    config = world.write("quota.toml", f"""
[proxy]
listen = "127.0.0.1:0"
[admin]
socket = "{world.directory}/admin.sock"
[state]
dir = "{world.directory}/state"
{emulator.deployment("d1", 'wire = "json"')}""")
    said = []
    for end in ("stop", "kill", "look"):
        program = world.start([world.tools.relaymux, "run", "--config", config, *ADMIN], "run")
        proxy = proxy_of(program)
        used, counted = status(world, config), emulator.total("d1")
        said.append(f"{used} for {counted}")
        if end == "kill":
            require(used == counted, f"after a stop the ledger has {used}, the relay {counted}")
        if end == "look":
            require(counted <= used <= counted + QUOTA // 100, f"after kill -9 the ledger has {used}, the relay {counted}")
            return "used " + ", ".join(said)
        load(world, proxy)
        used, counted = status(world, config), emulator.total("d1")
        require(abs(used - counted) <= AT_ONCE, f"the proxy has {used}, the relay {counted}")  # some are on their way
        if end == "kill":
            program.kill()
        else:
            program.signal()
            require(program.wait(20) == 0, "the proxy does not stop")


def load(world, proxy):
    url = f"http://127.0.0.1:{world.origin.http}/bytes/2000"
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for answer in pool.map(lambda _: clients.curl(f"socks5h://{proxy}", url), range(LOADS)):
            require(len(answer) == 2000, f"{len(answer)} bytes")


def status(world, config):
    """What the first account of the running proxy has used."""
    done = subprocess.run([world.tools.relaymux, "status", "--json", "--config", config], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=20, check=True, env={"HOME": world.directory, "PATH": os.environ["PATH"]})
    return json.loads(done.stdout)["accounts"][0]["used"]


CHECKS = [(quota_ledger, 90)]
