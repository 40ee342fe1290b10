"""Records an example of every request and response for the API's document.

    python tests/examples.py [--binary target/debug/slipway] > FILE

A new service on an emulated AWS account answers each call once. The answers are shortened: lists to two items, ids and
keys to ones that are plainly examples. `slipway openapi` puts them into openapi.yaml, and the test openapi:: holds each
against its schema.
"""

import argparse
import json
import re
import sys
import time

from documents import NAMED, ROOT

sys.path[:0] = [str(ROOT / "benches")]

import boto3  # noqa: E402

from emulators import emulators, end_on_signals  # noqa: E402
from instance_metadata import instance_metadata  # noqa: E402
from service import REGION, service  # noqa: E402

EMULATOR = "ministack-auth"
APP = "acme-shop"
MOST_ITEMS = 2
# AWS's documentation has these for examples.
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PASSWORD = "nU4*dR7(kPz9!mWc2@eYb5+tHqX8_jLs"
KEYS = ("AKIAIOSFODNN7EXAMPLE", "AKIAI44QH8DHBEXAMPLE")
ACCOUNT = "123456789012"
CUSTOMER = "222222222222"
TEXT_LINES = 12
HEADERS = {"accept": "Accept", "repeat": "Idempotency_Key"}
LINES = "application/x-ndjson"
# No pipeline runs here and nobody signs in, so these examples are written by hand.
BY_HAND = ("POST /v1/oauth/token", "POST /v1/oauth/device_authorization", "GET /v1/sessions", "DELETE /v1/sessions/{id}")
TRUST_RULE = {
    "name": "shop-production",
    "issuer": "https://token.actions.githubusercontent.com",
    "audience": "https://slipway.example.com",
    "claims": {"environment": "production", "repository_id": "123456"},
    "role": "operator",
    "scope": {"apps": ["acme-*"]},
}
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


class Recorder:
    """Makes calls and keeps each one's first answer of each status and type under its operation."""

    def __init__(self, slipway):
        self.slipway, self.found = slipway, {}

    def call(self, method, route, body=None, expected=None, query="", **values):
        """The answer's body. The route is the one of the document; values fill its braces."""
        headers = {name: values.pop(key) for key, name in HEADERS.items() if key in values}
        path = re.sub(r"\{(\w+)\}", lambda name: values[name[1]], route)
        status, sent, answer = self.slipway.request(method, path + query, body, **headers)
        if expected is not None and status != expected:
            raise SystemExit(f"{method} {path}{query}: {status}, not {expected}: {answer}")
        entry = self.found.setdefault(f"{method} {route}", {"responses": {}})
        if body is not None:
            entry.setdefault("request", body)
        if answer != "":
            entry["responses"].setdefault(f"{status} {sent['Content-Type'].partition(';')[0]}", answer)
        return answer

    def job(self, *call, **more):
        """The job that a call asks for, when it has ended."""
        return self.slipway.ended(self.call(*call, expected=202, **more))


def record(slipway, endpoint):
    recorder = Recorder(slipway)
    call, job = recorder.call, recorder.job
    app, key = "/v1/apps/{app}", "/v1/apps/{app}/credentials/{access_key_id}"
    call("POST", "/v1/apps", {"name": APP}, expected=200, query="?dry_run=true")
    onboarded = job("POST", "/v1/apps", {"name": APP})
    first = onboarded["result"]["access_key_id"]
    call("GET", "/v1/jobs/{id}", expected=200, id=onboarded["id"])
    call("GET", "/v1/jobs/{id}/events", expected=200, id=onboarded["id"], accept="application/json")
    call("GET", "/v1/jobs/{id}/events", expected=200, id=onboarded["id"], accept="text/event-stream")
    call("GET", "/v1/jobs", expected=200)
    for accept in ("application/json", "text/plain"):
        call("POST", key + "/claim", expected=200, app=APP, access_key_id=first, accept=accept, repeat="claim-acme-shop")
    call("GET", "/v1/apps", expected=200)
    call("GET", app, expected=200, app=APP)
    call("POST", app + "/plan", {"name": APP, "media_access": "scoped"}, expected=200, app=APP)
    changed = {"name": APP, "media_access": "scoped", "rotate_after": "90d"}
    call("PUT", app, changed, expected=200, query="?dry_run=true", app=APP)
    job("PUT", app, changed, app=APP)
    boto3.client(
        "iam", endpoint_url=endpoint, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test",
    ).put_user_policy(UserName=APP, PolicyName="quick-fix", PolicyDocument=json.dumps(POLICY))
    drift = call("POST", app + "/drift", expected=200, app=APP)
    call("GET", app + "/drift", expected=200, app=APP)
    job("POST", app + "/repair", {"remove": [drift["unexpected"][0]["resource"]]}, app=APP)
    rotated = job("POST", app + "/credentials/rotate", app=APP)
    call("GET", app + "/credentials", expected=200, app=APP)
    job("POST", app + "/credentials/rollback", app=APP)
    second = rotated["result"]["access_key_id"]
    job("POST", key + "/deactivate", app=APP, access_key_id=second)
    job("POST", key + "/activate", app=APP, access_key_id=second)
    job("POST", key + "/delete", query="?force=true", app=APP, access_key_id=second)
    for form in ("dotenv", "cloudformation"):
        call("GET", app + "/export", expected=200, query=f"?format={form}", app=APP)
    other = slipway.request("POST", "/v1/apps", {"name": "acme-blog"})[2]
    job("POST", "/v1/jobs/{id}/cancel", id=other["id"])
    job("POST", "/v1/jobs/{id}/retry", id=other["id"])
    call("POST", "/v1/ecr/lifecycle/simulate", {"policy": "guide", "images": [{"tags": ["1.2.3"], "age_days": 4}]}, expected=200)
    for accept in ("application/json", LINES, "application/jsonl"):
        call("GET", app + "/history", expected=200, query="?limit=2", app=APP, accept=accept)
        call("GET", "/v1/audit", expected=200, query="?limit=2", accept=accept)
    made = call("POST", "/v1/tokens", {"name": "deploy-bot", "role": "operator"}, expected=201)
    call("GET", "/v1/tokens", expected=200)
    call("DELETE", "/v1/tokens/{id}", expected=204, id=made["id"])
    rule = call("POST", "/v1/trust-rules", TRUST_RULE, expected=201)
    call("GET", "/v1/trust-rules", expected=200)
    call("GET", "/v1/trust-rules/{id}", expected=200, id=rule["id"])
    call("DELETE", "/v1/trust-rules/{id}", expected=204, id=rule["id"])
    record_webhooks(recorder)
    record_accounts(recorder, endpoint)
    call("GET", "/v1/identity", expected=200)
    call("GET", "/v1/background", expected=200)
    call("DELETE", app, expected=200, query="?dry_run=true", app=APP)
    job("DELETE", app, app=APP)
    job("POST", app + "/restore", app=APP)
    for path in ("/openapi.yaml", "/healthz", "/readyz", "/metrics"):
        call("GET", path, expected=200)
    return recorder.found


def record_setup(recorder):
    """Sets up the account of the service."""
    call, job, setup = recorder.call, recorder.job, "/v1/accounts/{account}/setup"
    spec = {
        "alias": "the-customer",
        "groups": [
            {"name": "Billing", "policies": ["job-function/Billing"]},
            {"name": "Developers", "policies": ["ReadOnlyAccess"]},
        ],
        "people": [
            {"email": "ana@example.com", "groups": ["Billing"]},
            {"email": "bo@example.com", "groups": ["Developers"], "console": False},
        ],
        "password_policy": {"minimum_length": 14},
        "billing": {"iam_access_attested_by": "Ana Silva"},
    }
    call("PUT", setup, spec, expected=200, query="?dry_run=true", account="default")
    job("PUT", setup, spec, account="default")
    call("GET", setup, expected=200, account="default")
    call("POST", setup + "/people/{email}/claim", expected=200, account="default", email="ana@example.com")
    call("POST", setup + "/drift", expected=200, account="default")
    call("GET", setup + "/drift", expected=200, account="default")
    job("POST", setup + "/repair", {"remove": []}, account="default")
    for form in ("aws-cli", "cloudformation"):
        call("GET", setup + "/export", expected=200, query=f"?format={form}", account="default")
    for accept in ("application/json", LINES, "application/jsonl"):
        call("GET", setup + "/history", expected=200, query="?limit=2", account="default", accept=accept)


def record_webhooks(recorder):
    call, slipway = recorder.call, recorder.slipway
    one = "/v1/webhooks/{id}"
    described = {"url": "https://127.0.0.1:1/slipway", "description": "Dashboard of the shop team", "events": ["job.failed"]}
    made = call("POST", "/v1/webhooks", {**described, "scope": {"apps": ["acme-*"]}}, expected=201)["id"]
    call("GET", "/v1/webhooks", expected=200)
    call("GET", one, expected=200, id=made)
    event = call("POST", one + "/test", expected=200, id=made)["id"]
    while not slipway.request("GET", f"/v1/webhooks/{made}/deliveries")[2]["items"]:
        time.sleep(0.1)
    call("GET", one + "/deliveries", expected=200, id=made)
    call("PATCH", one, {"state": "active", "events": None}, expected=200, id=made)
    call("POST", one + "/replay", {"delivery": event}, expected=200, id=made)
    call("POST", one + "/rotate-secret", expected=200, id=made)
    call("DELETE", one, expected=204, id=made)


def record_accounts(recorder, endpoint):
    """Registers an account and makes its role as the template says."""
    call, account = recorder.call, "/v1/accounts/{account}"
    role_arn = f"arn:aws:iam::{CUSTOMER}:role/SlipwayAccess"
    call("POST", "/v1/accounts", {"name": "acme", "account_id": CUSTOMER, "role_arn": role_arn}, expected=201)
    for form in ("aws-cli", "cloudformation"):
        template = call("GET", account + "/bootstrap", expected=200, query=f"?format={form}", account="acme")
    role = template["Resources"]["SlipwayRole"]["Properties"]
    boto3.client(
        "iam", endpoint_url=endpoint, region_name=REGION, aws_access_key_id=CUSTOMER, aws_secret_access_key="test",
    ).create_role(RoleName=role["RoleName"], AssumeRolePolicyDocument=json.dumps(role["AssumeRolePolicyDocument"]))
    call("POST", account + "/verify", expected=200, account="acme")
    call("PUT", account, {"role_arn": role_arn, "defaults": {"media_access": "scoped"}}, expected=200, account="acme")
    call("GET", account, expected=200, account="acme")
    call("GET", "/v1/accounts", expected=200)
    call("DELETE", account, expected=204, account="acme")
    record_setup(recorder)
    old = call("POST", "/v1/apps", {"name": "acme-old", "on_existing": "adopt"}, expected=202)
    call("GET", "/v1/approvals", expected=200)
    approval = call("GET", "/v1/jobs/{id}/approval", expected=200, id=old["id"])
    decision = {"plan_digest": approval["plan_digest"], "comment": "Agreed with the customer.", "break_glass": True}
    call("POST", "/v1/jobs/{id}/approve", decision, expected=202, id=old["id"])
    recorder.slipway.ended(old)
    older = call("POST", "/v1/apps", {"name": "acme-older", "on_existing": "adopt"}, expected=202)
    call("POST", "/v1/jobs/{id}/reject", {"comment": "The bucket is still in use."}, expected=202, id=older["id"])


def shortened(value):
    """A value with at most two items of each list, and the first lines of a long text."""
    if isinstance(value, dict):
        return {name: shortened(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shortened(part) for part in value[:MOST_ITEMS]]
    if isinstance(value, str) and value.count("\n") > TEXT_LINES:
        return "\n".join(value.splitlines()[:TEXT_LINES]) + "\n"
    return value


def as_examples(text):
    """The text with ids, keys, secrets, tokens and the account as examples have them."""
    keys = {}
    text = re.sub(NAMED["key"], lambda key: keys.setdefault(key[0], KEYS[len(keys) % len(KEYS)]), text)
    text = re.sub(r'(AWS_SECRET_ACCESS_KEY(?:": "|=))[0-9A-Za-z/+]{40}', rf"\g<1>{SECRET}", text)
    text = re.sub(r'"password": "[^"]{20,}"', lambda _: f'"password": "{PASSWORD}"', text)
    text = re.sub(r"slipway_[0-9a-f]{32,}", "slipway_" + "0123456789abcdef" * 4, text)
    text = re.sub(r"whsec_[0-9A-Za-z/+]{43}=", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=", text)
    text = text.replace("https://127.0.0.1:1/", "https://hooks.example.com/")
    text = re.sub(r"slipway-[0-9a-f]{32}", "slipway-" + "0123456789abcdef" * 2, text)
    return text.replace("000000000000", ACCOUNT)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/debug/slipway", help="the slipway to run")
    options = parser.parse_args()
    end_on_signals()
    with emulators(EMULATOR) as urls, instance_metadata(urls[EMULATOR]) as metadata:
        with service(options.binary, urls[EMULATOR], metadata, config=ROOT / "demo" / "examples.toml") as slipway:
            found = record(slipway, urls[EMULATOR])
    written = json.loads((ROOT / "docs/api/examples.json").read_text())
    found |= {call: written[call] for call in BY_HAND}
    print(as_examples(json.dumps(shortened(found), indent=2)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
