"""Real clients against the real binary.

    python3 .ci/e2e RELAYMUX RELAYEMU [PART-OF-A-NAME...]

prints a line for each check and, at the end, "N passed, N failed"; the exit code
is 1 if any failed. Nothing is skipped: without its client a check fails. All
traffic stays on loopback.
"""

import os
import signal
import sys
import tempfile
import time
import traceback

import checks_account
import checks_browser
import checks_clients
import checks_curl
import checks_dante
import checks_dash
import checks_disk
import checks_emulated
import checks_firefox
import checks_h3
import checks_http
import checks_inject
import checks_life
import checks_limits
import checks_link
import checks_load
import checks_node
import checks_package
import checks_page
import checks_path
import checks_route
import checks_script
import checks_setup
import checks_top
import checks_udp
import checks_wrapped
from hostile import label
from origin import Origin
from world import Tools, World, most_files


MODULES = (checks_clients, checks_account, checks_browser, checks_curl, checks_dante, checks_dash, checks_disk, checks_emulated,
           checks_firefox, checks_h3, checks_http, checks_inject, checks_life, checks_limits, checks_link, checks_load, checks_node,
           checks_package, checks_page, checks_path, checks_route, checks_script, checks_setup, checks_top, checks_udp, checks_wrapped)

# What mostly waits, for relays or for limits, runs beside the others, and so do the
# judges; what measures runs alone, when those have ended. Each has the processors
# nearly to itself.
RELAYS = ("relay_", "script_", "setup_proxy", "setup_worker", "udp_relay")
WAITS = ("disk_", "dns_listener", "inject_", "link_kill", "link_loss", "link_secret", "quota_ledger", "server_first", "stop_")
JUDGES = ("judge_",)
# What runs only when asked for by name, as make soak does.
LONG = "long_"
MEASURES = ("gso_", "idle_connections", "pac_shards", "path_", "udp_many")


def main(arguments):
    relaymux, relayemu, *wanted = arguments
    checks = [check for module in MODULES for check in module.CHECKS if chosen(check[0].__name__, wanted)]
    most_files()
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]  # of the machine: all traffic here is on loopback
    *besides, measures = lanes = [[check for check in checks if check[0].__name__.startswith(names)] for names in (RELAYS, WAITS, JUDGES, MEASURES)]
    others = [check for check in checks if not any(check in lane for lane in lanes)]
    beside = []
    for lane in besides:
        beside.append(os.fork())
        if beside[-1] == 0:
            os._exit(min(run(relaymux, relayemu, lane), 99))
    failed = run(relaymux, relayemu, others)
    failed += sum(os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in beside)
    failed += run(relaymux, relayemu, measures)
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed or not checks else 0


def chosen(name, wanted):
    """Whether a check is to run: all but the long ones, or those of which a part is named."""
    if not wanted:
        return not name.startswith(LONG)
    return any(part in name for part in wanted)


def run(relaymux, relayemu, checks):
    """Runs checks one after the other and returns how many have failed."""
    if not checks:
        return 0
    with tempfile.TemporaryDirectory(prefix="relaymux-e2e-") as directory:
        tools = Tools(relaymux, relayemu, directory)
        origin = Origin(directory, tools.certificate)
        return sum(not attempt(check, limit, World(tools, origin, os.path.join(directory, check.__name__))) for check, limit in checks)


def attempt(check, limit, world):
    """Runs one check for at most limit seconds and prints how it went."""
    def late(*_):
        raise TimeoutError(f"not done within {limit} s")
    signal.signal(signal.SIGALRM, late)
    start = time.monotonic()
    signal.alarm(limit)
    try:
        with world:
            figures = check(world)
    except Exception as error:  # whatever it is, it is this check's failure
        signal.alarm(0)
        print(f"FAIL {label(check)} ({time.monotonic() - start:.1f} s): {error}\n{explained(world)}", flush=True)
        return False
    signal.alarm(0)
    print(f"ok   {label(check)} ({time.monotonic() - start:.1f} s): {figures}", flush=True)
    return True


def explained(world):
    """Where it failed, and the last lines of its programs."""
    lines = [traceback.format_exc(limit=-4)]
    for program in world.programs:
        lines += [f"     {program.name}: {line[:400]}" for line in program.err().splitlines()[-12:]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
