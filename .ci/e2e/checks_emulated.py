"""The real program for processors of 32 bits: 386, which this one runs itself if it is an
x86, and routers' mipsle without floating point, by qemu. Both are long, for they are built
here; make emulated runs them."""

import concurrent.futures
import hashlib
import os
import subprocess

import clients
from checks_link import CHUNK
from checks_load import get, put, way
from hostile import hostile
from world import require

OBJECTS, AT_ONCE, OBJECT = 60, 12, 20_000  # a page


@hostile(88)
def long_emulated_386(world):
    """A page, and 10 MB each way, by the link and by the JSON wire."""
    return carries(world, "386", "")


@hostile(88)
def long_emulated_mipsle(world):
    """The same."""
    return carries(world, "mipsle", "qemu-mipsel-static")


def carries(world, processor, emulator):
    built = os.path.join(world.directory, "relaymux-" + processor)
    subprocess.run(["go", "build", "-trimpath", "-o", built, "."], check=True, stdin=subprocess.DEVNULL,
                   env={**os.environ, "CGO_ENABLED": "0", "GOOS": "linux", "GOARCH": processor, "GOMIPS": "softfloat"})
    run = world.write("run-" + processor, f'#!/bin/sh\nexec {emulator} {built} "$@"\n')
    os.chmod(run, 0o700)
    world.tools.relaymux, usual = run, world.tools.relaymux
    try:
        said = [f"{wire}: {load(world, wire)}" for wire in ("link", "json")]
    finally:
        world.tools.relaymux = usual
    return "; ".join(said)


def load(world, wire):
    """Carries it all and returns what was carried."""
    _, _, proxy = way(world, wire)
    require(get(world, proxy, CHUNK) == world.origin.sha256(CHUNK), "a download is not whole")
    text = os.urandom(CHUNK)
    require(put(world, proxy, text) == f"{len(text)} {hashlib.sha256(text).hexdigest()}", "an upload is not whole")
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        page = list(pool.map(lambda i: get(world, proxy, OBJECT + i), range(OBJECTS)))
    require(page == [world.origin.sha256(OBJECT + i) for i in range(OBJECTS)], "the page is not whole")
    clients.curl(f"http://{proxy}", f"http://127.0.0.1:{world.origin.http}/bytes/1000")
    return f"{CHUNK} bytes each way and {OBJECTS} objects"


CHECKS = [(long_emulated_386, 300), (long_emulated_mipsle, 600)]
