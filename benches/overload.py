"""What the server takes when there is too much: its memory in a flood and with a thousand open streams.

The flood is more clients at once than there are seats, each asking for one app after another and, when
refused, at once for the next. The streams follow a job that does not end, for AWS answers after ten minutes.
"""

import concurrent.futures
import contextlib
import json
import pathlib
import re
import socket
import statistics
import threading
import time

from emulators import emulators
from instance_metadata import instance_metadata
from latency_proxy import LatencyProxy
from service import service
from table import Row

CLIENTS = 512
SEATS = 64
SECONDS = 5
STREAMS = 1000
FAR_AWAY = 600
MB = 1_000_000


def run(binary):
    with emulators("ministack") as urls, instance_metadata(urls["ministack"]) as metadata:
        with LatencyProxy(urls["ministack"]) as proxy:
            settings = {"workers": 1, "rate_limit": 0, "max_requests": SEATS, "grace": "1s"}
            with service(binary, proxy.url, metadata, **settings) as slipway:
                proxy.delay = FAR_AWAY
                accepted, refused = flood(slipway)
                in_flood = peak(slipway.process.pid)
            proxy.delay = 0
            with service(binary, proxy.url, metadata, **settings) as slipway:
                proxy.delay = FAR_AWAY
                with streams(slipway):
                    with_streams, listing = peak(slipway.process.pid), answer_time(slipway)
    print(f"{CLIENTS} clients on {SEATS} seats: {accepted} accepted, {refused} refused in {SECONDS} s.\n")
    return [
        Row(f"peak memory, {CLIENTS} clients on {SEATS} seats", in_flood / MB, "MB", at_most=150),
        Row(f"peak memory, {STREAMS} open event streams", with_streams / MB, "MB", at_most=150),
        Row(f"GET /v1/jobs with {STREAMS} open event streams", listing, "s"),
    ]


def peak(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def flood(slipway):
    """How many were accepted, and how many refused."""
    end, taken, lock = time.monotonic() + SECONDS, [], threading.Lock()

    def ask(number):
        mine, asked = [], 0
        while time.monotonic() < end:
            body = json.dumps({"name": f"app-{number}-{asked}"})
            request = (
                "POST /v1/apps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
                f"Authorization: Bearer {slipway.token}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            )
            with socket.create_connection(("127.0.0.1", slipway.port), timeout=60) as connection:
                connection.sendall(request.encode())
                answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
            status = int(answer.split(" ", 2)[1])
            if status not in (202, 503) or (status == 503 and "retry-after: " not in answer):
                raise RuntimeError(f"neither accepted nor refused as it should be: {answer[:500]}")
            mine.append(status)
            asked += 1
        with lock:
            taken.extend(mine)

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as crowd:
        list(crowd.map(ask, range(CLIENTS)))
    accepted, refused = taken.count(202), taken.count(503)
    if not accepted or not refused:
        raise RuntimeError(f"{accepted} accepted, {refused} refused: that is no flood")
    return accepted, refused


@contextlib.contextmanager
def streams(slipway):
    """Open event streams, each of which has had its first event."""
    _, _, job = slipway.request("POST", "/v1/apps", {"name": "stuck"})
    head = f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {slipway.token}\r\n\r\n"
    with contextlib.ExitStack() as opened:
        for _ in range(STREAMS):
            stream = opened.enter_context(socket.create_connection(("127.0.0.1", slipway.port), timeout=60))
            stream.sendall(head.encode())
            come = b""
            while b"job_queued" not in come:
                piece = stream.recv(65536)
                if not piece:
                    raise RuntimeError(f"a stream ended: {come.decode()[:500]}")
                come += piece
        yield


def answer_time(slipway):
    times = []
    for _ in range(50):
        began = time.perf_counter()
        if slipway.request("GET", "/v1/jobs")[0] != 200:
            raise RuntimeError("with open streams another client is not served")
        times.append(time.perf_counter() - began)
    return statistics.median(times)
