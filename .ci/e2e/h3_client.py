"""aioquic as a client of a node by HTTP/3, and datagrams that are none of QUIC's.

    python3 h3_client.py ADDRESS PORT

prints what came as JSON.
"""

import asyncio
import concurrent.futures
import json
import os
import socket
import ssl
import struct
import sys

import aioquic
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType, H3Connection, encode_frame
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated

LIMIT = 20   # seconds for all of one connection
SILENCE = 1  # seconds without an answer: there will be none

# What ends a connection by HTTP/3 (RFC 9114, section 7.2), and the error for it.
FAULTS = {
    "DATA before HEADERS": ErrorCode.H3_FRAME_UNEXPECTED,
    "SETTINGS on a request": ErrorCode.H3_FRAME_UNEXPECTED,
    "a second SETTINGS": ErrorCode.H3_FRAME_UNEXPECTED,
    "a second control stream": ErrorCode.H3_STREAM_CREATION_ERROR,
}


class Client(QuicConnectionProtocol):
    """One connection: requests by send, and answers in what waiting holds."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.http, self.waiting, self.ended = None, {}, asyncio.get_running_loop().create_future()

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated) and not self.ended.done():
            self.ended.set_result(event.error_code)
        for each in self.http.handle_event(event) if self.http else ():
            fields, body, done = self.waiting[each.stream_id]
            if isinstance(each, HeadersReceived):
                fields.update(each.headers)
            elif isinstance(each, DataReceived):
                body.append(each.data)
            if each.stream_ended and not done.done():
                done.set_result(None)

    def begin(self):
        self.http = H3Connection(self._quic)
        self.transmit()

    async def send(self, method, path, body=b""):
        """Returns the status, the fields and the body."""
        stream = self._quic.get_next_available_stream_id()
        self.waiting[stream] = fields, parts, done = {}, [], asyncio.get_running_loop().create_future()
        head = [(b":method", method), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path)]
        self.http.send_headers(stream, head, end_stream=not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        await done
        return int(fields[b":status"]), fields, b"".join(parts)

    async def offend(self, fault):
        """Makes that fault, and returns the code with which the connection ends."""
        stream = self._quic.get_next_available_stream_id()
        if fault == "DATA before HEADERS":
            self._quic.send_stream_data(stream, encode_frame(FrameType.DATA, b"abc"))
        elif fault == "SETTINGS on a request":
            self._quic.send_stream_data(stream, encode_frame(FrameType.SETTINGS, b""))
        elif fault == "a second SETTINGS":
            self._quic.send_stream_data(2, encode_frame(FrameType.SETTINGS, b""))  # the client's control stream
        else:
            stream = self._quic.get_next_available_stream_id(is_unidirectional=True)
            self._quic.send_stream_data(stream, encode_uint_var(0) + encode_frame(FrameType.SETTINGS, b""))
        self.transmit()
        return await self.ended


def configured(alpn="h3"):
    return QuicConfiguration(is_client=True, alpn_protocols=[alpn], verify_mode=ssl.CERT_NONE, server_name="localhost", idle_timeout=LIMIT)


async def requests(host, port):
    async with connect(host, port, configuration=configured(), create_protocol=Client) as client:
        client.begin()
        many = await asyncio.gather(*(client.send(b"GET", b"/%d" % i) for i in range(50)))
        # No HEAD: aioquic wants the body of which Content-Length speaks, also where RFC 9110, section 9.3.2, has none.
        for method, path, body in ((b"POST", b"/", os.urandom(100_000)), (b"POST", b"/tunnel/link", os.urandom(500)),
                                   (b"POST", b"/tunnel/batch", b"{}"), (b"OPTIONS", b"*", b"")):
            many.append(await client.send(method, path, body))
        fields = {tuple(sorted((name.decode(), value.decode()) for name, value in each.items() if name != b"date")) for _, each, _ in many}
        return {"statuses": sorted({status for status, _, _ in many}), "count": len(many), "fields": sorted(fields),
                "bodies": sorted({body.decode() for _, _, body in many})}


async def faults(host, port):
    codes = {}
    for fault, want in FAULTS.items():
        async with connect(host, port, configuration=configured(), create_protocol=Client) as client:
            client.begin()
            codes[fault] = [await client.offend(fault), int(want)]
    return codes


async def another_alpn(host, port):
    try:
        async with connect(host, port, configuration=configured("hq-interop")):
            return "connected"
    except ConnectionError:
        return "refused"


def garbage(host, port):
    """What is answered to datagrams that open no connection, in bytes: name -> [sent, came]."""
    unknown = b"\xc0" + struct.pack(">I", 0x1a2a3a4a) + b"\x08" + os.urandom(8) + b"\x00"
    initial = b"\xc3" + struct.pack(">I", 1) + b"\x08" + os.urandom(8) + b"\x08" + os.urandom(8) + b"\x00\x44\x9e"
    datagrams = {
        "noise": b"\x2a" + os.urandom(1199), "a byte": b"\0", "nothing": b"", "a short header": b"\x40" + os.urandom(60),
        "an unknown version": unknown + bytes(1200 - len(unknown)), "an unknown version, short": unknown,
        "an Initial of noise": initial + os.urandom(1200 - len(initial)), "an Initial, short": initial + os.urandom(100),
        "DNS": bytes.fromhex("123401000001000000000000076578616d706c6503636f6d0000010001"),
    }
    with concurrent.futures.ThreadPoolExecutor(len(datagrams)) as pool:
        came = pool.map(lambda datagram: answered(host, port, datagram), datagrams.values())
        return {name: [len(datagram), size] for (name, datagram), size in zip(datagrams.items(), came)}


def answered(host, port, datagram):
    """How many bytes come for a datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(SILENCE)
        sender.sendto(datagram, (host, port))
        came = 0
        try:
            while True:
                came += len(sender.recv(2048))
        except TimeoutError:
            return came


async def main(host, port):
    answers = await asyncio.wait_for(requests(host, port), LIMIT)
    print(json.dumps({
        "version": aioquic.__version__, "answers": answers, "faults": await asyncio.wait_for(faults(host, port), LIMIT),
        "alpn": await asyncio.wait_for(another_alpn(host, port), LIMIT), "garbage": garbage(host, port),
        "afterwards": (await asyncio.wait_for(requests(host, port), LIMIT))["count"]}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
