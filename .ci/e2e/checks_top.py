"""relaymux top on a terminal of its own."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import clients
from checks_dash import admin_of
from world import require, until


class Terminal:
    """A program on a pseudo-terminal of that size, and all that it has written to it."""

    def __init__(self, argv, environ, columns=100, rows=30):
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        self.modes = termios.tcgetattr(slave)
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=environ, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.slave, self.raw = slave, b""

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        """All of it that is text, until now."""
        while select.select([self.master], [], [], 0.05)[0]:
            self.raw += os.read(self.master, 1 << 16)
        return re.sub(rb"\x1b(\[[0-9;?<>=$ ]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[@-Z\\-_=>])", b"", self.raw).decode(errors="replace")

    def type(self, keys):
        os.write(self.master, keys.encode())

    def end(self, seconds=10):
        """Waits for the end and returns the exit code; the output is read meanwhile."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
        self.read()  # what it has written last
        return self.process.poll()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def top(world, *flags, **environ):
    environ = {"HOME": world.directory, "TERM": "xterm-256color", **environ}
    return Terminal([world.tools.relaymux, "top", *flags], environ)


def top_draws(world):
    """It draws a flow, sorts, follows the terminal's size, and leaves the terminal as it was."""
    program, proxy = world.embedded()
    flow = f"127.0.0.1:{world.origin.speak_first}"
    with clients.socks5(proxy, "127.0.0.1", world.origin.speak_first), top(world, "--admin", admin_of(program)) as terminal:
        until(lambda: flow in terminal.read(), 20, "top draws the flow")
        for want in ("relaymux", "DEPLOYMENT", "embedded", "QUOTA", "1 flows by down/s", "q quit"):
            require(want in terminal.read(), f"top does not draw {want!r}: {terminal.read()[-2000:]}")
        require(b"\x1b[?1049h" in terminal.raw, "it draws over what was there")
        require(re.search(rb"\x1b\[[0-9;]*3[0-7]m", terminal.raw), "nothing has a colour")
        terminal.type("h")
        terminal.read()
        terminal.raw = b""  # what follows is only what differs, until all is drawn anew
        terminal.resize(70, 24)
        os.kill(terminal.process.pid, signal.SIGWINCH)
        until(lambda: "flows by host" in terminal.read(), 10, "top sorts by host, and draws in another size")
        terminal.type("q")
        require(terminal.end() == 0, f"after q the exit code is {terminal.process.poll()}")
        require(b"\x1b[?1049l" in terminal.raw, "what was there before is not shown again")
        require(termios.tcgetattr(terminal.slave) == terminal.modes, "the terminal has other modes than before")
    return "drawn, sorted, resized, ended"


def top_without_colours(world):
    """NO_COLOR is heeded; SIGTERM and Ctrl-C end it with the terminal as it was."""
    program, _ = world.embedded()
    for how in (lambda t: t.process.send_signal(signal.SIGTERM), lambda t: t.type("\x03")):
        with top(world, "--admin", admin_of(program), NO_COLOR="1") as terminal:
            until(lambda: "embedded" in terminal.read(), 20, "top draws")
            require(not re.search(rb"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;)[0-9;]*m", terminal.raw), "there are colours")
            how(terminal)
            require(terminal.end() == 0, f"the exit code is {terminal.process.poll()}")
            require(termios.tcgetattr(terminal.slave) == terminal.modes, "the terminal has other modes than before")
    return "no colours"


def top_nowhere(world):
    """Without a terminal it says what to do instead, without a proxy that none runs."""
    done = subprocess.run([world.tools.relaymux, "top"], env={"HOME": world.directory}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=20, check=False)
    require(done.returncode == 2 and "status --watch" in done.stderr, f"without a terminal: {done}")
    with top(world, "--admin", "127.0.0.1:1") as terminal:
        require(terminal.end() == 1 and "no relaymux is running" in terminal.read(), f"with nobody there: {terminal.read()}")
    program, _ = world.embedded()
    with top(world, "--admin", admin_of(program)) as terminal:
        until(lambda: "embedded" in terminal.read(), 20, "top draws")
        program.signal()
        program.wait(20)
        until(lambda: "no relaymux is running" in terminal.read(), 10, "top says that the proxy is gone")
        terminal.type("q")
        require(terminal.end() == 0, "it does not quit without a proxy")
    return "told"


CHECKS = [(top_draws, 60), (top_without_colours, 60), (top_nowhere, 60)]
