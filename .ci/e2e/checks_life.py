"""Signals, exit codes and mistakes."""

import hashlib
import os
import signal
import subprocess
import time

from hostile import hostile
from origin import RATE
from world import require

DRAIN = 5.0  # seconds that connections get after the first signal (config/daemon/proxy.go)


@hostile(87)
def stop_drains(world):
    """SIGTERM lets a download finish."""
    program, proxy = world.embedded()
    size = 3 * RATE
    download = slow_download(proxy, world, size)
    first = download.stdout.read(1 << 20)
    program.signal()
    sent = time.monotonic()
    text = first + download.stdout.read()  # 2 s more
    require(download.wait() == 0 and hashlib.sha256(text).hexdigest() == world.origin.sha256(size),
            f"the download was cut at {len(text)} of {size} bytes")
    whole = time.monotonic() - sent
    require(whole > 1, f"the download was over {whole:.1f} s after the signal: too early to show anything")
    code = program.wait(DRAIN + 2)
    require(code == 0, f"exit code {code}")
    return f"whole {whole:.1f} s after the signal, exit 0 after {time.monotonic() - sent:.1f} s"


@hostile(87)
def stop_deadline(world):
    """A download that takes longer does not keep the program."""
    program, proxy = world.embedded()
    download = slow_download(proxy, world, 30 * RATE)
    download.stdout.read(1 << 20)
    program.signal()
    sent = time.monotonic()
    code = program.wait(DRAIN + 5)
    took = time.monotonic() - sent
    download.kill()
    download.wait()
    require(code == 0 and DRAIN - 0.5 < took, f"exit code {code} after {took:.1f} s")
    return f"exit 0 after {took:.1f} s"


@hostile(87)
def stop_at_once(world):
    """A second SIGTERM ends the program."""
    program, proxy = world.embedded()
    download = slow_download(proxy, world, 30 * RATE)
    download.stdout.read(1 << 20)
    program.signal()
    program.find("stopping")
    sent = time.monotonic()
    program.signal()
    code = program.wait(2)
    took = time.monotonic() - sent
    download.kill()
    download.wait()
    require(code == 1 and took < 1, f"exit code {code} after {took:.2f} s")
    return f"exit 1 after {took * 1000:.0f} ms"


def slow_download(proxy, world, size):
    url = f"http://127.0.0.1:{world.origin.http}/slow/{size}"
    return subprocess.Popen(["curl", "-sS", "--noproxy", "", "-x", f"socks5h://{proxy}", url], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def interrupt(world):
    """Ctrl-C at rest."""
    program, _ = world.embedded()
    program.signal(signal.SIGINT)
    code = program.wait(5)
    require(code == 0, f"exit code {code}")
    return "exit 0"


def mistakes(world):
    """relaymux check tells all ten mistakes of a config, and exits with 2."""
    name = os.path.join("testdata", "config", "bad", "run-ten_mistakes")
    with open(name + ".toml", encoding="utf-8") as file, open(name + ".want", encoding="utf-8") as wanted:
        world.write("run-ten_mistakes.toml", file.read())  # a copy for its owner alone: else that is an eleventh
        want = wanted.read()
    code, out, err = command(world, "check", "--config", "run-ten_mistakes.toml", cwd=world.directory)
    require((code, out, err) == (2, "", want), f"exit code {code}: {out}{err}")
    require(len(want.splitlines()) == 10, "the file has not ten mistakes")
    return "10 lines, exit 2"


def usage(world):
    """Exit codes, and that the text helps."""
    _, proxy = world.embedded()
    good = world.write("good.toml", '[node]\nplain = true\nlisten = "127.0.0.1:0"\nkey = "Zm9yIHRlc3RzIG9ubHkh"\n')
    cases = [  # arguments, exit code, what the text says
        (["run", "--no-such-flag"], 2, "no-such-flag"),
        (["run", "word"], 2, "word"),
        (["no-such-command"], 2, "no-such-command"),
        (["run", "--batch-max-ops", "0"], 2, "--batch-max-ops"),
        (["check", "--config", "/does/not/exist.toml"], 2, "/does/not/exist.toml"),
        (["run", "--proxy", proxy], 1, "--proxy"),
        (["check", "--config", good], 0, "ok"),
        (["version"], 0, "relaymux"),
        (["help"], 0, "check"),
    ]
    for arguments, want, text in cases:
        code, out, err = command(world, *arguments)
        require(code == want and text in out + err, f"relaymux {' '.join(arguments)}: exit code {code}: {out}{err}")
    return f"{len(cases)} of {len(cases)} exit codes"


def command(world, *arguments, cwd=None):
    """Runs a command of ours that ends by itself."""
    done = subprocess.run([world.tools.relaymux, *arguments], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True,
                          env={"PATH": os.environ["PATH"], "HOME": world.directory}, timeout=10, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


CHECKS = [(stop_drains, 30), (stop_deadline, 30), (stop_at_once, 30), (interrupt, 20), (mistakes, 20), (usage, 30)]
