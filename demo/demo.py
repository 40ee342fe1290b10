"""Slipway onboards an app into an emulated AWS account, on this machine, as it would on EC2.

    python demo/demo.py --binary target/debug/slipway [--stay]

The emulator enforces identities and policies. The service gets its credentials from the
instance metadata, as an EC2 machine's role does: there is no key in its environment or files.
Everything is stopped at the end, unless it is told to stay.
"""

import argparse
import json
import pathlib
import sys
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "benches"), str(ROOT / "tests")]

import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

from emulators import emulators, end_on_signals  # noqa: E402
from instance_metadata import instance_metadata  # noqa: E402
from service import ENDED, service  # noqa: E402

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
                show(slipway, urls[EMULATOR], metadata, options.stay)
    except KeyboardInterrupt:
        print("\nStopped.")
    except Exception as problem:
        print(f"\nThe demo failed: {type(problem).__name__}: {problem}", file=sys.stderr)
        return 1
    return 0


def show(slipway, endpoint, metadata, stay):
    """The story, in order. What goes wrong in it is shown with the end of the service's log."""
    try:
        identity(slipway)
        plan(slipway, f"The plan for {APP}, nothing written yet")
        job = onboard(slipway)
        credentials = claim(slipway, job["result"]["claim"])
        prove(endpoint, credentials)
        again(slipway)
        places(slipway, endpoint, metadata, job)
    except Exception:
        print(f"\nThe end of the service's log:\n{slipway.tail()}", file=sys.stderr)
        raise
    if stay:
        remain(slipway)


def identity(slipway):
    heading("Who the service is")
    facts = expect(200, slipway.request("GET", "/v1/identity"))
    for name, value in facts.items():
        print(f"  {name:<10} {value}")


def plan(slipway, title):
    heading(title)
    found = expect(200, slipway.request("POST", "/v1/apps?dry_run=true", {"name": APP}))
    for change in found["changes"]:
        print(f"  {change['action']:<8} {change['resource']:<44} {change.get('detail') or ''}".rstrip())
        if command := change.get("aws_cli"):
            print(f"           $ {shortened(command)}")
    for warning in found["warnings"]:
        print(f"  warning  {warning}")
    print(f"  {found['calls']} calls to AWS")


def onboard(slipway):
    heading(f"Onboarding {APP} by one call")
    began = time.perf_counter()
    key = f"demo-{uuid.uuid4()}"
    job = expect(202, slipway.request("POST", "/v1/apps", {"name": APP}, Idempotency_Key=key))
    follow(slipway, job)
    job = slipway.ended(job)
    if job["state"] != "succeeded":
        raise Unexpected(f"the job ended as {job['state']}: {json.dumps(job.get('error') or job.get('reason'))}")
    print(f"  {job['state']} after {1000 * (time.perf_counter() - began):.0f} ms")
    print(indented(json.dumps(job["result"], indent=2)))
    return job


def follow(slipway, job):
    """Prints the job's events as they come, until the service ends the stream."""
    stream = slipway.open("GET", f"/v1/jobs/{job['id']}/events", Accept="text/event-stream")
    if stream.status != 200:
        raise Unexpected(f"the job's events answered {stream.status}: {stream.read().decode()}")
    for line in stream:
        field, _, value = line.decode().rstrip("\r\n").partition(": ")
        if field == "data" and ends(event := json.loads(value)):
            break
    slipway.connection.close()


def ends(event):
    """Prints one event; whether it is the job's last."""
    name = event["event"]
    time_of_day = event["at"].partition("T")[2][:12]
    print(f"  {time_of_day:<12}  {name:<15} {event.get('resource', ''):<44} {said_by(event)}".rstrip(), flush=True)
    return name.removeprefix("job_") in ENDED


def said_by(event):
    """What an event says in words, whichever of its fields has them."""
    if changes := event.get("changes"):
        return "; ".join(changes)
    if error := event.get("error"):
        return f"{error['detail']} {error.get('remedy') or ''}"
    words = (event.get(field) for field in ("change", "message", "reason", "because", "requested_by", "by"))
    return next((each for each in words if each), "")


def claim(slipway, path):
    """The credentials by the service's one and only answer, as dotenv."""
    heading("The credentials, shown once")
    text = expect(200, slipway.request("POST", path, Accept="text/plain"))
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    values = {name: value.strip("\"'") for name, value in values.items()}
    secret = values["AWS_SECRET_ACCESS_KEY"]
    print(indented(text.strip().replace(secret, secret[:4] + "*" * (len(secret) - 4))))
    gone = expect(410, slipway.request("POST", path))
    print(f"  asked for again: 410 {gone['title']}")
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


def again(slipway):
    heading("The same again")
    refusal = expect(409, slipway.request("POST", "/v1/apps", {"name": APP}))
    print(f"  POST /v1/apps: 409 {refusal.get('code')}: {refusal.get('detail') or refusal.get('title')}")
    found = expect(200, slipway.request("POST", f"/v1/apps/{APP}/plan"))
    if pending := [change for change in found["changes"] if change["action"] != "none"]:
        raise Unexpected(f"an app just onboarded has changes planned: {json.dumps(pending)}")
    print(f"  POST /v1/apps/{APP}/plan: nothing would change")


def places(slipway, endpoint, metadata, job):
    heading("Where things are")
    print(f"  service            {slipway.url}  (/docs, /metrics, /openapi.yaml)")
    print(f"  emulated AWS       {endpoint}")
    print(f"  instance metadata  {metadata}")
    print(f"  app                {slipway.url}/v1/apps/{APP}")
    print(f"  job                {slipway.url}/v1/jobs/{job['id']}")
    print(f"  files              {slipway.directory}  (until it stops)")


def remain(slipway):
    print("\nStill running; Ctrl-C stops everything. To call the API, paste this into a second terminal:\n")
    print(f"  export SLIPWAY={slipway.url} TOKEN={slipway.token}", flush=True)
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


def shortened(command, width=150):
    """A long command, as its policy documents make it, cut to a line."""
    line = " ".join(command.split())
    return line if len(line) <= width else line[: width - 1] + "…"


if __name__ == "__main__":
    sys.exit(main())
