"""As much of WebSocket (RFC 6455) as an echo needs, for both ends."""

import base64
import hashlib
import os
import struct

TEXT, BINARY, CLOSE = 1, 2, 8


def accept(key):
    """The server's answer to Sec-WebSocket-Key (section 4.2.2)."""
    magic = key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1(magic.encode()).digest()).decode()


def read(file):
    """Returns the opcode and the payload of the next frame (section 5.2)."""
    first, second = exactly(file, 2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack(">H", exactly(file, 2))
    elif size == 127:
        (size,) = struct.unpack(">Q", exactly(file, 8))
    key = exactly(file, 4) if second & 0x80 else None
    payload = exactly(file, size)
    return first & 0x0F, xor(payload, key) if key else payload


def write(file, kind, payload, mask):
    """Writes one whole frame. Clients mask, servers do not (section 5.1)."""
    flag = 0x80 if mask else 0
    if len(payload) < 126:
        head = struct.pack(">BB", 0x80 | kind, flag | len(payload))
    elif len(payload) < 1 << 16:
        head = struct.pack(">BBH", 0x80 | kind, flag | 126, len(payload))
    else:
        head = struct.pack(">BBQ", 0x80 | kind, flag | 127, len(payload))
    if mask:
        key = os.urandom(4)
        head, payload = head + key, xor(payload, key)
    file.write(head + payload)
    file.flush()


def xor(payload, key):
    pad = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(payload), "big")


def exactly(file, size):
    data = file.read(size)
    if len(data) < size:
        raise EOFError("the peer is gone in the middle of a frame")
    return data
