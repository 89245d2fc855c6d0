"""A site in a network of its own: python3 page_server.py PEM OBJECTS serves a page of so many
objects at ports 80 and 443 of loopback, which has counted them when it is there."""

import signal
import ssl
import sys
import threading

from origin import IMAGE_SIDE, Handler, Server

COUNT = f"document.title = 'whole: ' + [...document.images].filter(i => i.naturalWidth === {IMAGE_SIDE}).length"


class Site(Handler):
    def do_GET(self):
        if self.path != "/":
            return super().do_GET()
        images = "".join(f'<img src="/img/{i}.png">' for i in range(int(sys.argv[2])))
        return self.send_whole("text/html", f'<!DOCTYPE html><title>loading</title><body onload="{COUNT}">{images}'.encode())


def serve(port):
    server = Server(("127.0.0.1", port), Site)
    if port == 443:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1])
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(80)
    serve(443)
    print("site serves", flush=True)
    threading.Event().wait()
