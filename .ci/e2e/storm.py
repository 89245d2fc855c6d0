"""Opens connections through a proxy at a steady rate, whatever becomes of them.

    python3 storm.py PROXY PORT RATE SECONDS

Each has its SOCKS5 handshake and one byte in one write, and is to get that byte back from
the echo server at PORT; then it is reset. Prints how many were begun, got their byte, were
refused by a reply, were closed or not taken in, were never answered, and the median and
99th percentile of seconds to the byte.
"""

import collections
import errno
import selectors
import socket
import struct
import sys
import time

LINGER = struct.pack("ii", 1, 0)  # close sends RST: no port stays in TIME_WAIT
PATIENCE = 60                     # seconds for the last answers
WANT = 2 + 10 + 1                 # bytes: method, reply, echo


class Storm:
    def __init__(self, proxy, port):
        host, _, number = proxy.rpartition(":")
        self.proxy = (host, int(number))
        self.hello = b"\x05\x01\x00" + b"\x05\x01\x00\x01\x7f\0\0\x01" + port.to_bytes(2, "big") + b"x"
        self.ready, self.open = selectors.DefaultSelector(), {}
        self.ends, self.times = collections.Counter(), []

    def run(self, rate, seconds):
        began, count = time.monotonic(), 0
        while (now := time.monotonic() - began) < seconds or self.open and now < seconds + PATIENCE:
            due = int(min(now, seconds) * rate)
            for _ in range(min(due - count, 200)):
                self.begin()
                count += 1
            for key, _ in self.ready.select(0.001 if now < seconds else 0.1):
                self.step(key.fileobj)
        for each in list(self.open):
            self.end(each, "silent")
        self.times.sort()
        p50, p99 = (self.times[int(len(self.times) * part)] if self.times else 0 for part in (0.5, 0.99))
        print(count, *(self.ends[name] for name in ("served", "refused", "closed", "silent")), f"{p50:.4f} {p99:.4f}")

    def begin(self):
        each = socket.socket()
        each.setblocking(False)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        code = each.connect_ex(self.proxy)
        self.open[each] = [time.monotonic(), b"", False]
        if code not in (0, errno.EINPROGRESS):
            self.end(each, "closed", registered=False)
            return
        self.ready.register(each, selectors.EVENT_WRITE)

    def step(self, each):
        state = self.open[each]
        try:
            if not state[2]:
                each.send(self.hello)
                state[2] = True
                self.ready.modify(each, selectors.EVENT_READ)
                return
            piece = each.recv(WANT)
        except OSError:
            piece = b""
        state[1] += piece
        if len(state[1]) >= 4 and state[1][3] != 0:
            self.end(each, "refused")
        elif len(state[1]) == WANT:
            self.times.append(time.monotonic() - state[0])
            self.end(each, "served")
        elif not piece:
            self.end(each, "closed")

    def end(self, each, how, registered=True):
        self.ends[how] += 1
        if registered:
            self.ready.unregister(each)
        del self.open[each]
        each.close()


if __name__ == "__main__":
    address, number, rate, seconds = sys.argv[1:]
    Storm(address, int(number)).run(int(rate), int(seconds))
