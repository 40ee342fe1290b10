"""The floor: the calls that a second app of an account needs, as bare HTTP and nothing else.

The requests are written beforehand, the connections are open, and the calls go out in three
waves, each as soon as all that it depends on is there. Nothing is observed, kept or retried.
"""

import http.client
import json
import socket
import time
import urllib.parse

REGION = "us-west-2"
ACCOUNT = "000000000000"
UNSIGNED = "AWS4-HMAC-SHA256 Credential=test/20260101/%s/%s/aws4_request, SignedHeaders=host, Signature=0"
XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
GIT_SHA_STARTS = "0123456789abcdef"


def lifecycle():
    """The guide's 19 rules."""
    def rule(priority, description, selection):
        return {
            "rulePriority": priority, "description": description, "selection": selection, "action": {"type": "expire"}
        }

    untagged = {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1}
    aged = {"tagStatus": "tagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 3}
    prefixes = ["testing", "builder", *GIT_SHA_STARTS]
    return {
        "rules": [rule(1, "untagged", untagged)]
        + [rule(n, prefix, {**aged, "tagPrefixList": [prefix]}) for n, prefix in enumerate(prefixes, 2)]
    }


PUBLIC_ACCESS_BLOCK = f"<PublicAccessBlockConfiguration {XMLNS}>" + "".join(
    f"<{name}>true</{name}>"
    for name in ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
) + "</PublicAccessBlockConfiguration>"

CORS = f"""<CORSConfiguration {XMLNS}><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedHeader>Authorization\
</AllowedHeader><AllowedMethod>GET</AllowedMethod><MaxAgeSeconds>3000</MaxAgeSeconds></CORSRule><CORSRule>\
<AllowedOrigin>https://%s.herokuapp.com</AllowedOrigin><AllowedHeader>*</AllowedHeader><AllowedMethod>PUT\
</AllowedMethod><AllowedMethod>POST</AllowedMethod><AllowedMethod>DELETE</AllowedMethod><ExposeHeader>\
x-amz-server-side-encryption</ExposeHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>3000</MaxAgeSeconds>\
</CORSRule></CORSConfiguration>"""

CREATE_BUCKET = f"""<CreateBucketConfiguration {XMLNS}><LocationConstraint>{REGION}</LocationConstraint><Tags><Tag>\
<Key>app</Key><Value>%s</Value></Tag></Tags></CreateBucketConfiguration>"""


def iam(action, **parameters):
    body = urllib.parse.urlencode({"Action": action, "Version": "2010-05-08", **parameters})
    return http_request("POST", "/", "iam", body, {"Content-Type": "application/x-www-form-urlencoded"})


def s3(method, path, body, **headers):
    return http_request(method, path, "s3", body, headers)


def ecr(action, **parameters):
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"AmazonEC2ContainerRegistry_V20150921.{action}",
    }
    return http_request("POST", "/", "ecr", json.dumps(parameters), headers)


def http_request(method, path, service, body, headers):
    authorization = UNSIGNED % ("us-east-1" if service == "iam" else REGION, service)
    lines = {**headers, "Host": "127.0.0.1", "Authorization": authorization, "Content-Length": len(body.encode())}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}".encode()


def waves(app):
    bucket, tags = f"{app}-media-{ACCOUNT}", [{"Key": "app", "Value": app}]
    policy = f"arn:aws:iam::{ACCOUNT}:policy/MediaManagement"
    return [
        [
            iam("CreateUser", UserName=app, Path="/apps/", **{"Tags.member.1.Key": "app", "Tags.member.1.Value": app}),
            s3("PUT", f"/{bucket}", CREATE_BUCKET % app, **{"x-amz-object-ownership": "BucketOwnerEnforced"}),
            ecr("CreateRepository", repositoryName=app, tags=tags),
        ],
        [
            iam("AddUserToGroup", UserName=app, GroupName="Apps"),
            iam("AttachUserPolicy", UserName=app, PolicyArn=policy),
            iam("CreateAccessKey", UserName=app),
            s3("PUT", f"/{bucket}?publicAccessBlock", PUBLIC_ACCESS_BLOCK),
            ecr("PutLifecyclePolicy", repositoryName=app, lifecyclePolicyText=json.dumps(lifecycle())),
        ],
        [s3("PUT", f"/{bucket}?cors", CORS % app)],
    ]


CALLS = sum(map(len, waves("any")))


class Bare:
    """Open connections to the endpoint, as many as the widest wave needs."""

    def __init__(self, endpoint):
        address = urllib.parse.urlsplit(endpoint)
        self.sockets = [socket.create_connection((address.hostname, address.port)) for _ in range(5)]
        for each in self.sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def onboard(self, app):
        """Makes all the calls and returns the seconds they took."""
        prepared = waves(app)
        began = time.perf_counter()
        for wave in prepared:
            for request, connection in zip(wave, self.sockets):
                connection.sendall(request)
            for _, connection in zip(wave, self.sockets):
                accepted(connection)
        return time.perf_counter() - began

    def close(self):
        for each in self.sockets:
            each.close()


def accepted(connection):
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    body = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{answer.status} {body.decode()[:500]}")
