"""The node by HTTP/3, as another implementation of QUIC sees it."""

import json
import os
import subprocess
import sys

import clients
from clients import host_port
from world import require

AIOQUIC = "1.7.2"
SCRIPT = os.path.join(os.path.dirname(__file__), "h3_client.py")

# Those that QUIC itself answers (RFC 9000, sections 6 and 10.3), by less than came.
ANSWERED = ("an unknown version", "a short header")


def judge_h3(world):
    """aioquic: strangers' requests, breaches of HTTP/3, and datagrams that are no QUIC."""
    address = world.node(tls=True).address
    where = os.path.join(world.directory, "aioquic")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:",
                    "--target", where, f"aioquic=={AIOQUIC}"], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=100)
    host, port = host_port(address)
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": where}
    said = json.loads(clients.run([sys.executable, "-B", SCRIPT, host, str(port)], env=environ, timeout=100))
    answers = said["answers"]
    require(answers["statuses"] == [404] and answers["bodies"] == ["404 page not found\n"], f"strangers get {answers}")
    require(len(answers["fields"]) == 1, f"strangers get fields of several kinds: {answers['fields']}")
    wrong = {fault: codes for fault, codes in said["faults"].items() if codes[0] != codes[1]}
    require(not wrong, f"the connection's end has another code: {wrong}")
    require(said["alpn"] == "refused", "a protocol other than h3 is taken")
    loud = {name: sizes for name, sizes in said["garbage"].items() if sizes[1] >= (sizes[0] if name in ANSWERED else 1)}
    require(not loud, f"datagrams that open nothing are answered: {loud}")
    require(said["afterwards"] == answers["count"], "after all that it does not answer")
    return (f"aioquic {said['version']}: {answers['count']} requests in one connection, all the same 404; {len(said['faults'])} of "
            f"{len(said['faults'])} breaches end it with the code of RFC 9114; {len(said['garbage'])} kinds of garbage, of which QUIC answers {len(ANSWERED)}, by less than came")


CHECKS = [(judge_h3, 120)]
