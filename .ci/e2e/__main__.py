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
import checks_dash
import checks_life
import checks_limits
import checks_link
import checks_package
import checks_page
import checks_path
import checks_route
import checks_script
import checks_setup
import checks_top
import checks_udp
from origin import Origin
from world import Tools, World, most_files


def main(arguments):
    relaymux, relayemu, *wanted = arguments
    modules = (checks_clients, checks_account, checks_browser, checks_dash, checks_life, checks_limits, checks_link,
               checks_package, checks_page, checks_path, checks_route, checks_script, checks_setup, checks_top, checks_udp)
    checks = [check for module in modules
              for check in module.CHECKS if not wanted or any(part in check[0].__name__ for part in wanted)]
    most_files()
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]  # of the machine: all traffic here is on loopback
    failed = 0
    with tempfile.TemporaryDirectory(prefix="relaymux-e2e-") as directory:
        tools = Tools(relaymux, relayemu, directory)
        origin = Origin(directory, tools.certificate)
        for check, limit in checks:
            failed += not attempt(check, limit, World(tools, origin, os.path.join(directory, check.__name__)))
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed or not checks else 0


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
        print(f"FAIL {check.__name__} ({time.monotonic() - start:.1f} s): {error}", flush=True)
        explain(world)
        return False
    signal.alarm(0)
    print(f"ok   {check.__name__} ({time.monotonic() - start:.1f} s): {figures}", flush=True)
    return True


def explain(world):
    traceback.print_exc(limit=-4, file=sys.stdout)
    for program in world.programs:
        for line in program.err().splitlines()[-12:]:
            print(f"     {program.name}: {line[:400]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
