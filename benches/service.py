"""`slipway serve` as it runs on an EC2 machine: a role from instance metadata, no key anywhere else."""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import secrets
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from emulators import free_port, stop, tail  # noqa: E402

REGION = "us-west-2"
ENDED = {"succeeded", "failed", "needs_attention", "canceled"}


class NotReady(Exception):
    """The service ended, or did not become ready in time; the message has the end of its log."""


class Service:
    """A running service, its client on one kept connection, and its files."""

    def __init__(self, process, port, token, directory):
        self.process, self.port, self.token, self.directory = process, port, token, directory
        self.url = f"http://127.0.0.1:{port}"
        self.log = directory / "slipway.log"
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def request(self, method, path, body=None, **headers):
        """One call: its status, headers and body, parsed where it is JSON."""
        response = self.open(method, path, body, **headers)
        text = response.read().decode()
        is_json = response.getheader("Content-Type", "").partition(";")[0] in ("application/json", "application/problem+json")
        return response.status, response.headers, json.loads(text) if is_json and text else text

    def open(self, method, path, body=None, **headers):
        """One call whose answer is still to be read. Header names are given with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            named["Content-Type"] = "application/json"
        self.connection.request(method, path, None if body is None else json.dumps(body), named)
        return self.connection.getresponse()

    def ended(self, job, patience=120.0):
        """The job as it is when it has ended, or when patience has."""
        deadline = time.monotonic() + patience
        while job["state"] not in ENDED and time.monotonic() < deadline:
            _, _, job = self.request("GET", f"/v1/jobs/{job['id']}?wait=30s")
        return job

    def become(self, other):
        """Goes on as the process that was started in this one's place."""
        self.__dict__.update(other.__dict__)

    def tail(self):
        return tail(self.log)


@contextlib.contextmanager
def service(binary, endpoint, metadata, **settings):
    """Starts the service, yields it when it is ready, and stops it. Settings as in SLIPWAY_…"""
    with tempfile.TemporaryDirectory(prefix="slipway-") as name:
        running = start(binary, endpoint, metadata, pathlib.Path(name), **settings)
        try:
            await_ready(running)
            yield running
        finally:
            running.connection.close()
            stop(running.process)


def start(binary, endpoint, metadata, directory, **settings):
    """Starts the service on a free port, with all of its files in the directory."""
    port, token = free_port(), settings.get("admin_token") or secrets.token_urlsafe(24)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),  # Empty, so there is no ~/.aws.
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata,
        "SLIPWAY_LISTEN": f"127.0.0.1:{port}",
        "SLIPWAY_DATABASE_URL": f"sqlite://{directory}/slipway.db",
        "SLIPWAY_ENCRYPTION_KEY": settings.get("encryption_key") or encryption_key(binary),
        "SLIPWAY_ADMIN_TOKEN": token,
        # A load of one caller is what is measured.
        "SLIPWAY_RATE_LIMIT": "0",
        **{f"SLIPWAY_{name.upper()}": str(value) for name, value in settings.items()},
    }
    with open(directory / "slipway.log", "wb") as log:
        process = subprocess.Popen(
            [str(pathlib.Path(binary).resolve()), "serve"],
            env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )
    return Service(process, port, token, directory)


def encryption_key(binary):
    made = subprocess.run([binary, "generate-key"], capture_output=True, text=True, check=True).stdout.strip()
    if len(base64.b64decode(made)) != 32:
        raise NotReady(f"slipway generate-key printed something that is not a key of 32 bytes: {len(made)} characters")
    return made


def processor_seconds(pid):
    """What the process has used so far, in user and system mode."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def await_ready(running, patience=30.0):
    """Returns the seconds waited until /readyz answered 200."""
    began = time.monotonic()
    while time.monotonic() - began < patience and running.process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if running.request("GET", "/readyz")[0] == 200:
                return time.monotonic() - began
        running.connection.close()
        time.sleep(0.005)
    raise NotReady(f"slipway serve did not get ready; the end of its log:\n{running.tail()}")
