"""Starts AWS emulators and PostgreSQL on free loopback ports, runs a command with their addresses, stops them.

    python tests/emulators.py [--only moto,ministack,postgres] -- cargo test

The command finds each address in a variable: SLIPWAY_TEST_MOTO and SLIPWAY_TEST_MINISTACK, with _2 and
_3 at the end where there are more of one, SLIPWAY_TEST_MINISTACK_AUTH (the one that enforces policies)
and SLIPWAY_TEST_POSTGRES (a new cluster, for the one run), PostgreSQL's programs in
SLIPWAY_TEST_POSTGRES_BIN, and this interpreter in SLIPWAY_TEST_PYTHON. No AWS setting of the caller
reaches the emulators or the command.
"""

import argparse
import contextlib
import glob
import http.client
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

MINISTACK = {
    "BIND_HOST": "127.0.0.1",
    "MINISTACK_IMDS_V2_REQUIRED": "1",
    # Its MQTT and SFTP listeners ignore BIND_HOST and would be open to the network.
    "IOT_MTLS_ENABLED": "0",
    "SFTP_ENABLED": "0",
}

# AWS tells a caller in any region that a repository is not there; moto fails where it does not know the region.
MOTO = {"MOTO_ALLOW_NONEXISTENT_REGION": "true"}

# Each does one thing at a time, and gets slower with every account: the suite spreads its accounts over several.
MOTO_RUN = ("moto.server", ["-H", "127.0.0.1", "-p", "{port}"], MOTO, "/moto-api/data.json")


# With the policies of AWS, which a set-up attaches. moto takes a second for them in each new account.
MOTO_POLICIES_RUN = (*MOTO_RUN[:2], {**MOTO, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}, MOTO_RUN[3])


def ministack_run(**settings):
    return "ministack", [], {**MINISTACK, "GATEWAY_PORT": "{port}", **settings}, "/_ministack/health"


# Name: module to run, its arguments, its environment, a path that answers 200 when it is up.
EMULATORS = {
    "moto": MOTO_RUN,
    "moto-2": MOTO_RUN,
    "moto-3": MOTO_RUN,
    "moto-policies": MOTO_POLICIES_RUN,
    "ministack": ministack_run(),
    "ministack-2": ministack_run(),
    "ministack-auth": ministack_run(AUTH="true"),
}
PATIENCE = 60.0


# A cluster for tests outlives no power failure; --durable is for benchmarks.
POSTGRES = "postgres"
POSTGRES_SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "400"}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class NotStarted(Exception):
    """An emulator ended, or did not answer in time; the message has the end of its log."""


@contextlib.contextmanager
def emulators(*names):
    """Runs the named emulators (all, if none is named) and yields their URLs by name."""
    names = names or (*EMULATORS, POSTGRES)
    with tempfile.TemporaryDirectory(prefix="slipway-emulators-") as directory:
        with contextlib.ExitStack() as running:
            clouds = [name for name in names if name != POSTGRES]
            started = [running.enter_context(_process(name, pathlib.Path(directory))) for name in clouds]
            urls = {POSTGRES: running.enter_context(postgres())} if POSTGRES in names else {}
            yield urls | {name: _await_answer(name, *rest) for name, rest in zip(clouds, started)}


@contextlib.contextmanager
def postgres(durable=False):
    """Runs a new PostgreSQL cluster, whose data goes with it, and yields its URL."""
    programs = postgres_programs()
    # PostgreSQL does not run as root, and its user has to reach the folder.
    owner = {"user": POSTGRES, "group": POSTGRES, "extra_groups": []} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="slipway-postgres-") as directory:
        if owner:
            shutil.chown(directory, POSTGRES, POSTGRES)
        data, port = pathlib.Path(directory) / "data", free_port()
        new = [programs / "initdb", "-D", data, "-A", "trust", "-U", POSTGRES, "-E", "UTF8", "--no-sync"]
        made = subprocess.run(new, cwd=directory, capture_output=True, text=True, **owner)
        if made.returncode:
            raise NotStarted(f"initdb failed:\n{made.stderr}")
        settings = POSTGRES_SETTINGS | ({} if durable else NOT_DURABLE)
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        log = pathlib.Path(directory) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-p", str(port), *options],
                cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **owner,
            )
        try:
            ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            deadline = time.monotonic() + PATIENCE
            while subprocess.run(ready).returncode:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise NotStarted(f"postgres did not start; the end of its log:\n{tail(log)}")
                time.sleep(0.05)
            yield f"postgres://{POSTGRES}@127.0.0.1:{port}/postgres"
        finally:
            # Its fast shutdown: SIGTERM would wait for every client to leave.
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            stop(process, patience=10.0, ask=False)


def postgres_programs():
    """The folder with initdb; Debian keeps it out of PATH."""
    for found in [shutil.which("initdb"), *sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), reverse=True)]:
        if found:
            return pathlib.Path(found).resolve().parent
    raise NotStarted("PostgreSQL is not installed; on Debian: apt-get install postgresql")


@contextlib.contextmanager
def _process(name, directory):
    module, arguments, settings, _ = EMULATORS[name]
    port = free_port()
    log = directory / f"{name}.log"
    environment = {**clean_environment(), "TMPDIR": str(directory)}
    environment |= {key: value.format(port=port) for key, value in settings.items()}
    command = [sys.executable, "-m", module, *(argument.format(port=port) for argument in arguments)]
    with log.open("wb") as output:
        # A session of its own, so that Ctrl-C reaches the command first and us, not the emulator.
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process, port, log
    finally:
        stop(process)


def _await_answer(name, process, port, log):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if answers(port, EMULATORS[name][3]):
            return f"http://127.0.0.1:{port}"
        time.sleep(0.05)
    raise NotStarted(f"{name} did not start; the end of its log:\n{tail(log)}")


def answers(port, path):
    """Whether a loopback port answers a GET of the path with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_environment():
    """This process's environment without anything an AWS SDK would read."""
    return {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}


def tail(log, lines=40):
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def stop(process, patience=5.0, ask=True):
    """Asks a process to end, insists after a while, and waits until it has."""
    if process.poll() is None:
        if ask:
            process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def run(command, urls):
    """Runs the command with the addresses in its environment and returns its exit code."""
    variables = {"SLIPWAY_TEST_" + name.upper().replace("-", "_"): url for name, url in urls.items()}
    if POSTGRES in urls:
        variables["SLIPWAY_TEST_POSTGRES_BIN"] = str(postgres_programs())
    variables |= {"SLIPWAY_TEST_PYTHON": sys.executable, "AWS_EC2_METADATA_DISABLED": "true"}
    process = subprocess.Popen(command, env={**clean_environment(), **variables})
    try:
        code = process.wait()
    finally:
        stop(process)
    return code if code >= 0 else 128 - code


def end_on_signals():
    """Turns SIGTERM into an exit, so that everything that was started is stopped on the way out."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="comma-separated: " + ", ".join((*EMULATORS, POSTGRES)))
    parser.add_argument("command", nargs="+", help="what to run, after --")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else [*EMULATORS, POSTGRES]
    if unknown := set(names) - {*EMULATORS, POSTGRES}:
        parser.error("no such emulator: " + ", ".join(sorted(unknown)))
    end_on_signals()
    try:
        with emulators(*names) as urls:
            return run(options.command, urls)
    except NotStarted as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
