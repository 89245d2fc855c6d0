"""What is packaged, as far as it can be had without the systems that it is for."""

import os
import shutil
import socket
import subprocess

from clients import curl
from world import proxy_of, require

USER = 65532  # of config/setup/packaging/Dockerfile
SIZE = 1 << 20


def package_empty_root(world):
    """The static binary runs where there is nothing else, as in a container made from
    scratch, for a user who is nobody: the node, whose certificate only the file of
    authorities vouches for, is reached; status knows that it runs; SIGHUP reloads."""
    node = world.node(tls=True)
    root = os.path.join(world.directory, "root")
    for directory in ("etc/ssl/certs", "etc/relaymux", "state"):
        os.makedirs(os.path.join(root, directory))
    shutil.copy(world.tools.relaymux, root)
    shutil.copy(world.tools.certificate + ".crt", os.path.join(root, "etc/ssl/certs/ca-certificates.crt"))
    config = world.write("root/etc/relaymux/config.toml", f"""
[proxy]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:{free_port()}"
[link]
secret = "{node.secrets["e2e"]}"
[[deployment]]
url = "https://{node.address}"
""")
    for path in (config, os.path.join(root, "state")):
        os.chown(path, USER, USER)
    inside = [shutil.which("chroot"), f"--userspec={USER}:{USER}", root, "/relaymux"]
    environ = {"RELAYMUX_CONFIG": "/etc/relaymux/config.toml", "STATE_DIRECTORY": "/state", "HOME": "/"}
    quiet = [*inside, "status", "--quiet"]
    require(subprocess.run(quiet, env=environ, capture_output=True, check=False).returncode == 1, "status is 0 though nothing runs")
    program = world.start([*inside, "run"], "run", environ)
    text = curl(f"socks5h://{proxy_of(program)}", f"http://127.0.0.1:{world.origin.http}/bytes/{SIZE}")
    require(len(text) == SIZE, f"{len(text)} bytes came")
    status = subprocess.run(quiet, env=environ, capture_output=True, check=False)
    require(status.returncode == 0 and not status.stdout, f"status: {status}")
    program.signal(1)  # SIGHUP
    program.find("config read again")
    owner = os.stat(f"/proc/{program.process.pid}").st_uid
    require(owner == USER, f"it runs as {owner}")
    files = sorted(os.listdir(os.path.join(root, "state")))
    require("quota" in files or files == ["quota.lock"], f"the state has {files}")
    return f"user {owner}, {SIZE >> 20} MiB by TLS, state has {' '.join(files)}"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


CHECKS = [(package_empty_root, 60)]
