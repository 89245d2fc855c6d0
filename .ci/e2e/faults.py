"""Faults that the kernel is made to answer with (strace -e inject), and what a process
has used."""

import contextlib
import os
import re
import signal
import subprocess
import time

from world import require, until

TICKS = os.sysconf("SC_CLK_TCK")


class Injection:
    """Lets system calls of a running program fail, while it is entered: calls as strace
    names them, error a name of errno(3) or, as retval=N, what is returned; when says which
    of the calls, per thread (strace(1)); path limits it to calls about that file."""

    def __init__(self, world, program, calls, error, when="1+", path=None):
        self.program = program
        self.trace = os.path.join(world.directory, f"strace-{time.monotonic_ns()}")
        fault = error if "=" in error else f"error={error}"
        self.argv = ["strace", "-f", "-qq", "-o", self.trace, *(["-P", path] if path else []), "-e", f"trace={calls}",
                     "-e", "signal=none", "-e", f"inject={calls}:{fault}:when={when}", "-p", str(program.process.pid)]
        self.hits = 0

    def __enter__(self):
        self.strace = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        until(self.attached, 10, "strace is attached")
        return self

    def attached(self):
        require(self.strace.poll() is None, f"strace ended: {self.strace.stderr}")
        with contextlib.suppress(FileNotFoundError):
            return all(self.tracer(thread) == self.strace.pid for thread in os.listdir(f"/proc/{self.program.process.pid}/task"))
        return False

    def tracer(self, thread):
        with open(f"/proc/{self.program.process.pid}/task/{thread}/status", encoding="ascii") as file:
            return int(re.search(r"TracerPid:\s+(\d+)", file.read())[1])

    def __exit__(self, *_):
        self.strace.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.strace.wait(20)
        self.strace.kill()
        self.strace.wait()
        self.strace.stderr.close()
        self.hits = self.count()

    def count(self):
        """How many calls have failed by it so far."""
        with open(self.trace, encoding="utf-8", errors="replace") as file:
            return sum("(INJECTED)" in line for line in file)


def processor(program):
    """Seconds of CPU that it has used (utime and stime of proc_pid_stat(5))."""
    with open(f"/proc/{program.process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def complaints(program, since=0):
    """The records of warnings and errors, but the first so many."""
    return [record for record in program.log() if record["level"] in ("WARN", "ERROR")][since:]
