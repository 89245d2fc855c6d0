"""Firefox through both sides of the proxy, and what it asks a resolver meanwhile: nothing."""

import base64

import clients
import firefox
from clients import host_port
from world import HOSTS, require

SIZE = 1_000_000  # bytes of a download that the browser itself makes a sum of

# The same over TLS: a download and its sum, and a WebSocket.
SECURE = """
const done = arguments[arguments.length - 1], host = arguments[0];
(async () => {
    const got = await (await fetch(`https://${host}/bytes/${arguments[1]}`)).arrayBuffer();
    const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', got));
    return [got.byteLength, [...sum].map(b => b.toString(16).padStart(2, '0')).join('')];
})().then(done, e => done(String(e)));"""


def judge_firefox(world):
    """A page of 60 objects on 10 names that only the node knows, HTTPS, and WebSockets with
    and without TLS; and that its resolver is asked for a name only if it is told to."""
    _, proxy = world.embedded(hosts=True)
    said, version = [], ""
    plain, secure = (f"{HOSTS[1]}:{port}" for port in (world.origin.http, world.origin.https))
    with firefox.Trap(world) as trap:
        trap.control(HOSTS[0])
        for side, preferences in (("SOCKS5", firefox.socks), ("HTTP", firefox.http)):
            with firefox.Firefox(world, trap, preferences(*host_port(proxy))) as driver:
                version = driver.version
                seconds = clients.load_page(driver, HOSTS, world.origin.http)
                picture = base64.b64decode(driver.png())
                require(picture.startswith(b"\x89PNG") and len(picture) > 20_000, f"the page is a picture of {len(picture)} bytes")
                clients.browser_websocket(driver, f"ws://{plain}/ws")
                driver.get(f"https://{secure}/page?objects=0&hosts={secure}")
                got = driver.execute_async_script(SECURE, secure, SIZE)
                require(got == [SIZE, world.origin.sha256(SIZE)], f"{side}: {SIZE} bytes over TLS are {got}")
                clients.browser_websocket(driver, f"wss://{secure}/ws")
            said.append(f"{side} page {seconds:.2f} s, 1 MB over TLS, ws and wss")
            require(not trap.asked, f"with {side} it asks a resolver for {trap.asked}")
        with firefox.Firefox(world, trap, firefox.socks(*host_port(proxy), names=False)) as driver:
            try:
                driver.get(f"http://{plain}/")
            except Exception as unknown:  # pylint: disable=broad-except # it has looked the name up itself
                require("dnsNotFound" in str(unknown), str(unknown))
            require(HOSTS[1] in trap.asked, "told to look names up itself it does not, so that the trap shows nothing")
    return f"Firefox {version}: " + "; ".join(said) + "; 0 DNS queries, as a trap shows that sees those of SOCKS with names looked up here"


CHECKS = [(judge_firefox, 200)]
