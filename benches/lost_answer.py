"""AWS makes the key and its answer is lost: what does each way of onboarding say and leave behind?

A key whose secret nobody has is a door that nobody watches. There should be one live key,
and its secret should be known.
"""

import json

import boto3

import rivals
from emulators import emulators
from instance_metadata import instance_metadata
from latency_proxy import LatencyProxy
from service import REGION, service
from table import Row

LOST = "CreateAccessKey"


def run(binary):
    rows = []
    with emulators("ministack") as urls, instance_metadata(urls["ministack"]) as metadata:
        with LatencyProxy(urls["ministack"]) as proxy:
            for n, name in enumerate(rivals.COMMANDS):
                proxy.lose_answer_of(LOST)
                done = rivals.run(name, proxy.url, f"lost-{n}")
                live = live_keys(urls["ministack"], f"lost-{n}")
                rows += found(name, f"exit {done.exit_code}", live, done.known_keys)
            with service(binary, proxy.url, metadata) as slipway:
                proxy.lose_answer_of(LOST)
                state, known = onboard(slipway, "lost-slipway")
                check_lost(proxy, 1 + len(rivals.COMMANDS))
                rows += found("Slipway", state, live_keys(urls["ministack"], "lost-slipway"), known, bound=True)
    return rows


def found(name, state, live, known, bound=False):
    """Only the service is held to the target: the others are there to compare."""
    one = {"at_most": 1, "at_least": 1} if bound else {}
    return [
        Row(f"lost answer, {name} ({state}): live keys", len(live), **one),
        Row(f"lost answer, {name}: live keys with a known secret", len(set(live) & set(known)), **one),
    ]


def check_lost(proxy, times):
    """A result counts only if the answer was really lost to each of them."""
    lost = sum(call.name == LOST and call.status is None for call in proxy.calls)
    if lost != times:
        raise RuntimeError(f"{lost} answers to {LOST} were lost, not {times}")


def live_keys(endpoint, user):
    iam = boto3.client(
        "iam", endpoint_url=endpoint, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test"
    )
    return [key["AccessKeyId"] for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]]


def onboard(slipway, app):
    """The job's end state and the keys whose secret the service gives out."""
    status, _, job = slipway.request("POST", "/v1/apps", {"name": app})
    if status != 202:
        raise RuntimeError(f"POST /v1/apps answered {status}: {job}")
    job = slipway.ended(job, patience=300)
    if not (claim := (job.get("result") or {}).get("claim")):
        return f"{job['state']}, {json.dumps(job.get('error') or job.get('reason'))}", []
    _, _, claimed = slipway.request("POST", claim)
    return job["state"], [claimed["AWS_ACCESS_KEY_ID"]] if claimed.get("AWS_SECRET_ACCESS_KEY") else []
