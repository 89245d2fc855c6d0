"""Requests that two readers may take for different ones, and what goes with them.

Each is what a client sends, the statuses that it gets, and every byte that the origin sees.
HOST is the origin's host:port.
"""

HEAD = b"GET http://HOST/a HTTP/1.1\r\nHost: HOST\r\n"
POST = b"POST http://HOST/a HTTP/1.1\r\nHost: HOST\r\n"
EVIL = b"GET http://HOST/evil HTTP/1.1\r\nHost: HOST\r\n\r\n"  # what one would smuggle

# What the origin sees of most.
NOTHING = b""
PARTIAL = None  # nothing, or a beginning: never a whole request
GOT = b"GET /a HTTP/1.1\r\nHost: HOST\r\n\r\n"
EMPTY, CHUNKED, POSTED = (b"POST /a HTTP/1.1\r\nHost: HOST\r\n" + rest for rest in (
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"Content-Length: 3\r\n\r\nabc"))


def got(fields):
    return GOT[:-2] + fields


SCRIPTS = {
    # Two lengths, or one that is none.
    "CL and TE": (POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX", (200,), EMPTY),
    "TE and CL": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n3\r\nabc\r\n0\r\n\r\n", (200,), CHUNKED),
    "CL and TE, smuggling": (POST + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(EVIL)) + EVIL, (200,), EMPTY),
    "two CL": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", (400,), NOTHING),
    "two CL alike": (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", (200,), POSTED),
    "CL list": (POST + b"Content-Length: 3, 3\r\n\r\nabc", (400,), NOTHING),
    "CL with a sign": (POST + b"Content-Length: +3\r\n\r\nabc", (400,), NOTHING),
    "CL negative": (POST + b"Content-Length: -3\r\n\r\nabc", (400,), NOTHING),
    "CL hexadecimal": (POST + b"Content-Length: 0x3\r\n\r\nabc", (400,), NOTHING),
    "CL empty": (POST + b"Content-Length:\r\n\r\n", (400,), NOTHING),
    "CL of 2^64 and 3": (POST + b"Content-Length: 18446744073709551619\r\n\r\nabc", (400,), NOTHING),
    "GET with a body": (HEAD + b"Content-Length: 3\r\n\r\nabc", (200,), got(b"Content-Length: 3\r\n\r\nabc")),
    "TE of another name": (POST + b"Transfer-Encoding: xchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", (501,), NOTHING),
    "TE twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", (501,), NOTHING),
    "TE chunked, identity": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n3\r\nabc\r\n0\r\n\r\n", (501,), NOTHING),
    "TE identity": (POST + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", (501,), NOTHING),
    "TE with a space before the colon": (POST + b"Transfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\nabc", (400,), NOTHING),
    "TE with a tab": (POST + b"Transfer-Encoding:\tchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", (200,), CHUNKED),
    "TE with a vertical tab": (POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", (400,), NOTHING),
    "TE in capitals": (POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", (200,), CHUNKED),
    "TE of HTTP/1.0": (
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        (200,), b"POST /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n"),
    "TE of HTTP/1.0, smuggling": (
        POST.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(EVIL), EVIL),
        (200,), b"POST /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n"),
    "chunked, and another": (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + EVIL, (200,), EMPTY),
    # Lines that are not.
    "obs-fold": (HEAD + b"X-Fold: a\r\n  b\r\n\r\n", (200,), got(b"X-Fold: a b\r\n\r\n")),
    "obs-fold of TE": (POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", (200,), CHUNKED),
    "bare CR in a value": (HEAD + b"X-A: a\rX-Evil: b\r\n\r\n", (400,), NOTHING),
    "bare LF ends a line": (HEAD + b"X-A: a\nX-B: b\r\n\r\n", (200,), got(b"X-A: a\r\nX-B: b\r\n\r\n")),
    "bare LF everywhere": ((HEAD + b"\r\n").replace(b"\r\n", b"\n"), (200,), GOT),
    "NUL in a value": (HEAD + b"X-A: a\0b\r\n\r\n", (400,), NOTHING),
    "control byte in a value": (HEAD + b"X-A: a\x01b\r\n\r\n", (400,), NOTHING),
    "NUL in a name": (HEAD + b"X\0A: a\r\n\r\n", (400,), NOTHING),
    "space in a name": (HEAD + b"X A: a\r\n\r\n", (400,), NOTHING),
    "no colon": (HEAD + b"X-A\r\n\r\n", (400,), NOTHING),
    "no name": (HEAD + b": a\r\n\r\n", (400,), NOTHING),
    "first line folded": (b"GET http://HOST/a HTTP/1.1\r\n Host: evil\r\nHost: HOST\r\n\r\n", (400,), NOTHING),
    # Chunks.
    "chunk extension": (POST + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n", (200,), CHUNKED),
    "chunk size of 17 digits": (POST + b"Transfer-Encoding: chunked\r\n\r\n00000000000000003\r\nabc\r\n0\r\n\r\n", (400,), PARTIAL),
    "chunk size over 64 bits": (POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n", (400,), PARTIAL),
    "chunk size negative": (POST + b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", (400,), PARTIAL),
    "chunk size 0x3": (POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", (400,), PARTIAL),
    "chunk line of a bare LF": (POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", (400,), PARTIAL),
    "chunk longer than its size": (POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", (400,), PARTIAL),
    "trailers that frame": (
        POST + b"Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 9\r\nHost: evil\r\n\r\n",
        (400,), NOTHING),
    "trailers unannounced": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 9\r\nX-T: 1\r\nHost: evil\r\n\r\n",
        (200,), CHUNKED),
    "trailers announced": (
        POST + b"Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
        (200,), b"POST /a HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"),
    "a body that breaks off": (POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", (), PARTIAL),
    # Fields for the next hop alone.
    "Connection names fields": (HEAD + b"Connection: close, X-Secret\r\nX-Secret: 1\r\nX-Kept: 1\r\n\r\n", (200,), got(b"X-Kept: 1\r\n\r\n")),
    "two Connections": (
        HEAD + b"Connection: X-One\r\nConnection: X-Two, keep-alive\r\nX-One: 1\r\nX-Two: 2\r\nX-Kept: 1\r\n\r\n",
        (200,), got(b"X-Kept: 1\r\n\r\n")),
    "Connection names Host": (HEAD + b"Connection: Host\r\n\r\n", (200,), GOT),
    "Connection names CL": (POST + b"Connection: Content-Length\r\nContent-Length: 3\r\n\r\nabc", (200,), POSTED),
    "Connection in other cases": (HEAD + b"cOnNeCtIoN: x-SECRET\r\nX-Secret: 1\r\n\r\n", (200,), GOT),
    "Proxy fields": (
        HEAD + b"Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic YTpi\r\nProxy-Authenticate: x\r\nKeep-Alive: 5\r\n\r\n",
        (200,), GOT),
    "TE": (HEAD + b"TE: gzip, trailers\r\nConnection: TE\r\n\r\n", (200,), got(b"Te: trailers\r\n\r\n")),
    "TE without trailers": (HEAD + b"TE: gzip\r\n\r\n", (200,), GOT),
    "Upgrade to h2c": (HEAD + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", (200,), GOT),
    "Upgrade without Connection": (HEAD + b"Upgrade: websocket\r\n\r\n", (200,), GOT),
    "fields of other proxies": (HEAD + b"X-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nVia: 1.1 other\r\n\r\n", (200,), GOT),
    # Which host, and in which form.
    "two Hosts": (HEAD + b"Host: evil\r\n\r\n", (400,), NOTHING),
    "another Host": (b"GET http://HOST/a HTTP/1.1\r\nHost: evil\r\n\r\n", (200,), GOT),
    "no Host": (b"GET http://HOST/a HTTP/1.1\r\n\r\n", (400,), NOTHING),
    "no Host, HTTP/1.0": (b"GET http://HOST/a HTTP/1.0\r\n\r\n", (200,), GOT),
    "a user in the URL": (b"GET http://u:p@HOST/a HTTP/1.1\r\nHost: HOST\r\n\r\n", (200,), got(b"Authorization: Basic dTpw\r\n\r\n")),
    "no path": (b"GET http://HOST HTTP/1.1\r\nHost: HOST\r\n\r\n", (200,), b"GET / HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    "a query alone": (b"GET http://HOST?q HTTP/1.1\r\nHost: HOST\r\n\r\n", (200,), b"GET /?q HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    "dots in the path": (
        b"GET http://HOST/a/../b%2e%2e//c?x=%0d%0aEvil:1;y HTTP/1.1\r\nHost: HOST\r\n\r\n",
        (200,), b"GET /a/../b%2e%2e//c?x=%0d%0aEvil:1;y HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    "a space in the path": (b"GET http://HOST/a b HTTP/1.1\r\nHost: HOST\r\n\r\n", (400,), NOTHING),
    "origin form": (b"GET /a HTTP/1.1\r\nHost: HOST\r\n\r\n", (400,), NOTHING),
    "two slashes": (b"GET //HOST/a HTTP/1.1\r\nHost: HOST\r\n\r\n", (400,), NOTHING),
    "another scheme": (b"GET ftp://HOST/a HTTP/1.1\r\nHost: HOST\r\n\r\n", (501,), NOTHING),
    "a method in small letters": (b"get http://HOST/a HTTP/1.1\r\nHost: HOST\r\n\r\n", (200,), b"get /a HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    "TRACE": (b"TRACE http://HOST/a HTTP/1.1\r\nHost: HOST\r\n\r\n", (405,), NOTHING),
    "OPTIONS *": (b"OPTIONS http://HOST HTTP/1.1\r\nHost: HOST\r\n\r\n", (200,), b"OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    "HTTP/1.2": (b"GET http://HOST/a HTTP/1.2\r\nHost: HOST\r\n\r\n", (200,), GOT),
    "HTTP/2.0": (b"GET http://HOST/a HTTP/2.0\r\nHost: HOST\r\n\r\n", (505,), NOTHING),
    "HTTP/0.9": (b"GET http://HOST/a\r\n\r\n", (400,), NOTHING),
    "preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (505,), NOTHING),
    "two in one write": (HEAD + b"\r\n" + EVIL, (200, 200), got(b"\r\nGET /evil HTTP/1.1\r\nHost: HOST\r\n\r\n")),
    "CONNECT with a length": (
        b"CONNECT HOST HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\n\r\nGET /raw HTTP/1.1\r\nHost: HOST\r\n\r\n",
        (200, 200), b"GET /raw HTTP/1.1\r\nHost: HOST\r\n\r\n"),
}
