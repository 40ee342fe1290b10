"""What is in "AWS", seen by a client that is not the service: boto3.

Answers one JSON line on stdout for each JSON line on stdin, until stdin ends.

    {"op": "app", "endpoint": "http://…", "app": "acme", "group": "Apps", "policy": "MediaManagement",
     "buckets": [{"name": "…", "region": "…"}], "repositories": [{"name": "…", "region": "…"}]}

answers everything the account has for the app (of the credentials, if given); what is not there is null.

    {"op": "call", "endpoint": "http://…", "service": "iam", "region": "us-west-2",
     "method": "create_user", "args": {"UserName": "acme"},
     "credentials": {"access_key_id": "…", "secret_access_key": "…", "session_token": null}}

makes any one call and answers {"ok": …} or {"error": {"code", "message", "status"}}. Bytes go
in as {"base64": "…"} and come out as base64, times come out as ISO 8601. Region and
credentials may be left out.
"""

import base64
import datetime
import functools
import json
import sys
import urllib.parse

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

CONFIG = Config(
    s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60
)
DEFAULT_REGION = "us-west-2"
DEFAULT_CREDENTIALS = {"access_key_id": "test", "secret_access_key": "test"}

# Codes that say "not there"; any other error is an error.
ABSENT = {
    "404",
    "NoSuchEntity",
    "NoSuchBucket",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchCORSConfiguration",
    "NoSuchTagSet",
    "OwnershipControlsNotFoundError",
    "RepositoryNotFoundException",
    "LifecyclePolicyNotFoundException",
}


# One session for all: it reads the services' models once, and each client takes long to make.
# Clients look at the session's credentials when they sign, so these are set before each use.
SESSION = boto3.Session(*DEFAULT_CREDENTIALS.values())


def client(endpoint, service, region=None, credentials=None):
    known = credentials or DEFAULT_CREDENTIALS
    keys = SESSION.get_credentials()
    keys.access_key, keys.secret_key = known["access_key_id"], known["secret_access_key"]
    keys.token = known.get("session_token")
    return _client(endpoint, service, region or DEFAULT_REGION)


@functools.lru_cache
def _client(endpoint, service, region):
    return SESSION.client(service, region, endpoint_url=endpoint, config=CONFIG)


def present(method, **arguments):
    """The call's answer, or null where AWS says that there is no such thing."""
    try:
        return method(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] in ABSENT:
            return None
        raise


def everything(method, key, **arguments):
    """All items of a list, over all its pages."""
    pages = method.__self__.get_paginator(method.__name__).paginate(**arguments)
    return [item for page in pages for item in page[key]]


def tags_of(pairs):
    return {pair["Key"]: pair["Value"] for pair in pairs}


def look_at_app(request):
    endpoint, app, credentials = request["endpoint"], request["app"], request.get("credentials")
    iam = client(endpoint, "iam", None, credentials)
    policy = request.get("policy", "MediaManagement")
    return {
        **look_at_user(iam, app, request.get("group", "Apps")),
        **look_at_policies(iam, policy_document=policy, scoped_policy_document=f"{policy}-{app}"),
        "buckets": {
            each["name"]: look_at_bucket(client(endpoint, "s3", each.get("region"), credentials), each["name"])
            for each in request.get("buckets", [])
        },
        "repositories": {
            each["name"]: look_at_repository(client(endpoint, "ecr", each.get("region"), credentials), each["name"])
            for each in request.get("repositories", [])
        },
    }


def look_at_user(iam, name, group):
    answer = present(iam.get_user, UserName=name)
    group_exists = present(iam.get_group, GroupName=group) is not None
    if answer is None:
        return {"user": None, "groups": [], "attached": [], "access_keys": [], "group_exists": group_exists}
    user = answer["User"]
    return {
        "user": {
            "name": user["UserName"],
            "path": user["Path"],
            "arn": user["Arn"],
            "tags": tags_of(iam.list_user_tags(UserName=name)["Tags"]),
        },
        "groups": [each["GroupName"] for each in everything(iam.list_groups_for_user, "Groups", UserName=name)],
        "attached": [
            each["PolicyArn"] for each in everything(iam.list_attached_user_policies, "AttachedPolicies", UserName=name)
        ],
        "access_keys": [
            {"id": key["AccessKeyId"], "status": key["Status"], "create_date": key["CreateDate"]}
            for key in everything(iam.list_access_keys, "AccessKeyMetadata", UserName=name)
        ],
        "group_exists": group_exists,
    }


def look_at_policies(iam, **names):
    """The default version's document of the account's own policy of each name, under any path."""
    found = {policy["PolicyName"]: policy for policy in everything(iam.list_policies, "Policies", Scope="Local")}
    return {key: found.get(name) and document_of(iam, found[name]) for key, name in names.items()}


def document_of(iam, policy):
    version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
    document = version["PolicyVersion"]["Document"]
    return json.loads(urllib.parse.unquote(document)) if isinstance(document, str) else document


def look_at_bucket(s3, name):
    if present(s3.head_bucket, Bucket=name) is None:
        return None
    block = present(s3.get_public_access_block, Bucket=name)
    cors = present(s3.get_bucket_cors, Bucket=name)
    tagging = present(s3.get_bucket_tagging, Bucket=name)
    ownership = present(s3.get_bucket_ownership_controls, Bucket=name)
    return {
        "region": s3.get_bucket_location(Bucket=name).get("LocationConstraint") or "us-east-1",
        "public_access_block": block and block["PublicAccessBlockConfiguration"],
        "cors": cors and cors["CORSRules"],
        "tags": tags_of(tagging["TagSet"]) if tagging else {},
        "ownership": ownership and ownership["OwnershipControls"]["Rules"][0]["ObjectOwnership"],
        "acl_grants": s3.get_bucket_acl(Bucket=name)["Grants"],
    }


def look_at_repository(ecr, name):
    answer = present(ecr.describe_repositories, repositoryNames=[name])
    if answer is None:
        return None
    repository = answer["repositories"][0]
    lifecycle = present(ecr.get_lifecycle_policy, repositoryName=name)
    return {
        "uri": repository["repositoryUri"],
        "tags": tags_of(ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]),
        "lifecycle": lifecycle and json.loads(lifecycle["lifecyclePolicyText"]),
    }


def make_call(request):
    aws = client(request["endpoint"], request["service"], request.get("region"), request.get("credentials"))
    answer = getattr(aws, request["method"])(**decoded(request.get("args", {})))
    answer.pop("ResponseMetadata", None)
    return {"ok": answer}


def decoded(value):
    """The arguments with {"base64": …} turned into bytes."""
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"base64"}:
        return base64.b64decode(value["base64"])
    return {key: decoded(item) for key, item in value.items()}


def encoded(value):
    """What JSON has no word for: times, bytes, streams."""
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    content = value.read() if hasattr(value, "read") else value
    return base64.b64encode(content).decode()


def problem(error):
    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return {"error": {**_code_and_message(error), "status": status}}
    return {"error": {"code": type(error).__name__, "message": str(error), "status": None}}


def _code_and_message(error):
    details = error.response["Error"]
    return {"code": details.get("Code"), "message": details.get("Message")}


OPERATIONS = {"app": look_at_app, "call": make_call}


def answer(line):
    try:
        request = json.loads(line)
        return json.dumps(OPERATIONS[request["op"]](request), default=encoded)
    except Exception as error:  # Whatever it is, the test at the other end has to see it.
        return json.dumps(problem(error))


def main():
    for line in sys.stdin:
        print(answer(line), flush=True)


if __name__ == "__main__":
    main()
