"""Asks a running slipway everything that openapi.yaml allows, and much that it does not.

    python tests/emulators.py --only moto-policies -- python tests/contract.py [--binary target/debug/slipway] [--seed 1] [--examples 20]

Schemathesis makes the requests from the document that the service serves: its examples, the
edges of every schema, random ones, and chains along the links. No answer may be a server error,
or other than documented. The service runs on a new database and an emulated AWS account, with
its jobs at work meanwhile. The same seed makes the same requests.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "benches")]

from emulators import clean_environment, end_on_signals, stop  # noqa: E402
from instance_metadata import instance_metadata  # noqa: E402
from service import service  # noqa: E402

EMULATOR = "SLIPWAY_TEST_MOTO_POLICIES"
SINGLE = ("examples", "coverage", "fuzzing")
CHAINS = "stateful"
# Jobs go on while chains are made, so schemathesis cannot replay one and ends a round early.
MAX_ROUNDS = 8
LEAST_ALONG_LINKS = 60
# Which links a chain takes is chance: a claim is reached by few.
LEAST_REACHED = 8
PATIENCE = 600.0


class Broken(Exception):
    """The API does not keep to its document, or was not asked enough to know."""


class Case:
    """One request that was made: in which phase, for which operation, along a link or not, and its answer."""

    def __init__(self, phase, case, interaction):
        value = case["value"]
        self.phase = phase
        self.operation = f"{value['method']} {value['path']}"
        # Checks send requests of their own in a case's wake: those have a parent, too, and follow no link.
        self.along_a_link = phase == CHAINS and bool(case.get("is_transition_applied"))
        response = (interaction or {}).get("response") or {}
        self.status = response.get("status_code")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/debug/slipway", help="the slipway to run")
    parser.add_argument("--seed", type=int, default=1, help="what the requests are made from")
    parser.add_argument("--examples", type=int, default=20, help="random requests of each operation")
    options = parser.parse_args()
    if (endpoint := os.environ.get(EMULATOR)) is None:
        parser.error(f"{EMULATOR} is not set: run this with tests/emulators.py, or run make test")
    end_on_signals()
    try:
        with instance_metadata(endpoint) as metadata, service(options.binary, endpoint, metadata) as slipway:
            try:
                check(slipway, options.seed, options.examples)
            except Broken:
                print(f"The end of the service's log:\n{slipway.tail()}", file=sys.stderr)
                raise
    except Broken as problem:
        print(f"contract: {problem}; seed {options.seed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


class Asked:
    """What was asked so far, and what schemathesis said of it."""

    def __init__(self, operations, linked):
        self.operations, self.linked = operations, linked
        self.cases, self.rounds, self.findings = [], 0, []

    def along_links(self):
        return [case for case in self.cases if case.along_a_link and case.status is not None]

    def reached(self):
        """The operations that links lead to and that a chain came to along one."""
        return self.linked & {case.operation for case in self.along_links()}

    def has_enough(self):
        return len(self.along_links()) >= LEAST_ALONG_LINKS and len(self.reached()) >= LEAST_REACHED


def check(slipway, seed, examples):
    began = time.monotonic()
    asked = Asked(*documented(slipway))
    ask(slipway, seed, SINGLE, asked, "--max-examples", str(examples))
    while asked.rounds < MAX_ROUNDS and not asked.findings:
        ask(slipway, seed + asked.rounds, (CHAINS,), asked)
        asked.rounds += 1
        if asked.has_enough():
            break
    tell(asked, seed, time.monotonic() - began)
    judge(asked)
    if slipway.process.poll() is not None:
        raise Broken(f"the service ended with {slipway.process.returncode}")


def documented(slipway):
    """All operations of the served document, and those that links lead to."""
    status, _, document = slipway.request("GET", "/openapi.json")
    if status != 200:
        raise Broken(f"/openapi.json answered {status}")
    described = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items() for method, operation in methods.items()
    }
    links = [
        link["operationId"]
        for operation in described.values() for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    return set(described), {name for name, operation in described.items() if operation["operationId"] in links}


def without_answers(document):
    """The document without examples of responses: schemathesis would make requests from each of their values."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                for content in response.get("content", {}).values():
                    content.pop("example", None)
    return document


def ask(slipway, seed, phases, asked, *options):
    """Runs schemathesis on the served document and adds what it did. It prints what it finds."""
    with tempfile.TemporaryDirectory(prefix="slipway-contract-") as name:
        # In a directory of its own, where its caches end with it.
        directory = pathlib.Path(name)
        # From a file: the operation that a document was fetched by is not asked again.
        document = directory / "openapi.json"
        document.write_text(json.dumps(without_answers(slipway.request("GET", "/openapi.json")[2])))
        # The service closes a connection that is idle as long as schemathesis asks; the next call opens another.
        slipway.connection.close()
        command = [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"),
            "run", str(document), "--url", slipway.url, "--checks", "all", "--phases", ",".join(phases),
            "--seed", str(seed), "--no-color", "--request-timeout", "90",
            "--header", f"Authorization: Bearer {slipway.token}",
            "--report-json-path", str(directory / "report.json"), "--report-ndjson-path", str(directory / "events.ndjson"),
            *options,
        ]
        with (directory / "output").open("w+") as output:
            code = run(command, directory, output)
            output.seek(0)
            text = output.read()
        if not (directory / "report.json").exists():
            raise Broken(f"schemathesis ended with {code} and without a report:\n{text}")
        report = json.loads((directory / "report.json").read_text())
        asked.cases += cases_of(directory / "events.ndjson")
    if code != 0 or report["failures"] or report["errors"] or not report["complete"]:
        asked.findings.append(f"schemathesis ended with {code}:\n{text}")


def run(command, directory, output):
    process = subprocess.Popen(
        command, cwd=directory, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
    )
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise Broken(f"schemathesis did not end within {PATIENCE:.0f} seconds") from None
    finally:
        stop(process)


def cases_of(events):
    with events.open() as lines:
        for line in lines:
            scenario = json.loads(line).get("ScenarioFinished")
            recorder = scenario["recorder"] if scenario else {}
            for name, case in recorder.get("cases", {}).items():
                yield Case(scenario["phase"], case, recorder.get("interactions", {}).get(name))


def tell(asked, seed, seconds):
    statuses = collections.Counter(case.status for case in asked.cases if case.status is not None)
    phases = collections.Counter(case.phase for case in asked.cases)
    operations = {case.operation for case in asked.cases} & asked.operations
    print(f"contract: {len(operations)} of {len(asked.operations)} operations, {len(asked.cases)} cases in {seconds:.0f} s, seed {seed}")
    print("  cases: " + ", ".join(f"{phases[phase]} {phase}" for phase in (*SINGLE, CHAINS)))
    followed, reached = len(asked.along_links()), len(asked.reached())
    print(f"  links: followed {followed} times to {reached} of {len(asked.linked)} operations in {asked.rounds} rounds")
    print("  answers: " + ", ".join(f"{count} of {status}" for status, count in sorted(statuses.items())), flush=True)


def judge(asked):
    """Fails on any finding, and where too little was asked for none to mean something."""
    if errors := [case for case in asked.cases if case.status is not None and case.status >= 500]:
        asked.findings.append(f"{len(errors)} server errors, the first of them {errors[0].status} of {errors[0].operation}")
    if asked.findings:
        raise Broken("\n".join(asked.findings))
    for phase in ("coverage", "fuzzing"):
        if missing := asked.operations - {case.operation for case in asked.cases if case.phase == phase}:
            raise Broken(f"the phase {phase} did not ask {', '.join(sorted(missing))}")
    if not asked.operations or not any(case.phase == "examples" for case in asked.cases):
        raise Broken("no example was asked")
    if not asked.has_enough():
        raise Broken(f"links led to too little; wanted were {LEAST_ALONG_LINKS} times, {LEAST_REACHED} operations")


if __name__ == "__main__":
    sys.exit(main())
