"""What [route] keeps out of the tunnel."""

import json
import subprocess

import origin_udp
from checks_browser import names_are_unknown_here
from checks_dash import admin_of, status
from clients import curl, curl_code
from clients_udp import Association
from world import HOSTS, require


def route_rules(world):
    """Direct goes on without the node, block is refused, a name that resolves to this
    machine is no way in, and the rest is tunnelled."""
    names_are_unknown_here()
    node, port, echo = world.node(), world.origin.http, origin_udp.serve_udp(origin_udp.echo)
    rules = f'[route]\ndirect = ["127.0.0.1:{port}", "127.0.0.1:{echo}", "localhost"]\nblock = ["{HOSTS[3]}"]\n'
    program, proxy = world.proxy(rules + node.deployment(), node.secrets["e2e"])
    for side in ("socks5h", "http"):
        for host in (HOSTS[0], "127.0.0.1"):
            require(len(curl(f"{side}://{proxy}", f"http://{host}:{port}/bytes/1000")) == 1000, f"{host} by {side}")
    require(curl_code(f"socks5h://{proxy}", f"http://{HOSTS[3]}:{port}/bytes/1")[0] == 97, "SOCKS lets a blocked name through")
    require(curl_code(f"http://{proxy}", f"http://{HOSTS[3]}:{port}/bytes/1")[1] == 403, "HTTP lets a blocked name through")
    require(curl_code(f"socks5h://{proxy}", f"http://localhost:{world.origin.speak_first}/")[0] == 97, "a direct name leads to this machine")
    page = subprocess.run(["curl", "-s", "--noproxy", "", "-x", f"http://{proxy}", f"http://{HOSTS[3]}:{port}/"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
    require("route.block" in page and HOSTS[3] in page, f"the page does not name the rule: {page}")
    totals = json.loads(status(world, "--admin", admin_of(program), "--json").stdout)["totals"]
    require(totals["flows_blocked"] == 4 and totals["flows_direct"] == 2 and totals["flows"] == 2, f"counted: {totals}")
    node.program.kill()
    require(len(curl(f"socks5h://{proxy}", f"http://127.0.0.1:{port}/bytes/1000")) == 1000, "direct needs the node")
    with Association(proxy) as association:
        association.send(("127.0.0.1", echo), b"datagram")
        require(association.receive() == (b"datagram", ("127.0.0.1", echo)), "a direct datagram comes back otherwise")
    return "direct without a node, blocked with the rule, the rest tunnelled"


CHECKS = [(route_rules, 60)]
