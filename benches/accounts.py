"""What other accounts and their callers cost: onboarding in an assumed account, the memory of many accounts, an ID token.

Onboarding in the service's own account and in an assumed one take turns, at 50 ms from AWS. The tokens of the last row are verified and
then refused, as no trust rule is for their claims: what is measured is the check with its request, and no commit.
"""

import base64
import contextlib
import http.server
import json
import statistics
import threading
import time

import boto3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from emulators import emulators
from figures import MB, resident
from instance_metadata import EVERYTHING, instance_metadata
from latency_proxy import LatencyProxy
from onboarding import DELAY, onboard
from service import REGION, processor_seconds, service
from table import Row

EMULATOR = "ministack-auth"
APPS = 15
ACCOUNTS = 200
IDLE = 5
TOKENS = 2000
ROLE = "SlipwayAccess"
GRANT = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token_type=urn:ietf:params:oauth:token-type:id_token"


def run(binary):
    return [assumed(binary), memory(binary), id_tokens(binary)]


def assumed(binary):
    with emulators(EMULATOR) as urls, instance_metadata(urls[EMULATOR]) as metadata:
        with LatencyProxy(urls[EMULATOR], DELAY) as proxy, service(binary, proxy.url, metadata) as slipway:
            register(slipway, urls[EMULATOR], "north", "222222222222")
            times = {account: [] for account in ("default", "north")}
            for account in times:
                onboard(slipway, proxy, {"name": f"warm-{account}", "account": account})
            for number in range(APPS):
                for account, taken in times.items():
                    taken.append(onboard(slipway, proxy, {"name": f"{account}-{number}", "account": account})[0])
    own, other = (statistics.median(taken) for taken in times.values())
    return Row("onboarding in an assumed account, against the own", other, "s", own, at_most=1.05)


def memory(binary):
    with emulators(EMULATOR) as urls, instance_metadata(urls[EMULATOR]) as metadata:
        with service(binary, urls[EMULATOR], metadata) as slipway:
            register(slipway, urls[EMULATOR], "first", "300000000000")
            time.sleep(IDLE)
            before = resident(slipway.process.pid)
            for number in range(1, ACCOUNTS):
                register(slipway, urls[EMULATOR], f"account-{number}", f"{300_000_000_000 + number}")
            time.sleep(IDLE)
            after = resident(slipway.process.pid)
    return Row(f"memory of {ACCOUNTS} accounts, idle", (after - before) / MB, "MB", at_most=20)


def register(slipway, endpoint, name, account):
    """Registers an account, makes its role as its owner would, and verifies it."""
    role = f"arn:aws:iam::{account}:role/{ROLE}"
    status, _, registered = slipway.request("POST", "/v1/accounts", {"name": name, "account_id": account, "role_arn": role})
    if status != 201:
        raise RuntimeError(f"POST /v1/accounts answered {status}: {registered}")
    service_account = slipway.request("GET", "/v1/identity")[2]["account"]
    trust = {
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{service_account}:role/slipway"},
            "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
            "Condition": {"StringEquals": {"sts:ExternalId": registered["external_id"]}},
        }],
    }
    iam = boto3.client("iam", endpoint_url=endpoint, region_name=REGION, aws_access_key_id=account, aws_secret_access_key="test")
    iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName=ROLE, PolicyName=ROLE, PolicyDocument=json.dumps(EVERYTHING))
    status, _, verified = slipway.request("POST", f"/v1/accounts/{name}/verify")
    if verified.get("state") != "ready":
        raise RuntimeError(f"{name} is not ready: {status} {verified}")


def id_tokens(binary):
    with emulators("ministack") as urls, instance_metadata(urls["ministack"]) as metadata, Issuer() as issuer:
        with service(binary, urls["ministack"], metadata, oidc_allow_http="true") as slipway:
            rule = {
                "name": "bench", "issuer": issuer.url, "audience": "slipway", "role": "operator", "scope": {"apps": ["acme-*"]},
                "claims": {"repository_id": "77", "environment": "production"},
            }
            status, _, made = slipway.request("POST", "/v1/trust-rules", rule)
            if status != 201:
                raise RuntimeError(f"POST /v1/trust-rules answered {status}: {made}")
            bodies = [f"{GRANT}&subject_token={issuer.token(number)}" for number in range(TOKENS)]
            for body in bodies[:100]:
                refused(slipway, body)
            before = processor_seconds(slipway.process.pid)
            for body in bodies:
                refused(slipway, body)
            used = processor_seconds(slipway.process.pid) - before
    return Row("an ID token, checked: processor, with its request", 1000 * used / TOKENS, "ms", at_most=0.5)


def refused(slipway, body):
    slipway.connection.request("POST", "/v1/oauth/token", body, {"Content-Type": "application/x-www-form-urlencoded"})
    response = slipway.connection.getresponse()
    answer = response.read()
    if response.status != 400 or b"invalid_grant" not in answer:
        raise RuntimeError(f"a token was answered {response.status}: {answer[:500]}")


class Issuer:
    """An issuer of ID tokens on loopback."""

    def __enter__(self):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Documents)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        numbers = self.key.public_key().public_numbers()
        public = {"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": number(numbers.n), "e": number(numbers.e)}
        self.server.documents = {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": [public]},
        }
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def token(self, serial):
        now = int(time.time())
        head = {"alg": "RS256", "kid": "1", "typ": "JWT"}
        claims = {
            "iss": self.url, "aud": "slipway", "sub": "repo:acme/shop", "jti": str(serial), "iat": now, "nbf": now, "exp": now + 600,
            "repository_id": "78",
        }
        signed = ".".join(part(json.dumps(document).encode()) for document in (head, claims))
        return f"{signed}.{part(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class Documents(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(self.server.documents[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return part(value.to_bytes((value.bit_length() + 7) // 8, "big"))
