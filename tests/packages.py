"""Checks the packages: lints them, and installs, starts, upgrades and purges them on a machine with systemd.

    python tests/packages.py --binary target/release/slipway [--previous BINARY]

Needs root and Debian's lintian and rpm. The machine is in namespaces of its own (tests/machine.py). Without --previous
the version before is the same binary under a lower version number.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "benches"))

from emulators import POSTGRES, emulators, free_port  # noqa: E402
from instance_metadata import instance_metadata  # noqa: E402
from machine import Machine  # noqa: E402
from service import REGION  # noqa: E402

PACKAGE = ROOT / "deploy" / "package.py"
CREDENTIALS = "/etc/slipway/credentials"
DATABASE = "/var/lib/slipway/slipway.db"
STEPS = []
ENDED = {"succeeded", "failed", "needs_attention", "canceled"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--previous", type=pathlib.Path)
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("packages: skipped: a machine in namespaces needs root")
        return 0
    with tempfile.TemporaryDirectory(prefix="slipway-packages-") as folder:
        folder = pathlib.Path(folder)
        binary = stripped(options.binary, folder / "slipway")
        previous = stripped(options.previous, folder / "slipway-previous") if options.previous else binary
        new = {name: build(name, binary, "9.9.9", folder) for name in ("deb", "rpm")}
        old = build("deb", previous, "9.9.8", folder)
        assert build("deb", binary, "9.9.9", folder / "again").read_bytes() == new["deb"].read_bytes(), "not reproducible"
        lint(new)
        with emulators("moto", POSTGRES) as servers, instance_metadata(servers["moto"]) as metadata:
            with Machine() as machine:
                debian(machine, old, new["deb"], servers["moto"], metadata)
            with Machine() as machine:
                fedora(machine, new["rpm"], servers["moto"], metadata)
                backups(machine, servers["moto"], metadata, servers[POSTGRES])
    print(f"{len(STEPS)} passed, 0 failed")
    return 0


def stripped(binary, to):
    """As the release's profile makes it."""
    shutil.copyfile(binary, to)
    to.chmod(0o755)
    subprocess.run(["strip", to], check=True)
    return to


def build(name, binary, version, to):
    command = [sys.executable, PACKAGE, "--binary", binary, "--version", version, "--to", to, name]
    return pathlib.Path(subprocess.check_output(command, text=True).strip())


def step(text):
    STEPS.append(text)
    print(f"packages: {text}", flush=True)


def lint(packages):
    step("lintian, rpm -K, and what is in both")
    told = subprocess.run(
        ["lintian", "--no-user-dirs", "--allow-root", "--fail-on", "error,warning", packages["deb"]], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout + told.stderr
    checked = subprocess.check_output(["rpm", "-K", "--nosignature", packages["rpm"]], text=True)
    assert "digests OK" in checked, checked
    listed = subprocess.check_output(["dpkg-deb", "--fsys-tarfile", packages["deb"]])
    in_deb = subprocess.check_output(["tar", "-t"], input=listed).decode().split()
    in_deb = {path.removeprefix(".").replace("/lib/systemd", "/usr/lib/systemd") for path in in_deb if not path.endswith("/")}
    in_rpm = set(subprocess.check_output(["rpm", "-qlp", packages["rpm"]], text=True).split())
    documents = {"changelog.gz", "copyright", "NEWS.gz", "README.Debian"}
    missing = {path for path in in_deb - in_rpm if path.rsplit("/", 1)[1] not in documents and "/lintian/" not in path}
    assert not missing, f"in the Debian package alone: {missing}"


class Client:
    """Calls the service in the machine, which is on this machine's loopback."""

    def __init__(self, port, token):
        self.port, self.token = port, token

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or "null")
        finally:
            connection.close()

    def ended(self, job):
        deadline = time.monotonic() + 120
        while job["state"] not in ENDED and time.monotonic() < deadline:
            _, job = self.request("GET", f"/v1/jobs/{job['id']}?wait=30s")
        return job


def configure(machine, endpoint, metadata):
    """Sets the three values that the package asks for, and where AWS is in this test."""
    port, token = free_port(), secrets.token_hex(32)
    machine.write(f"{CREDENTIALS}/encryption_key", machine.run("slipway", "generate-key"), 0o600)
    machine.write(f"{CREDENTIALS}/admin_token", token + "\n", 0o600)
    machine.write(
        "/etc/slipway/environment",
        f"AWS_REGION={REGION}\nAWS_ENDPOINT_URL={endpoint}\nAWS_EC2_METADATA_SERVICE_ENDPOINT={metadata}\nSLIPWAY_LISTEN=127.0.0.1:{port}\n",
    )
    return Client(port, token)


def journal(machine):
    return machine.run("journalctl", "--no-pager", "-u", "slipway", "-n", "60", check=False)


def start(machine):
    assert machine.succeeds("systemctl", "start", "slipway"), journal(machine)


def check_running(machine, client):
    """The service runs as its own user, ready, with its secrets out of its own reach."""
    status, ready = client.request("GET", "/readyz")
    assert (status, ready["ready"]) == (200, True), ready
    pid = machine.run("systemctl", "show", "-P", "MainPID", "slipway").strip()
    assert machine.run("ps", "-o", "user=", "-p", pid).strip() == "slipway"
    assert machine.run("stat", "-c", "%U %a", DATABASE).strip() == "slipway 600"
    environment = machine.run("cat", f"/proc/{pid}/environ")
    assert client.token not in environment, "a secret is in the environment"
    as_service = ["setpriv", "--reuid=slipway", "--regid=slipway", "--clear-groups", "cat", f"{CREDENTIALS}/admin_token"]
    assert not machine.succeeds(*as_service), "the service's user reads the secrets' files"
    seccomp = machine.run("grep", "-E", "^(Seccomp|NoNewPrivs|CapEff):", f"/proc/{pid}/status").split()
    assert seccomp == ["CapEff:", "0000000000000000", "NoNewPrivs:", "1", "Seccomp:", "2"], seccomp


class Onboarding(threading.Thread):
    """Onboards one app after another; remembers what was accepted."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client, self.accepted, self.ends = client, [], threading.Event()

    def run(self):
        number = 0
        while not self.ends.is_set():
            number += 1
            try:
                status, job = self.client.request("POST", "/v1/apps", {"name": f"acme-{number}"})
            except (OSError, http.client.HTTPException):
                # The service is being restarted.
                time.sleep(0.1)
                continue
            if status == 202:
                self.accepted.append(job)
            self.ends.wait(0.3)


def debian(machine, old, new, endpoint, metadata):
    for package, path in ((old, "/root/old.deb"), (new, "/root/new.deb")):
        machine.copy(package, path)
    step("install: not started, and a start without an encryption key says what is missing")
    machine.run("dpkg", "--install", "/root/old.deb")
    assert not machine.succeeds("systemctl", "is-active", "slipway") and not machine.succeeds("systemctl", "is-enabled", "slipway")
    assert not machine.succeeds("systemctl", "start", "slipway")
    assert "SLIPWAY_ENCRYPTION_KEY" in journal(machine), journal(machine)
    machine.run("systemctl", "stop", "slipway")
    step("start with three values, under systemd and the unit's user")
    client = configure(machine, endpoint, metadata)
    machine.run("systemctl", "enable", "slipway")
    start(machine)
    check_running(machine, client)
    step("upgrade with jobs in flight")
    was = machine.run("systemctl", "show", "-P", "MainPID", "slipway")
    onboarding = Onboarding(client)
    onboarding.start()
    time.sleep(2)
    machine.run("dpkg", "--install", "/root/new.deb")
    time.sleep(2)
    onboarding.ends.set()
    onboarding.join()
    assert machine.run("systemctl", "show", "-P", "MainPID", "slipway") != was, "the service was not restarted"
    ended = [client.ended(job) for job in onboarding.accepted]
    lost = [job for job in ended if job["state"] != "succeeded"]
    assert ended and not lost, f"{len(lost)} of {len(ended)}: {lost[:3]}\n{journal(machine)}"
    print(f"packages: {len(ended)} jobs accepted, {sum(job['attempt'] > 1 for job in ended)} needed more than one attempt, none lost", flush=True)
    assert machine.succeeds("systemctl", "is-enabled", "slipway")
    check_running(machine, client)
    step("remove keeps the data, purge does not")
    machine.run("dpkg", "--remove", "slipway")
    assert not machine.succeeds("test", "-e", "/usr/bin/slipway") and machine.succeeds("test", "-s", DATABASE)
    machine.run("dpkg", "--purge", "slipway")
    left = machine.run("sh", "-c", "find / -xdev -name '*slipway*' -not -path '/proc/*' -not -path '/sys/*' -newer /etc/machine-id 2>/dev/null; true")
    left = [path for path in left.split() if path.startswith(("/etc", "/usr", "/var/lib", "/lib")) and "journal" not in path]
    assert not left and not machine.succeeds("test", "-e", "/var/lib/slipway"), left


def fedora(machine, package, endpoint, metadata):
    step("the RPM package: install, start, remove")
    machine.copy(package, "/root/slipway.rpm")
    machine.run("rpm", "--install", "--nodeps", "/root/slipway.rpm")
    assert machine.run("stat", "-c", "%U %a", CREDENTIALS).strip() == "root 700"
    client = configure(machine, endpoint, metadata)
    start(machine)
    check_running(machine, client)
    machine.run("systemctl", "stop", "slipway")
    machine.run("rpm", "--erase", "slipway")
    assert not machine.succeeds("systemctl", "is-active", "slipway") and not machine.succeeds("test", "-e", "/usr/bin/slipway")


def documented(heading):
    """The commands below a heading of docs/operations.md."""
    text = (ROOT / "docs/operations.md").read_text().split(f"### {heading}\n", 1)[1]
    return re.search(r"```sh\n(.*?)```", text.split("\n#", 1)[0], re.DOTALL)[1]


def backups(machine, endpoint, metadata, postgres):
    """Backs up and restores as docs/operations.md says, with each database."""
    machine.run("rpm", "--install", "--nodeps", "/root/slipway.rpm")
    client = configure(machine, endpoint, metadata)
    for database, url in (("SQLite", ""), ("PostgreSQL", f"{postgres}?sslmode=disable")):
        step(f"back up and restore {database}")
        machine.write(f"{CREDENTIALS}/database_url", url, 0o600)
        machine.run("systemctl", "restart", "slipway")
        before, after = f"{database.lower()}-before", f"{database.lower()}-after"
        claim = onboarded(client, before)["result"]["claim"]
        machine.run("bash", "-euc", documented(f"Back up {database}"))
        onboarded(client, after)
        machine.run("bash", "-euc", documented(f"Restore {database}"))
        assert [client.request("GET", f"/v1/apps/{name}")[0] for name in (before, after)] == [200, 404]
        status, claimed = client.request("POST", claim)
        assert status == 200 and claimed["AWS_SECRET_ACCESS_KEY"], claimed
        status, job = client.request("POST", "/v1/apps", {"name": after})
        job = client.ended(job)
        assert (job["state"], job["error"]["code"]) == ("needs_attention", "credential_in_doubt"), job


def onboarded(client, name):
    status, job = client.request("POST", "/v1/apps", {"name": name})
    assert status == 202, job
    job = client.ended(job)
    assert job["state"] == "succeeded", job
    return job


if __name__ == "__main__":
    sys.exit(main())
