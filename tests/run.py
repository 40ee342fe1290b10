"""Runs every check of Slipway, one step after the other, and says at the end how long each took and what it counted.

    python tests/run.py [--all]

Without --all: what each change has to pass. With it also what takes long: the fault matrix and the killed processes on
the emulators, the role's policy without each of its actions, the packages, and rustdoc. docs/testing.md says what proves what.
"""

import argparse
import os
import pathlib
import re
import resource
import subprocess
import sys
import time

from emulators import end_on_signals

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
EMULATED = [sys.executable, str(HERE / "emulators.py")]
CORES = os.cpu_count() or 2
# Most tests wait most of the time.
THREADS = str(2 * CORES)
# These keep the whole machine busy, and would make others meet their time-outs.
BUSY = ("replay::", "replicas::", "simulation::")
# Long tests that have a command of their own: make soak, make simulate.
BY_HAND = ("process::soak", "simulation::as_many_worlds_as_asked")
# Clippy as the compiler of this crate: what is linted is what the tests run, and the dependencies are built once.
BUILD = {"RUSTC_WORKSPACE_WRAPPER": str(ROOT / ".ci" / "lint-and-build")}

# So many failed tests may be run once more, alone: those with real processes and real time meet busy machines. A mistake
# in the code fails again; which tests needed it is told at the end.
MOST_AGAIN = 3

FAILED = re.compile(r"^test (\S+) \.\.\. FAILED$", re.MULTILINE)
RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", re.MULTILINE)
BINARY = re.compile(r"^\s*Executable (?:unittests )?(\S+) \((\S+)\)$", re.MULTILINE)


class Failed(Exception):
    """A step did not pass, by these tests."""

    def __init__(self, problem, tests):
        super().__init__(problem)
        self.tests = tests


class Step:
    """What was run, how long it took, how long processors worked for it, and how many tests passed."""

    def __init__(self, name):
        self.name, self.seconds, self.worked, self.passed = name, 0.0, 0.0, 0


def worked():
    """The seconds of processor of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(steps, name, *command, environment=None, tests=False):
    """Runs a command, shows what it says, and returns it."""
    print(f"\n== {name}: {' '.join(map(str, command))}", flush=True)
    step = Step(name)
    steps.append(step)
    began, before = time.monotonic(), worked()
    process = subprocess.Popen(
        [str(part) for part in command], cwd=ROOT, env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    said = []
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            said.append(line)
        code = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        step.seconds, step.worked = time.monotonic() - began, worked() - before
    said = "".join(said)
    step.passed = sum(int(passed) for passed, _, _ in RESULT.findall(said))
    if code:
        raise Failed(f"{name} ended with {code}", FAILED.findall(said) if tests else [])
    if tests and not step.passed:
        raise Failed(f"{name} ran no test", [])
    return said


def run_suite(steps, again, name, suite, *arguments):
    """Runs tests of the suite; the few that fail once more, alone."""
    try:
        run(steps, name, *EMULATED, "--", suite, *arguments, tests=True)
    except Failed as problem:
        if not 0 < len(problem.tests) <= MOST_AGAIN:
            raise
        alone = ["--exact", *problem.tests, "--include-ignored", "--test-threads", "1"]
        run(steps, f"{name}, again", *EMULATED, "--", suite, *alone, tests=True)
        again += problem.tests


def build(steps):
    """Lints and builds; the test binaries by their sources."""
    run(steps, "format", "cargo", "fmt", "--check")
    said = run(steps, "lint and build", "cargo", "test", "--all-targets", "--no-run", environment=BUILD)
    return {source: ROOT / path for source, path in BINARY.findall(said)}


def test(steps, again, binaries, long):
    unit, suite = binaries["src/lib.rs"], binaries["tests/suite/main.rs"]
    run(steps, "deployment", sys.executable, HERE / "deployment.py", *(["--all"] if long else []))
    run(steps, "unit tests", unit, tests=True)
    skipped = [part for name in BUSY for part in ("--skip", name)]
    run_suite(steps, again, "suite", suite, "--test-threads", THREADS, *skipped)
    run_suite(steps, again, "suite, alone", suite, "--test-threads", "1", *BUSY)
    contract = [sys.executable, HERE / "contract.py", "--binary", TARGET / "debug" / "slipway"]
    examples = ["--examples", "60"] if long else []
    run(steps, "contract", *EMULATED, "--only", "moto-policies", "--", *contract, *examples)
    clients = [sys.executable, HERE / "clients.py", "--binary", TARGET / "debug" / "slipway"]
    run(steps, "clients", *EMULATED, "--only", "moto", "--", *clients)
    documents = [sys.executable, HERE / "documents.py", "--binary", TARGET / "debug" / "slipway"]
    run(steps, "documents", *documents)
    if long:
        ignored = ["--ignored", "--test-threads", "1", *(part for name in BY_HAND for part in ("--skip", name))]
        run_suite(steps, again, "suite, long", suite, *ignored)
        run(steps, "packages", sys.executable, HERE / "packages.py", "--binary", TARGET / "debug" / "slipway")
        run(steps, "rustdoc", "cargo", "doc", "--no-deps", environment={"RUSTDOCFLAGS": "-D warnings"})


def tell(steps, again):
    print(f"\n{'step':<16}{'time':>8}{'processor':>11}{'tests':>8}")
    for step in steps:
        print(f"{step.name:<16}{minutes(step.seconds):>8}{minutes(step.worked):>11}{step.passed or '':>8}")
    total, used = (sum(getattr(step, name) for step in steps) for name in ("seconds", "worked"))
    print(f"{'all':<16}{minutes(total):>8}{minutes(used):>11}{sum(step.passed for step in steps):>8}")
    for name in again:
        print(f"failed at first, and passed alone: {name}")


def minutes(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="also what takes long")
    options = parser.parse_args()
    end_on_signals()
    steps, again = [], []
    try:
        test(steps, again, build(steps), options.all)
    except Failed as problem:
        tell(steps, again)
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    tell(steps, again)
    return 0


if __name__ == "__main__":
    sys.exit(main())
