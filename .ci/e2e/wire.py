"""A long, lossy wire between two network namespaces.

    python3 wire.py NEAR-PID FAR-PID DELAY LOSE

makes a device in the network namespace of either process, 10.9.0.1 and 10.9.0.2, and
carries packets between them: each takes DELAY seconds, and one in LOSE is lost (0:
none). Every packet is one of its own here, as on a real wire: no train leaves the
system whole. It prints "wire ready", and ends with the processes.
"""

import collections
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA  # linux/if_tun.h
TUN, NO_HEAD = 0x0001, 0x1000
LONGEST_QUEUE = 2000    # packets each way: about 60 ms of 400 Mbit/s
MTU = 1500


def device(name, address, pid):
    """Makes a device and gives it to the namespace of pid. What the system sends by
    it is read from what is returned, and what is written there arrives."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), TUN | NO_HEAD))
    subprocess.run(["ip", "link", "set", name, "netns", str(pid)], check=True)
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip"]
    subprocess.run([*inside, "addr", "add", f"{address}/24", "dev", name], check=True)
    subprocess.run([*inside, "link", "set", name, "up", "mtu", str(MTU), "txqueuelen", "1000"], check=True)
    return fd


def carry(near, far, delay, lose):
    """Carries packets for as long as both devices are there."""
    chance = random.Random(1)
    ways = {near: (far, collections.deque()), far: (near, collections.deque())}
    poll = select.poll()
    for fd in ways:
        poll.register(fd, select.POLLIN)
    while True:
        due = min((queue[0][0] for _, queue in ways.values() if queue), default=None)
        wait = None if due is None else max(0, due - time.monotonic()) * 1000
        for fd, _ in poll.poll(wait):
            take(fd, ways[fd][1], delay, lose, chance)
        now = time.monotonic()
        for to, queue in ways.values():
            while queue and queue[0][0] <= now:
                os.write(to, queue.popleft()[1])


def take(fd, queue, delay, lose, chance):
    """Takes in what there is."""
    due = time.monotonic() + delay
    for _ in range(64):
        try:
            packet = os.read(fd, MTU)
        except BlockingIOError:
            return
        if len(queue) < LONGEST_QUEUE and not (lose and chance.random() * lose < 1):
            queue.append((due, packet))


def main(near, far, delay, lose):
    fds = device("near0", "10.9.0.1", near), device("far0", "10.9.0.2", far)
    print("wire ready", flush=True)
    try:
        carry(*fds, float(delay), float(lose))
    except OSError:  # a namespace has ended
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
