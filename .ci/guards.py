"""Takes guards of the program out, one at a time, and sees that a test fails then.

    python3 .ci/guards.py [PART-OF-A-LINE...]

.ci/guards.toml lists them. Each is replaced in a copy of its file that go test is
told of by -overlay: the tree is not touched. Before, the test passes as it is. It
is a mistake if the guard's text is not found exactly once, if what is left does not
compile, if the test passes all the same, for then it holds nothing, or if something
else than that test fails. The exit code is 1 if there was any.
"""

import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib

LIMIT = "30s"  # for a test that waits for ever without its guard


def main(wanted):
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    with open(".ci/guards.toml", "rb") as file:
        guards = tomllib.load(file)["guard"]
    guards = [guard for guard in guards if not wanted or any(part in line(guard) for part in wanted)]
    rows = {row for guard in guards for row in guard["rows"]}
    mistakes = untouched(guards)
    with tempfile.TemporaryDirectory(prefix="relaymux-guards-") as directory:
        for guard in guards:
            begin = time.monotonic()
            mistake = taken_out(guard, directory)
            mistakes += mistake is not None
            print(f"{'FAIL' if mistake else 'ok  '} {line(guard)} ({time.monotonic() - begin:.1f} s): "
                  f"{mistake or 'fails without ' + guard.get('what', shown(guard['old']))}", flush=True)
    print(f"{len(guards)} guards of {len(rows)} rows, {mistakes} mistakes")
    return 1 if mistakes or not guards else 0


def line(guard):
    return f"row {', '.join(map(str, guard['rows']))}: {guard['file']}: {guard['test']}"


def shown(text):
    """Code in one line."""
    text = " ".join(text.split())
    return text if len(text) <= 100 else text[:97] + "..."


def package(guard):
    return "./" + guard.get("package", os.path.dirname(guard["file"]))


def untouched(guards):
    """Runs the tests as they are, and returns how many did not pass."""
    tests, mistakes = collections.defaultdict(set), 0
    for guard in guards:
        tests[package(guard)].add(guard["test"])
    for where, names in sorted(tests.items()):
        said = go_test(where, "|".join(sorted(names)), "10m").stdout
        missing = names - set(re.findall(r"^--- PASS: (\w+)", said, re.MULTILINE))
        mistakes += len(missing)
        print(f"{'FAIL' if missing else 'ok  '} {where}: {len(names) - len(missing)} tests pass with their guards"
              + (f", but not {', '.join(sorted(missing))}\n{said[-2000:]}" if missing else ""), flush=True)
    return mistakes


def taken_out(guard, directory):
    """Runs the test without the guard, and returns what is wrong, None if it fails as it should."""
    with open(guard["file"], encoding="utf-8") as file:
        text = file.read()
    if text.count(guard["old"]) != 1:
        return f"found {text.count(guard['old'])} times, not once: {guard['old']}"
    mutant, overlay = os.path.join(directory, "mutant.go"), os.path.join(directory, "overlay.json")
    with open(mutant, "w", encoding="utf-8") as file:
        file.write(text.replace(guard["old"], guard["new"]))
    with open(overlay, "w", encoding="utf-8") as file:
        json.dump({"Replace": {os.path.abspath(guard["file"]): mutant}}, file)
    done = go_test(package(guard), guard["test"], LIMIT, "-overlay", overlay)
    if "[build failed]" in done.stdout or "[setup failed]" in done.stdout:
        return "what is left does not compile:\n" + done.stdout[-2000:]
    if done.returncode == 0:
        return "the test passes without it"
    panics = r"|^panic: " if guard.get("panics") else r"|^panic: test timed out"
    if not re.search(rf"^--- FAIL: {guard['test']} {panics}", done.stdout, re.MULTILINE):
        return "it fails otherwise than by its test:\n" + done.stdout[-2000:]
    return None


def go_test(where, names, limit, *flags):
    argv = ["go", "test", "-count=1", "-vet=off", "-v", "-timeout", limit, *flags, "-run", f"^({names})$", where]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
