"""Requests byte by byte, to the proxy's HTTP side and to the node."""

import collections
import concurrent.futures
import contextlib
import re
import socket
import threading

import clients
from clients import host_port
from hostile import hostile
from http_scripts import PARTIAL, SCRIPTS
from judge import verdict
from world import require

QUIET = 3  # seconds without a word: there will be none
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

STRANGERS = (400, 404, 501, 505)  # what is no HTTP gets what net/http says


class Recorder:
    """An origin that keeps every byte, and answers each request as HTTP frames it."""

    def __init__(self):
        self.seen, self.lock = b"", threading.Lock()
        self.port = clients.origin.serve_tcp(self.record)
        self.host = f"127.0.0.1:{self.port}".encode()

    def record(self, connection):
        text = b""
        while piece := connection.recv(1 << 16):
            text += piece
            with self.lock:
                self.seen += piece
            while size := framed(text):
                text = text[size:]
                connection.sendall(ANSWER)


def framed(text):
    """How long the first request in text is; 0 while its end is not there."""
    head, end, body = text.partition(b"\r\n\r\n")
    if not end:
        return 0
    if b"\r\ntransfer-encoding: chunked" in head.lower():
        last = re.search(rb"(?:^|\r\n)0\r\n(?:.+\r\n)*\r\n", body)
        return len(head) + 4 + last.end() if last else 0
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    whole = len(head) + 4 + (int(length[1]) if length else 0)
    return whole if len(text) >= whole else 0


def say(address, text):
    """Sends text and returns what comes until the end, or until nothing more does, and
    whether that was the end."""
    with socket.create_connection(address, 10) as connection:
        connection.settimeout(QUIET)
        got = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(text)
        try:
            while piece := connection.recv(1 << 16):
                got += piece
        except TimeoutError:
            return got, False
        except ConnectionError:
            pass
        return got, True


def statuses(answer):
    return [int(each) for each in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


def through(proxy, text):
    """The statuses, and what an origin sees, of a script to the proxy."""
    recorder = Recorder()
    got, _ = say(host_port(proxy), text.replace(b"HOST", recorder.host))
    return statuses(got), recorder.seen.replace(recorder.host, b"HOST")


@hostile(33, 34, 35, 37, 38, 39)
def judge_smuggling(world):
    """The proxy's HTTP side: statuses, and what the origin sees of it."""
    _, proxy = world.embedded()
    wrong = []
    with concurrent.futures.ThreadPoolExecutor(len(SCRIPTS)) as pool:
        played = pool.map(lambda script: through(proxy, script[0]), SCRIPTS.values())
        for (name, (_, want, sees)), (got, seen) in zip(SCRIPTS.items(), played):
            right = seen == sees if sees is not PARTIAL else not framed(seen)
            if got != list(want) or not right:
                wrong.append(f"{name}: statuses {got}, not {want}; the origin sees {seen!r}, not {sees!r}")
    return f"raw HTTP/1 to the proxy: {verdict(len(SCRIPTS), wrong)}, every byte that the origin saw"


@hostile(64)
def judge_probes(world):
    """The same to the node, which forwards nothing: one answer for each connection, then
    its end, and none that would tell what it is."""
    address = host_port(world.node().address)
    texts = {name: re.sub(rb"http://HOST/?", b"/", text).replace(b"HOST", b"node.test") for name, (text, _, _) in SCRIPTS.items()}
    texts["with the path of a link"] = b"POST /tunnel/link HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    texts["garbage"], texts["TLS"], texts["SOCKS5"] = b"\x00\xff" * 50 + b"\r\n\r\n", b"\x16\x03\x01\x00\x05hello\r\n\r\n", b"\x05\x01\x00\r\n\r\n"
    wrong, kinds, pages = [], collections.Counter(), set()
    with concurrent.futures.ThreadPoolExecutor(len(texts)) as pool:
        for (name, text), (got, ended) in zip(texts.items(), pool.map(lambda text: say(address, text), texts.values())):
            codes = statuses(got)
            waits = not codes and text.endswith(b"abc\r\n")  # for the rest of its body
            if not waits and (len(codes) != 1 or codes[0] not in STRANGERS or not ended):
                wrong.append(f"{name}: {codes}, {'the end' if ended else 'no end'}: {got[:200]!r}")
            kinds.update(codes)
            pages.update([got.partition(b"\r\n\r\n")[2]] if codes == [404] else [])
    require(len(pages) == 1, f"not all who are strangers see the same page: {pages}")
    return f"raw HTTP/1 to the node: {verdict(len(texts), wrong)}, one answer each: {dict(sorted(kinds.items()))}"


CHECKS = [(judge_smuggling, 60), (judge_probes, 60)]
