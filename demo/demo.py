"""Slipway onboards an app into an emulated AWS account, on this machine, as it would on EC2.

    python demo/demo.py --binary target/debug/slipway [--stay]

The emulator enforces identities and policies. The service gets its credentials from the
instance metadata, as an EC2 machine's role does: there is no key in its environment or files.
Everything is stopped at the end, unless it is told to stay.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "benches"), str(ROOT / "tests")]

import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

from emulators import emulators, end_on_signals  # noqa: E402
from instance_metadata import instance_metadata  # noqa: E402
from service import service  # noqa: E402

EMULATOR = "ministack-auth"
APP = "acme-shop"


class Unexpected(Exception):
    """Something was not as the demo says it is."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/debug/slipway", help="the slipway to run")
    parser.add_argument("--stay", action="store_true", help="keep everything running until Ctrl-C")
    options = parser.parse_args()
    end_on_signals()
    try:
        with emulators(EMULATOR) as urls, instance_metadata(urls[EMULATOR]) as metadata:
            with service(options.binary, urls[EMULATOR], metadata) as slipway:
                show(slipway, Client(options.binary, slipway), urls[EMULATOR], metadata, options.stay)
    except KeyboardInterrupt:
        print("\nStopped.")
    except Exception as problem:
        print(f"\nThe demo failed: {type(problem).__name__}: {problem}", file=sys.stderr)
        return 1
    return 0


class Client:
    """The command line, as a person at a terminal uses it."""

    def __init__(self, binary, slipway):
        self.binary = str(pathlib.Path(binary).resolve())
        self.directory = slipway.directory
        self.environment = os.environ | {"SLIPWAY_URL": slipway.url, "SLIPWAY_TOKEN": slipway.token}

    def run(self, *arguments, code=0, width=None):
        """Shows the command and what it prints, cut to a width if there is one. It has to end with this exit code."""
        print("  $ slipway " + " ".join(arguments), flush=True)
        cut = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} if width else {}
        command = [self.binary, *arguments]
        with subprocess.Popen(command, env=self.environment, cwd=self.directory, **cut) as process:
            for line in process.stdout or ():
                print(shortened(line.rstrip("\n"), width), flush=True)
        if process.returncode != code:
            raise Unexpected(f"slipway {' '.join(arguments)} ended with {process.returncode}, not {code}")


def show(slipway, client, endpoint, metadata, stay):
    """The story, in order. What goes wrong in it is shown with the end of the service's log."""
    try:
        identity(slipway)
        heading(f"The plan for {APP}, nothing written yet")
        client.run("app", "plan", APP, "--commands", width=150)
        heading(f"Onboarding {APP} by one command")
        client.run("app", "create", APP, "--yes")
        credentials = claim(client)
        prove(endpoint, credentials)
        again(client)
        places(slipway, endpoint, metadata)
    except Exception:
        print(f"\nThe end of the service's log:\n{slipway.tail()}", file=sys.stderr)
        raise
    if stay:
        remain(slipway, client)


def identity(slipway):
    heading("Who the service is")
    facts = expect(200, slipway.request("GET", "/v1/identity"))
    for name, value in facts.items():
        print(f"  {name:<10} {value}")


def claim(client):
    """The credentials, in a file of its own: the service shows them once."""
    heading("The credentials, shown once")
    name = f"{APP}.env"
    client.run("key", "claim", APP, "--to", name)
    file = client.directory / name
    print(f"  {name} has mode {file.stat().st_mode & 0o777:o}")
    text = file.read_text()
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    values = {name: value.strip("\"'") for name, value in values.items()}
    secret = values["AWS_SECRET_ACCESS_KEY"]
    print(indented(text.strip().replace(secret, secret[:4] + "*" * (len(secret) - 4))))
    client.run("key", "claim", APP, "--to", "again.env", code=1)
    return values


def prove(endpoint, credentials):
    heading("The app's own credentials at work")
    access = dict(
        endpoint_url=endpoint,
        region_name=credentials["AWS_REGION"],
        aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
    )
    s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}), **access)
    bucket = bucket_of(credentials)
    s3.put_object(Bucket=bucket, Key="hello.txt", Body=b"Hello from the app")
    text = s3.get_object(Bucket=bucket, Key="hello.txt")["Body"].read().decode()
    print(f"  put and got s3://{bucket}/hello.txt: {text}")
    try:
        boto3.client("iam", **access).list_users()
    except ClientError as refusal:
        print(f"  iam:ListUsers is refused: {refusal.response['Error']['Code']}")
    else:
        raise Unexpected("the app may list users: the account is not protected from it")


def bucket_of(credentials):
    """The one bucket, whatever the variable that names it is called."""
    return next(value for name, value in credentials.items() if "BUCKET" in name).split(",")[0]


def again(client):
    heading("The same again")
    client.run("app", "create", APP, "--yes", code=1)
    client.run("app", "plan", APP, "--exit-code")


def places(slipway, endpoint, metadata):
    heading("Where things are")
    print(f"  service            {slipway.url}  (/docs, /metrics, /openapi.yaml)")
    print(f"  emulated AWS       {endpoint}")
    print(f"  instance metadata  {metadata}")
    print(f"  app                {slipway.url}/v1/apps/{APP}")
    print(f"  files              {slipway.directory}  (until it stops)")


def remain(slipway, client):
    folder = pathlib.Path(client.binary).parent
    print("\nStill running; Ctrl-C stops everything. To go on, paste this into a second terminal:\n")
    print(f"  export SLIPWAY={slipway.url} TOKEN={slipway.token}")
    print(f"  export SLIPWAY_URL=$SLIPWAY SLIPWAY_TOKEN=$TOKEN PATH={folder}:$PATH", flush=True)
    slipway.process.wait()


def expect(status, answer):
    """The answer's body, if its status is the one the contract names."""
    got, _, body = answer
    if got != status:
        raise Unexpected(f"{status} was expected, {got} came: {body if isinstance(body, str) else json.dumps(body)}")
    return body


def heading(text):
    print(f"\n{text}\n")


def indented(text):
    return "\n".join(f"  {line}" for line in text.splitlines())


def shortened(line, width):
    """A long line, as commands with policy documents make it, cut."""
    return line if len(line) <= width else line[: width - 1] + "…"


if __name__ == "__main__":
    sys.exit(main())
