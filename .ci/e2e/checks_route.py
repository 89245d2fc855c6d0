"""What [route] keeps out of the tunnel, and DNS queries through it."""

import json
import socket
import struct
import subprocess
import time

import origin
import origin_udp
from checks_browser import names_are_unknown_here
from checks_dash import admin_of, status
from clients import curl, curl_code, exactly, host_port
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


def dns_listener(world):
    """Queries by UDP and TCP go to a server at the node, through a relay of 1.5 s: fifty at
    the same time as one, and again from the cache."""
    node = world.node()
    emulator = world.emulator(node, ("d1", "d2"))
    server = origin.serve_tcp(dns_server)
    deployments = "".join(emulator.deployment(name) for name in emulator.scripts)
    program, _ = world.proxy(f'[dns]\nlisten = "127.0.0.1:0"\nserver = "127.0.0.1:{server}"\n{deployments}', node.secrets["e2e"])
    (address,) = program.find(r"DNS on (\S+),")
    took = [timed(lambda: by_udp(address, ["first.e2e.test"]))]
    before = emulator.total()
    took.append(timed(lambda: by_udp(address, [f"n{i}.e2e.test" for i in range(50)])))
    used = emulator.total() - before
    took.append(timed(lambda: by_udp(address, ["FIRST.e2e.test"])))
    took.append(timed(lambda: by_tcp(address, "n7.e2e.test")))
    require(took[0] < 4 and took[1] < 4 and max(took[2:]) < 0.5, f"took {took}")
    node.program.kill()
    failed = timed(lambda: by_udp(address, ["late.e2e.test"], code=2))
    require(failed < 5, f"the failure is told after {failed:.1f} s")
    return (f"one {took[0]:.2f} s, fifty {took[1]:.2f} s in {used} exchanges, kept {took[2]:.3f} s, by TCP {took[3]:.3f} s; "
            f"without the node SERVFAIL after {failed:.2f} s")


def timed(action):
    start = time.monotonic()
    action()
    return time.monotonic() - start


def dns_server(connection):
    """Answers queries behind their lengths (RFC 7766)."""
    with connection.makefile("rb") as file:
        while size := file.read(2):
            answer = origin_udp.dns(file.read(int.from_bytes(size, "big")))
            connection.sendall(len(answer).to_bytes(2, "big") + answer)


def query(number, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)


def check_answer(answer, number, name, code):
    asked = query(number, name)
    require(answer[:2] == asked[:2] and answer[12:len(asked)] == asked[12:], f"{name}: an answer to something else: {answer.hex()}")
    require(answer[3] & 0xf == code, f"{name}: code {answer[3] & 0xf}")
    require(code or answer.endswith(socket.inet_aton(origin_udp.ADDRESS)), f"{name}: {answer.hex()}")


def by_udp(address, names, code=0):
    """Asks for all names at the same time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
        program.settimeout(10)
        for number, name in enumerate(names):
            program.sendto(query(number, name), host_port(address))
        for _ in names:
            answer = program.recv(4096)
            number = int.from_bytes(answer[:2], "big")
            check_answer(answer, number, names[number], code)


def by_tcp(address, name):
    with socket.create_connection(host_port(address), 10) as program:
        program.sendall(len(query(9, name)).to_bytes(2, "big") + query(9, name))
        check_answer(exactly(program, int.from_bytes(exactly(program, 2), "big")), 9, name, 0)


CHECKS = [(route_rules, 60), (dns_listener, 60)]
