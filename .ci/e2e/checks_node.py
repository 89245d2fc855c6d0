"""The node's port, as others' testers of TLS, HTTP/2 and patience see it."""

import concurrent.futures
import json
import os
import re
import subprocess
import time
import xml.etree.ElementTree as ElementTree

import clients
from hostile import hostile
from judge import WHOLE, package
from world import require, until

HERE = os.path.dirname(__file__)
TLS = ("-U", "-p", "-s", "-f") if WHOLE else ("-U",)  # testssl's vulnerabilities, protocols, categories of suites, forward secrecy
SLOW = {"headers": "-H", "body": "-B", "reader": "-X -k 3 -n 2 -w 512 -y 1024 -z 32"}
LONG = 12                       # seconds of each
HEADERS = 30                    # seconds, at most, until all with slow headers are gone; one may take 10 s
ATTACKERS = 200                 # connections of each
PATIENCE = 3                    # seconds that a good client may have to wait beside them


def judge_h2spec(world):
    """No failure of h2spec's that a plain server of the same Go does not have."""
    binary = os.path.join(world.directory, "h2spec")
    clients.run(["go", "build", f"-modfile={HERE}/h2spec.mod", "-o", binary, "github.com/summerwind/h2spec/cmd/h2spec"], timeout=110, env=os.environ)
    plain = world.start(["go", "run", os.path.join(HERE, "plain.go"), world.tools.certificate], "plain", dict(os.environ))
    ports = [clients.host_port(address)[1] for address in (world.node(tls=True).address, plain.find(r"listens (\S+)", 60)[0])]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        node, base = pool.map(lambda port: h2spec(binary, world, port), ports)
    more, races = sorted(node[1] - base[1]), []
    for case in more:  # with two that run at once some is a matter of luck, for a plain server as well
        if all(h2spec(binary, world, ports[0], case[0])[1] for _ in range(3)):
            require(False, f"the node alone fails {case}")
        races.append(case[0])
    plain.signal()
    plain.wait(10)
    return (f"h2spec 2.2.1: {node[0]} cases, the node fails {len(node[1])}, plain net/http {len(base[1])}, the node alone none"
            + f" ({', '.join(races)} only at times)" * bool(races) + "; both: " + ", ".join(case[0] for case in sorted(node[1] & base[1])))


def h2spec(binary, world, port, *sections):
    """Returns how many cases there were, and which failed: (section, what it is about)."""
    report = os.path.join(world.directory, f"h2spec-{port}.xml")
    subprocess.run([binary, "-t", "-k", "-h", "127.0.0.1", "-p", str(port), "-j", report, *sections],
                   stdin=subprocess.DEVNULL, capture_output=True, timeout=80, check=False)
    cases, failed = 0, set()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        for i, case in enumerate(suite.iter("testcase")):
            cases += 1
            if case.find("failure") is not None or case.find("error") is not None:
                failed.add((f"{case.get('package')}/{i + 1}", case.get("classname")))
    require(cases, "h2spec reports nothing")
    return cases, failed


def judge_tls(world):
    """testssl.sh and sslscan: nothing older than TLS 1.2, no weak suite, no vulnerability."""
    port = clients.host_port(world.node(tls=True).address)[1]
    with concurrent.futures.ThreadPoolExecutor(len(TLS) + 1) as pool:
        scan = pool.submit(sslscan, port)
        found = [finding for part in pool.map(lambda part: testssl(world, port, part), TLS) for finding in part]
    cannot = [finding["id"] for finding in found if finding["severity"] == "WARN" and "/openssl" in finding["finding"]]  # of this machine, not the node's
    bad = [finding for finding in found if finding["severity"] not in ("OK", "INFO") and finding["id"] not in cannot]
    require(not bad, "\n".join(f"{finding['id']} {finding['severity']}: {finding['finding']}" for finding in bad))
    vulnerable = {finding["id"] for finding in found if "cve" in finding}
    grade = [finding["finding"] for finding in found if finding["id"] == "overall_grade"]
    require(len(vulnerable) > 10, f"testssl has looked at {len(found)} things only")
    return (f"{package('testssl.sh')}: {len(found)} findings without a complaint, {len(vulnerable)} vulnerabilities not there"
            + f", {' '.join(sorted({*cannot} - {'engine_problem'}))} not to be tried with its openssl" * bool(cannot) + f", grade {''.join(grade)}" * bool(grade) + f"; {scan.result()}")


def testssl(world, port, part):
    report = os.path.join(world.directory, f"testssl{part}.json")
    argv = ["testssl", "--quiet", "--color", "0", "--warnings", "off", "-n", "none", "--ip=127.0.0.1", "--fast", part, "--jsonfile", report]
    subprocess.run([*argv, f"localhost:{port}"], stdin=subprocess.DEVNULL, capture_output=True, timeout=290, check=False)
    with open(report, encoding="utf-8") as file:
        return json.load(file)


def sslscan(port):
    root = ElementTree.fromstring(clients.run(["sslscan", "--xml=-", f"127.0.0.1:{port}"]))
    spoken = [f"{each.get('type').upper()} {each.get('version')}" for each in root.iter("protocol") if each.get("enabled") == "1"]
    suites = [each.get("cipher") for each in root.iter("cipher")]
    require(sorted(spoken) == ["TLS 1.2", "TLS 1.3"], f"sslscan: it speaks {spoken}")
    require(all("GCM" in suite or "CHACHA20" in suite for suite in suites) and len(suites) > 3, f"sslscan: it has {suites}")
    return f"{package('sslscan')}: {', '.join(spoken)}, {len(suites)} suites, all AEAD"


@hostile(32, 64)
def judge_slow(world):
    """slowhttptest's three ways at once, on the proxy's HTTP side and on the node, and a
    good client of each."""
    run, proxy = world.embedded()
    node = world.node(tls=True)
    origin = f"http://127.0.0.1:{world.origin.http}"
    attacks = {}
    for how in SLOW:
        path = {"headers": "/bytes/1", "body": "/sum", "reader": "/bytes/300000"}[how]
        attacks[f"proxy, slow {how}"] = [*SLOW[how].split(), "-d", proxy, "-u", origin + path]
        attacks[f"node, slow {how}"] = [*SLOW[how].split(), "-u", f"https://{node.address}/"]
    end = time.monotonic() + LONG
    with concurrent.futures.ThreadPoolExecutor(len(attacks) + 2) as pool:
        started = {name: pool.submit(slowhttptest, options, HEADERS if "headers" in name else LONG) for name, options in attacks.items()}
        good = [pool.submit(steadily, end, *argv) for argv in (
            ["-x", f"http://{proxy}", origin + "/bytes/1000"], ["-k", "-o", "/dev/null", "-w", "%{http_code}", f"https://{node.address}/"])]
        said = {name: attack.result() for name, attack in started.items()}
        (proxied, longest), (direct, longest_direct) = (client.result() for client in good)
    for name, (available, left, most) in said.items():
        require(available, f"{name}: slowhttptest says that the service was not available")
        require(most > ATTACKERS / 2, f"{name}: only {most} were connected at once")
        if "headers" in name:
            require(left == 0, f"{name}: {left} connections are still open after {HEADERS} s")
    require(max(longest, longest_direct) < PATIENCE, f"a good client waited for {longest:.1f} s at the proxy, {longest_direct:.1f} s at the node")
    for program in (run, node.program):
        until(lambda: program.files() < 60, 20, f"{program.name} closes what they left")  # pylint: disable=cell-var-from-loop
    return (f"{package('slowhttptest')}: {len(said)} attacks of {ATTACKERS} at once, service always available, slow headers all ended; "
            f"beside them {proxied} requests by the proxy and {direct} to the node, longest {longest:.2f} and {longest_direct:.2f} s")


def slowhttptest(options, seconds):
    """Returns whether the service was there all the time, how many connections were
    left at the end, and how many there were at most."""
    argv = ["slowhttptest", "-c", str(ATTACKERS), "-r", "100", "-i", "3", "-l", str(seconds), "-p", str(PATIENCE), *options]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds + 30, check=False)
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", done.stdout.decode())
    available, connected = re.findall(r"service available: +(\w+)", text), [int(each) for each in re.findall(r"\nconnected: +(\d+)", text)]
    require(available and connected, text[-500:])
    left = 0 if "No open connections left" in text else connected[-1]
    return set(available) == {"YES"}, left, max(connected)


def steadily(end, *options):
    """Has curl do that again and again; returns how often, and the longest wait."""
    count, longest = 0, 0.0
    while time.monotonic() < end:
        start = time.monotonic()
        got = clients.run(["curl", "-sS", "--noproxy", "", *options])
        require(len(got) == 1000 or got == b"404", f"{got!r} beside the attackers")
        count, longest = count + 1, max(longest, time.monotonic() - start)
        time.sleep(0.1)
    return count, longest


CHECKS = [(judge_h2spec, 200), (judge_tls, 300), (judge_slow, 90)]
