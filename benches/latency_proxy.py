"""A reverse proxy that makes an emulator as far away as AWS is.

It adds a delay to each request (of all connections at once, as a network does), writes down
which AWS calls went through it, and can lose the answer to one of them: the call takes
effect, the caller sees its connection close. It runs in a thread of the program that uses it.
"""

import asyncio
import contextlib
import dataclasses
import re
import threading
import time
import urllib.parse

VERBS = {"PUT": "Put", "GET": "Get", "DELETE": "Delete", "POST": "Post", "HEAD": "Head"}
BUCKET_PARTS = {
    "publicAccessBlock": "PublicAccessBlock",
    "cors": "BucketCors",
    "tagging": "BucketTagging",
    "location": "BucketLocation",
    "ownershipControls": "BucketOwnershipControls",
    "acl": "BucketAcl",
}


@dataclasses.dataclass
class Call:
    name: str
    began: float
    ended: float | None = None
    status: int | None = None


@dataclasses.dataclass
class Message:
    """A request or an answer: its first line, its headers in lower case, its bytes as they came."""

    first_line: str
    headers: dict
    raw: bytes
    body: bytes


class LatencyProxy:
    """`with LatencyProxy(url, delay=0.05) as proxy:` then talk to proxy.url and read proxy.calls."""

    def __init__(self, upstream, delay=0.0):
        self._upstream = urllib.parse.urlsplit(upstream)
        self.delay = delay
        self.calls = []
        self._to_lose = []

    def lose_answer_of(self, name):
        """The answer to the next call of this name is not passed on, once."""
        self._to_lose.append(name)

    def since(self, mark):
        """The calls that came after there were `mark` of them."""
        return self.calls[mark:]

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listening = asyncio.start_server(self._connection, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        self.url = "http://127.0.0.1:%d" % self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self):
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connection(self, reader, writer):
        upstream = None
        try:
            while request := await read_message(reader):
                call = Call(name_of(request), time.monotonic())
                self.calls.append(call)
                await asyncio.sleep(self.delay)
                if upstream is None or upstream[0].at_eof():
                    upstream = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
                upstream[1].write(request.raw)
                answer = await read_message(upstream[0], to_head=request.first_line.startswith("HEAD "))
                if answer is None or self._loses(call.name):
                    return
                writer.write(answer.raw)
                call.status, call.ended = int(answer.first_line.split()[1]), time.monotonic()
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            if upstream:
                upstream[1].close()

    def _loses(self, name):
        with contextlib.suppress(ValueError):
            self._to_lose.remove(name)
            return True
        return False


async def read_message(reader, to_head=False):
    """The next message of a kept connection; None when it has ended between two."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = b""
    if not to_head:
        if "chunked" in headers.get("transfer-encoding", ""):
            body = await _chunks(reader)
        else:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Message(first_line, headers, head + body, body)


async def _chunks(reader):
    """A chunked body as it stands on the wire, its last chunk and trailers included."""
    raw = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        raw += line
        if size == 0:
            break
        raw += await reader.readexactly(size + 2)
    while line != b"\r\n":
        line = await reader.readuntil(b"\r\n")
        raw += line
    return raw


def name_of(request):
    """The AWS name of a call: in the body for IAM and STS, in a header for ECR, in the path for S3."""
    if target := request.headers.get("x-amz-target"):
        return target.rpartition(".")[2]
    if action := re.search(rb"(?:^|&)Action=(\w+)", request.body):
        return action[1].decode()
    method, target, _ = request.first_line.split(" ")
    path, _, query = target.partition("?")
    parts = urllib.parse.parse_qs(query, keep_blank_values=True)
    if "x-id" in parts:
        return parts["x-id"][0]
    for part, name in BUCKET_PARTS.items():
        if part in parts:
            return VERBS[method] + name
    if "/" in path.strip("/"):
        return VERBS[method] + "Object"
    return {"PUT": "CreateBucket", "GET": "ListObjects"}.get(method, VERBS[method] + "Bucket")
