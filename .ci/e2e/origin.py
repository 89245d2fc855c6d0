"""The servers that clients are sent to: HTTP, HTTPS, WebSocket, git, raw TCP.

All listen on loopback, on ports of their own choice, in threads of this process.
"""

import hashlib
import http.server
import os
import random
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse
import zlib

import websocket_frames as frames

BIGGEST = 200 << 20  # bytes of the largest download
OBJECTS = 60         # on a page
RATE = 2 << 20       # bytes per second of /slow/N
IMAGE_SIDE = 64      # pixels of an image
BANNER = b"220 origin.test ready\r\n"


class Origin:
    """All servers. Files that they serve lie below directory."""

    def __init__(self, directory, certificate):
        self.noise = os.path.join(directory, "noise")
        with open(self.noise, "wb") as file:
            for _ in range(BIGGEST >> 20):
                file.write(os.urandom(1 << 20))
        self.repositories = os.path.join(directory, "repositories")
        self.http = self._serve_http(None)
        self.https = self._serve_http(certificate)
        self.echo, self.echo6 = serve_tcp(echo), serve_tcp(echo, "::1")
        self.at_eof = serve_tcp(answer_at_eof)
        self.speak_first = serve_tcp(speak_first)

    def _serve_http(self, certificate):
        handler = type("Handler", (Handler,), {"origin": self})
        server = Server(("127.0.0.1", 0), handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[1]

    def sha256(self, size):
        """SHA-256, in hex, of what /bytes/{size} answers."""
        digest = hashlib.sha256()
        with open(self.noise, "rb") as file:
            while size > 0:
                piece = file.read(min(size, 1 << 20))
                digest.update(piece)
                size -= len(piece)
        return digest.hexdigest()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # browsers and the tests connect in bursts

    def handle_error(self, request, client_address):
        """A client that leaves early is part of the tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    """GET /bytes/N /slow/N /page /img/I.png /ws /repo.git/..., POST /sum"""

    protocol_version = "HTTP/1.1"
    origin = None  # set by a subclass

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        head, _, rest = url.path[1:].partition("/")
        if head == "bytes":
            self.send_noise(int(rest))
        elif head == "slow":
            self.send_noise(int(rest), piece=RATE // 20)
        elif head == "page":
            query = urllib.parse.parse_qs(url.query)
            self.send_whole("text/html", page(query["hosts"][0].split(","), int(query["objects"][0])))
        elif head == "img":
            self.send_whole("image/png", image(int(rest.partition(".")[0])))
        elif head == "ws":
            self.echo_frames()
        elif head.endswith(".git"):
            self.git(url)
        else:
            self.send_error(404)

    def do_POST(self):
        if self.path == "/sum":
            size, digest = self.sum_body()
            self.send_whole("text/plain", f"{size} {digest}".encode())
        else:
            self.git(urllib.parse.urlsplit(self.path))

    def send_whole(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def send_noise(self, size, piece=None):
        """Sends size bytes, at RATE if they are in pieces of a 20th of it."""
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        with open(self.origin.noise, "rb") as file:
            if piece is None:
                self.connection.sendfile(file, count=size)
                return
            for start in range(0, size, piece):
                self.connection.sendall(file.read(min(piece, size - start)))
                time.sleep(0.05)

    def sum_body(self):
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        size = left
        while left > 0:
            piece = self.rfile.read(min(left, 1 << 20))
            if not piece:
                raise ConnectionError("the body is cut short")
            digest.update(piece)
            left -= len(piece)
        return size, digest.hexdigest()

    def echo_frames(self):
        """A WebSocket server (RFC 6455) that echoes messages."""
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", frames.accept(self.headers["Sec-WebSocket-Key"]))
        self.end_headers()
        self.close_connection = True
        while True:
            kind, payload = frames.read(self.rfile)
            frames.write(self.wfile, kind, payload, mask=False)
            if kind == frames.CLOSE:
                return

    def git(self, url):
        """git http-backend (git-http-backend(1)) over CGI (RFC 3875)."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        environ = {
            "PATH": os.environ["PATH"], "HOME": self.origin.repositories,
            "GIT_PROJECT_ROOT": self.origin.repositories, "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command, "PATH_INFO": url.path, "QUERY_STRING": url.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environ, stdout=subprocess.PIPE, check=True)
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in {**fields, "Content-Length": len(answer)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def page(hosts, objects):
    """HTML with so many images, spread over hosts (host:port each)."""
    images = "".join(f'<img src="http://{hosts[i % len(hosts)]}/img/{i}.png">\n' for i in range(objects))
    return f"<!DOCTYPE html><title>page</title>\n{images}".encode()


def image(number):
    """A PNG (RFC 2083) of noise, which does not compress: about 12 KB."""
    noise = random.Random(number)
    rows = b"".join(b"\0" + noise.randbytes(3 * IMAGE_SIDE) for _ in range(IMAGE_SIDE))
    header = struct.pack(">IIBBBBB", IMAGE_SIDE, IMAGE_SIDE, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def serve_tcp(handle, host="127.0.0.1"):
    """Runs handle(connection) for every connection, and returns the port."""

    class TCPHandler(socketserver.BaseRequestHandler):
        def handle(self):
            handle(self.request)

    class TCPServer(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 1024
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, request, client_address):
            """A client that leaves early is part of the tests."""

    server = TCPServer((host, 0), TCPHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def echo(connection):
    while piece := connection.recv(1 << 16):
        connection.sendall(piece)


def answer_at_eof(connection):
    """Reads until the client has closed its half, then answers with a sum."""
    digest, size = hashlib.sha256(), 0
    while piece := connection.recv(1 << 16):
        digest.update(piece)
        size += len(piece)
    connection.sendall(f"{size} {digest.hexdigest()}\n".encode())


def speak_first(connection):
    connection.sendall(BANNER)
    echo(connection)
