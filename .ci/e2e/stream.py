"""An origin at the far end of a wire, and who reads its stream at the near end.

    python3 stream.py serve FILES WEB STREAM   serves files at one port, a steady stream at the other
    python3 stream.py read PROXY STREAM        reads that, and prints its SHA-256 and the longest gap in seconds
"""

import functools
import hashlib
import http.server
import random
import socket
import sys
import threading
import time

PIECES, SIZE, PERIOD = 4000, 40_000, 0.005  # 8 MB/s for 20 s


def pieces():
    """The same each time."""
    noise = random.Random(1)
    return (noise.randbytes(SIZE) for _ in range(PIECES))


def digest():
    """SHA-256, in hex, of all of it."""
    whole = hashlib.sha256()
    for piece in pieces():
        whole.update(piece)
    return whole.hexdigest()


class Web(http.server.ThreadingHTTPServer):
    request_queue_size = 128


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def serve(files, web, port):
    server = Web(("127.0.0.1", web), functools.partial(Files, directory=files))
    threading.Thread(target=server.serve_forever).start()
    with socket.create_server(("127.0.0.1", port)) as listener:
        print("origin ready", flush=True)
        while True:
            threading.Thread(target=send, args=(listener.accept()[0],)).start()


def send(connection):
    with connection:
        due = time.monotonic()
        for piece in pieces():
            due += PERIOD
            time.sleep(max(0, due - time.monotonic()))
            connection.sendall(piece)


def read(proxy, port):
    host, _, number = proxy.rpartition(":")
    whole, longest, last = hashlib.sha256(), 0, None
    with socket.create_connection((host, int(number))) as connection:
        connection.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01\x7f\0\0\x01" + port.to_bytes(2, "big"))
        for answer in (2, 10):  # RFC 1928; what is wrong with it shows in the sum
            connection.recv(answer, socket.MSG_WAITALL)
        while text := connection.recv(1 << 16):
            now = time.monotonic()
            longest, last = max(longest, now - (last or now)), now
            whole.update(text)
    print(whole.hexdigest(), longest)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    read(sys.argv[2], int(sys.argv[3]))
