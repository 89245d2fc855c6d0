"""An origin at the far end of a wire, and who reads its stream at the near end.

    python3 stream.py serve FILES WEB STREAM   serves files at one port, a steady stream at the other
    python3 stream.py read PROXY STREAM        reads that, and prints its SHA-256 and the longest gap in seconds
    python3 stream.py get PROXY WEB CONNECTIONS NAME...
                                               gets files, a share of them by each connection, and prints the
                                               SHA-256 of all of them and the time in seconds
"""

import functools
import hashlib
import http.client
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
    protocol_version = "HTTP/1.1"

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


def connect(proxy, port):
    """A connection through the proxy's SOCKS5 side (RFC 1928) to that port of the far
    end. What is wrong with an answer shows in the sums."""
    host, _, number = proxy.rpartition(":")
    connection = socket.create_connection((host, int(number)))
    connection.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01\x7f\0\0\x01" + port.to_bytes(2, "big"))
    for answer in (2, 10):
        connection.recv(answer, socket.MSG_WAITALL)
    return connection


def get(proxy, port, connections, names):
    texts = [None] * len(names)
    start = time.monotonic()
    threads = [threading.Thread(target=share, args=(proxy, port, names, texts, range(i, len(names), connections)))
               for i in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - start
    print(hashlib.sha256(b"".join(texts)).hexdigest(), took)


def share(proxy, port, names, texts, mine):
    web = http.client.HTTPConnection("far")
    web.sock = connect(proxy, port)
    for i in mine:
        web.request("GET", f"/{names[i]}")
        texts[i] = web.getresponse().read()
    web.close()


def read(proxy, port):
    whole, longest, last = hashlib.sha256(), 0, None
    with connect(proxy, port) as connection:
        while text := connection.recv(1 << 16):
            now = time.monotonic()
            longest, last = max(longest, now - (last or now)), now
            whole.update(text)
    print(whole.hexdigest(), longest)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", files, web, stream]:
            serve(files, int(web), int(stream))
        case ["read", address, stream]:
            read(address, int(stream))
        case ["get", address, web, connections, *names]:
            get(address, int(web), int(connections), names)
