"""An AWS that costs next to nothing: an onboarding's calls are answered from a text, after a delay.

An emulator on two cores would be most of what is measured. Calls that are not of an onboarding (who the
caller is, the group, the shared policy) are passed on to one, and so is the whole of the first app. It
runs in a process of its own and says what it used, and by how much it was late.
"""

import asyncio
import collections
import contextlib
import dataclasses
import multiprocessing
import re
import socket
import time
import urllib.parse

from bare import ACCOUNT, REGION
from latency_proxy import read_message

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
TARGET = re.compile(rb"\r\nx-amz-target: *\w+\.(\w+)", re.IGNORECASE)
ACTION = re.compile(rb"(?:^|&)Action=(\w+)")
USER = re.compile(rb"(?:^|&)UserName=([^&]+)")
REPOSITORY = re.compile(rb'"repositoryName": *"([^"]+)"')
BUCKET = re.compile(rb"^PUT /([^/? ]+)/?(?:\?(\w+))?")
# The app to onboard first: what the service finds out about AWS then has to be true.
FIRST = "passed-on"
# Only keys that were made here: whose the others are, the emulator knows.
KEYS = "AKIABENCH"
IAM = "https://iam.amazonaws.com/doc/2010-05-08/"
STS = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclasses.dataclass
class Usage:
    """What the backend took for itself: processor seconds, answers, and the mean time an answer was late."""

    processor: float = 0.0
    answers: int = 0
    late: float = 0.0


@contextlib.contextmanager
def canned_aws(upstream, delay):
    """Yields its URL and its usage, which is filled in at the end."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(upstream, delay, theirs), daemon=True)
    process.start()
    usage = Usage()
    try:
        yield ours.recv(), usage
        ours.send("stop")
        usage.__dict__.update(ours.recv().__dict__)
    finally:
        process.terminate()
        process.join()


def _serve(upstream, delay, pipe):
    asyncio.run(_until_told(upstream, delay, pipe))


async def _until_told(upstream, delay, pipe):
    loop, told, backend = asyncio.get_running_loop(), asyncio.Event(), Backend(upstream, delay)
    loop.add_reader(pipe.fileno(), told.set)
    server = await loop.create_server(lambda: Connection(backend), "127.0.0.1", 0)
    pipe.send("http://127.0.0.1:%d" % server.sockets[0].getsockname()[1])
    await told.wait()
    answers = max(backend.answers, 1)
    pipe.send(Usage(time.process_time(), backend.answers, backend.late / answers))
    server.close()


class Backend:
    """The answers that wait for their time. The delay is one for all, so they leave in the order they came in."""

    def __init__(self, upstream, delay):
        self.upstream, self.delay = urllib.parse.urlsplit(upstream), delay
        self.loop = asyncio.get_running_loop()
        self.waiting, self.keys, self.answers, self.late = collections.deque(), 0, 0, 0.0

    def answer_later(self, transport, answer):
        self.waiting.append((self.loop.time() + self.delay, transport, answer))
        if len(self.waiting) == 1:
            self.loop.call_at(self.waiting[0][0], self.answer_due)

    def answer_due(self):
        now = self.loop.time()
        while self.waiting and self.waiting[0][0] <= now:
            due, transport, answer = self.waiting.popleft()
            self.answers, self.late = self.answers + 1, self.late + now - due
            transport.write(answer)
        if self.waiting:
            self.loop.call_at(self.waiting[0][0], self.answer_due)

    def answer(self, head, body):
        """The whole answer to a call of an onboarding; None for what is passed on."""
        if FIRST.encode() in head or FIRST.encode() in body:
            return None
        if target := TARGET.search(head):
            return self.ecr(target[1], body)
        if action := ACTION.search(body):
            return self.query(action[1].decode(), head, body)
        return self.s3(head)

    def ecr(self, operation, body):
        if operation not in (b"CreateRepository", b"PutLifecyclePolicy"):
            return None
        name = REPOSITORY.search(body)[1].decode()
        if operation == b"PutLifecyclePolicy":
            text = '{"registryId":"%s","repositoryName":"%s","lifecyclePolicyText":"{}"}' % (ACCOUNT, name)
        else:
            text = (
                '{"repository":{"repositoryArn":"arn:aws:ecr:%s:%s:repository/%s","registryId":"%s",'
                '"repositoryName":"%s","repositoryUri":"%s.dkr.ecr.%s.amazonaws.com/%s","createdAt":1767225600}}'
            ) % (REGION, ACCOUNT, name, ACCOUNT, name, ACCOUNT, REGION, name)
        return ok(text, "application/x-amz-json-1.1")

    def query(self, action, head, body):
        user = USER.search(body)
        user = user and urllib.parse.unquote_plus(user[1].decode())
        match action:
            case "CreateUser":
                result = (
                    f"<User><Path>/apps/</Path><UserName>{user}</UserName><UserId>AIDABENCH00000000000</UserId>"
                    f"<Arn>arn:aws:iam::{ACCOUNT}:user/apps/{user}</Arn><CreateDate>{now()}</CreateDate></User>"
                )
            case "CreateAccessKey":
                self.keys += 1
                result = (
                    f"<AccessKey><UserName>{user}</UserName><AccessKeyId>{KEYS}{self.keys:011d}</AccessKeyId>"
                    f"<Status>Active</Status><SecretAccessKey>{self.keys:040d}</SecretAccessKey>"
                    f"<CreateDate>{now()}</CreateDate></AccessKey>"
                )
            case "AddUserToGroup" | "AttachUserPolicy":
                result = ""
            case "GetCallerIdentity" if KEYS.encode() in head:
                arn = f"arn:aws:iam::{ACCOUNT}:user/apps/any"
                result = f"<Arn>{arn}</Arn><UserId>AIDABENCH</UserId><Account>{ACCOUNT}</Account>"
            case _:
                return None
        return ok(
            f'<{action}Response xmlns="{STS if action == "GetCallerIdentity" else IAM}"><{action}Result>{result}'
            f"</{action}Result><ResponseMetadata><RequestId>canned</RequestId></ResponseMetadata></{action}Response>"
        )

    def s3(self, head):
        call = BUCKET.match(head)
        if call and call[2] in (None, b"publicAccessBlock", b"cors"):
            return ok("", location=f"/{call[1].decode()}")
        return None


class Connection(asyncio.Protocol):
    """A kept connection: one request, then its answer."""

    def __init__(self, backend):
        self.backend, self.pending = backend, b""

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data):
        self.pending += data
        end = self.pending.find(b"\r\n\r\n")
        if end < 0:
            return
        head, body = self.pending[:end], self.pending[end + 4 :]
        length = LENGTH.search(head)
        if length and len(body) < int(length[1]):
            return
        request, self.pending = self.pending, b""
        if answer := self.backend.answer(head, body):
            self.backend.answer_later(self.transport, answer)
        else:
            self.passing_on = self.backend.loop.create_task(self.pass_on(request))

    async def pass_on(self, request):
        await asyncio.sleep(self.backend.delay)
        upstream = self.backend.upstream
        reader, writer = await asyncio.open_connection(upstream.hostname, upstream.port)
        writer.write(request)
        answer = await read_message(reader, to_head=request.startswith(b"HEAD "))
        writer.close()
        self.transport.write(answer.raw)


def ok(text, content_type="text/xml", location=None):
    place = f"location: {location}\r\n" if location else ""
    return (
        f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n{place}x-amzn-requestid: canned\r\n"
        f"content-length: {len(text.encode())}\r\n\r\n{text}"
    ).encode()


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
