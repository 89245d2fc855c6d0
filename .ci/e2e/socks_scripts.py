"""What is said to a SOCKS server, byte by byte, and what comes of it."""

import contextlib
import socket
import struct

from world import HOSTS

QUIET = 5        # seconds without a word: there will be none
GREET, LOGIN, REQUEST, DATA = "greet", "login", "request", "data"
SOCKS4 = "socks4"
NAME = HOSTS[0].encode()


def v4(port, host="127.0.0.1"):
    return b"\x01" + socket.inet_aton(host) + struct.pack(">H", port)


def v6(port, host="::1"):
    return b"\x04" + socket.inet_pton(socket.AF_INET6, host) + struct.pack(">H", port)


def name(port, host):
    return b"\x03" + bytes([len(host)]) + host + struct.pack(">H", port)


def connect(address, version=5, command=1, reserved=0):
    return REQUEST, bytes((version, command, reserved)) + address


def login(user, password, version=1):
    return LOGIN, bytes((version, len(user))) + user + bytes([len(password)]) + password


def talks(port, port6, closed, *_):
    """All scripts for a server that asks for nothing: name -> steps. port and port6 echo, and
    nobody is at closed."""
    hello, data = (GREET, b"\x05\x01\x00"), (DATA, b"hello")
    table = {
        "IPv4": [hello, connect(v4(port)), data],
        "IPv6": [hello, connect(v6(port6)), data],
        "name": [hello, connect(name(port, NAME)), data],
        "name in capitals": [hello, connect(name(port, NAME.upper())), data],
        "name that is an address": [hello, connect(name(port, b"127.0.0.1")), data],
        "refused port": [hello, connect(v4(closed))],
        "unknown name": [hello, connect(name(port, b"unknown.e2e.test"))],
        "no name": [hello, connect(name(port, b""))],
        "name with a NUL": [hello, connect(name(port, b"local\0host"))],
        "name with a space": [hello, connect(name(port, b"local host"))],
        "name of 255 bytes": [hello, connect(name(port, b"a" * 255))],
        "port 0": [hello, connect(v4(0))],
        "reserved byte": [hello, connect(v4(port), reserved=7), data],
        "request of version 4": [hello, connect(v4(port), version=4)],
        "BIND": [hello, connect(v4(port), command=2)],
        "IPv4 in one write": [(DATA, b"\x05\x01\x00\x05\x01\x00" + v4(port) + b"hello")],
        "a byte at a time": [(GREET, b"\x05"), (GREET, b"\x01"), (GREET, b"\x00"), (REQUEST, b"\x05\x01"), connect(v4(port))[:1] + (b"\x00" + v4(port)[:3],),
                             (REQUEST, v4(port)[3:]), data],
        "methods 0, 1, 2": [(GREET, b"\x05\x03\x00\x01\x02"), connect(v4(port)), data],
        "methods 2, 0": [(GREET, b"\x05\x02\x02\x00"), connect(v4(port)), data],
        "255 methods": [(GREET, b"\x05\xff" + bytes(range(254, -1, -1))), connect(v4(port)), data],
        "method 0 twice": [(GREET, b"\x05\x02\x00\x00"), connect(v4(port)), data],
        "no method": [(GREET, b"\x05\x00")],
        "method 1 alone": [(GREET, b"\x05\x01\x01")],
        "method 2 alone": [(GREET, b"\x05\x01\x02")],
        "method 0x80 alone": [(GREET, b"\x05\x01\x80")],
        "version 0": [(GREET, b"\x00\x01\x00")],
        "version 6": [(GREET, b"\x06\x01\x00")],
        "half a greeting": [(GREET, b"\x05\x02\x00")],
        "half a request": [hello, (REQUEST, b"\x05\x01\x00\x01\x7f")],
        "SOCKS4": [(SOCKS4, b"\x04\x01" + struct.pack(">H", port) + b"\x7f\0\0\1me\0"), data],
        "SOCKS4 without a user": [(SOCKS4, b"\x04\x01" + struct.pack(">H", port) + b"\x7f\0\0\1\0"), data],
        "SOCKS4a": [(SOCKS4, b"\x04\x01" + struct.pack(">H", port) + b"\0\0\0\1me\0" + NAME + b"\0"), data],
        "SOCKS4 to a refused port": [(SOCKS4, b"\x04\x01" + struct.pack(">H", closed) + b"\x7f\0\0\1me\0")],
        "unknown name by SOCKS4a": [(SOCKS4, b"\x04\x01" + struct.pack(">H", port) + b"\0\0\0\1me\0unknown.e2e.test\0")],
        "SOCKS4 command 9": [(SOCKS4, b"\x04\x09" + struct.pack(">H", port) + b"\x7f\0\0\1me\0")],
    }
    for command in (0, 4, 0x7f, 0xff):
        table[f"command {command}"] = [hello, connect(v4(port), command=command)]
    for kind in (0, 2, 5, 0xff):
        table[f"address type {kind}"] = [hello, connect(bytes([kind]) + v4(port)[1:])]
    return table


def logins(port, _, __, user, password):
    """The same for a server that asks for a password."""
    ask, data = (GREET, b"\x05\x01\x02"), (DATA, b"hello")
    right, wrong = login(user, password), login(user, b"wrong")
    return {
        "right password": [ask, right, connect(v4(port)), data],
        "right password, methods 0, 2": [(GREET, b"\x05\x02\x00\x02"), right, connect(v4(port)), data],
        "right password in one write": [(DATA, b"\x05\x01\x02" + right[1] + b"\x05\x01\x00" + v4(port) + b"hello")],
        "wrong password": [ask, wrong],
        "wrong password, and on": [ask, wrong, connect(v4(port))],
        "wrong user": [ask, login(b"bob", password)],
        "no password": [ask, login(user, b"")],
        "password of 255 bytes": [ask, login(user, b"x" * 255)],
        "user of 255 bytes": [ask, login(b"x" * 255, password)],
        "login of version 5": [ask, login(user, password, version=5)],
        "no login": [ask, connect(v4(port))],
        "method 0 alone": [(GREET, b"\x05\x01\x00")],
        "method 1 alone": [(GREET, b"\x05\x01\x01")],
        "SOCKS4": [(SOCKS4, b"\x04\x01" + struct.pack(">H", port) + b"\x7f\0\0\1ann\0")],
    }


def play(server, steps):
    """Says the steps to a server, and returns what it answered, in words."""
    said = []
    with socket.create_connection(server, 10) as connection:
        connection.settimeout(QUIET)
        for i, (kind, text) in enumerate(steps):
            last = i + 1 == len(steps) or steps[i + 1][0] != kind
            with contextlib.suppress(ConnectionError):
                connection.sendall(text)
            if not last:
                continue
            got, end = hear(connection, kind)
            said.append(f"{kind}: " + words(kind, got) + end)
            if end:
                break
    return ", ".join(said)


def hear(connection, kind):
    """Reads the answer to a step; returns it, and " closed" if that was the end."""
    size = {GREET: 2, LOGIN: 2, SOCKS4: 8, REQUEST: 10, DATA: 1 << 16}[kind]
    got = b""
    try:
        while len(got) < size and not got.endswith(b"hello"):
            piece = connection.recv(size - len(got))
            if not piece:
                return got, " closed"
            got += piece
            if kind == REQUEST and len(got) > 4:
                size = {4: 22, 3: 7 + got[4]}.get(got[3], 10)
        if bad(kind, got) and not connection.recv(1):
            return got, " closed"
    except TimeoutError:
        pass
    except ConnectionError:
        return got, " closed"
    return got, ""


def bad(kind, got):
    """Whether that is a no, behind which the connection ends."""
    return {GREET: got == b"\x05\xff", LOGIN: got[1:] != b"\0", SOCKS4: got[1:2] != b"\x5a", REQUEST: got[1:2] != b"\0"}.get(kind, False)


def words(kind, got):
    if not got:
        return "nothing"
    if kind == GREET:
        return f"method {got[1]}" if got[0] == 5 else got.hex()
    if kind == LOGIN:
        return "welcome" if got == b"\x01\0" else "no" if got[0] == 1 else got.hex()
    if kind == SOCKS4:
        return f"code {got[1]}" if got[0] == 0 else got.hex()
    if kind == REQUEST:
        return f"reply {got[1]}" if got[0] == 5 else got.hex()
    return "echo" if got.endswith(b"hello") else got.hex()
