"""EC2 instance metadata, version 2, for a role assumed at an emulator.

The emulators' own metadata hands out keys that their STS does not know, so the caller would
be the account's root. These keys come from AssumeRole: the identity is the role's session,
and an emulator that enforces policies enforces this role's.
"""

import contextlib
import datetime
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3

ROLE = "slipway"
NEARLY_OVER = datetime.timedelta(minutes=10)
TIME = "%Y-%m-%dT%H:%M:%SZ"
ANYONE_MAY_ASSUME = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
}
# What the service touches, in full; docs/role-policy.json is the least that it needs.
EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["iam:*", "s3:*", "ecr:*", "sts:*"], "Resource": "*"}],
}


@contextlib.contextmanager
def instance_metadata(endpoint, region="us-west-2", policy=EVERYTHING):
    """Creates the role at the emulator and yields the URL where its credentials are served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.region, server.tokens, server.assume = region, set(), _role(endpoint, region, policy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _role(endpoint, region, policy):
    access = dict(
        endpoint_url=endpoint, region_name=region, aws_access_key_id="test", aws_secret_access_key="test"
    )
    iam, sts = boto3.client("iam", **access), boto3.client("sts", **access)
    role = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(ANYONE_MAY_ASSUME))["Role"]
    iam.put_role_policy(RoleName=ROLE, PolicyName=ROLE, PolicyDocument=json.dumps(policy))
    return _Session(lambda: sts.assume_role(RoleArn=role["Arn"], RoleSessionName="i-0123456789abcdef0")["Credentials"])


class _Session:
    """A role's credentials, at hand before they are asked for: a client waits a second for an answer."""

    def __init__(self, assume):
        self.assume, self.credentials = assume, assume()

    def __call__(self):
        if self.credentials["Expiration"] - datetime.datetime.now(datetime.timezone.utc) < NEARLY_OVER:
            self.credentials = self.assume()
        return self.credentials


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    credentials_path = "/latest/meta-data/iam/security-credentials"

    def do_PUT(self):
        ttl = self.headers.get("x-aws-ec2-metadata-token-ttl-seconds")
        if self.path != "/latest/api/token" or not ttl:
            return self._answer(400)
        token = secrets.token_urlsafe()
        self.server.tokens.add(token)
        self._answer(200, token, {"x-aws-ec2-metadata-token-ttl-seconds": ttl})

    def do_GET(self):
        if self.headers.get("x-aws-ec2-metadata-token") not in self.server.tokens:
            return self._answer(401)
        path = self.path.rstrip("/")
        if path == self.credentials_path:
            self._answer(200, ROLE)
        elif path == f"{self.credentials_path}/{ROLE}":
            self._answer(200, json.dumps(_document(self.server.assume())))
        elif path == "/latest/meta-data/placement/region":
            self._answer(200, self.server.region)
        else:
            self._answer(404)

    def _answer(self, status, text="", headers={}):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text.encode()))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def _document(credentials):
    return {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": datetime.datetime.now(datetime.timezone.utc).strftime(TIME),
        "AccessKeyId": credentials["AccessKeyId"],
        "SecretAccessKey": credentials["SecretAccessKey"],
        "Token": credentials["SessionToken"],
        "Expiration": credentials["Expiration"].strftime(TIME),
    }
