"""How many events a second reach a receiver of webhooks, in order.

Events are enqueued by the API first and then sent: each goes by the outbox and its transaction, as every event does. The
receiver is a bare loop on a kept connection in a process of its own.
"""

import multiprocessing
import socket
import time

from emulators import emulators
from instance_metadata import instance_metadata
from service import service
from table import Row

EVENTS = 5000
REPLY = b"HTTP/1.1 204 No Content\r\n\r\n"


def run(binary):
    with emulators("ministack") as urls, instance_metadata(urls["ministack"]) as metadata:
        settings = {"webhook_allow_http": "true", "webhook_allowed_cidrs": "127.0.0.0/8"}
        with service(binary, urls["ministack"], metadata, **settings) as slipway, Receiver() as receiver:
            url = f"http://127.0.0.1:{receiver.port}/"
            webhook = slipway.request("POST", "/v1/webhooks", {"url": url})[2]
            path = f"/v1/webhooks/{webhook['id']}"
            # The first request waits for its reply meanwhile.
            for _ in range(EVENTS):
                status, _, answer = slipway.request("POST", f"{path}/test")
                if status != 200:
                    raise RuntimeError(f"no event: {answer}")
            seconds = receiver.receive(EVENTS)
    return [Row("events that reach a receiver of webhooks", EVENTS / seconds, "/s", at_least=1000)]


class Receiver:
    """Replies to nothing until it is asked to, and then to so many requests."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        return self

    def __exit__(self, *_):
        self.listener.close()

    def receive(self, events):
        context = multiprocessing.get_context("fork")
        result = context.SimpleQueue()
        process = context.Process(target=_receive, args=(self.listener, events, result))
        process.start()
        process.join(120)
        if process.is_alive():
            process.kill()
            raise RuntimeError("the events did not arrive")
        return result.get()


def _receive(listener, events, result):
    """The seconds from the first request to the last one."""
    received, began, pending = 0, None, b""
    while received < events:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pending = b""
        while received < events:
            data = connection.recv(65536)
            if not data:
                break
            began = began or time.perf_counter()
            pending += data
            while (request := whole_request(pending)) is not None:
                pending = pending[request:]
                received += 1
                connection.sendall(REPLY)
    result.put(time.perf_counter() - began)


def whole_request(data):
    """The length of the request that the data begins with, if all of it is there."""
    head, separator, _ = data.partition(b"\r\n\r\n")
    if not separator:
        return None
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    whole = len(head) + 4 + length
    return whole if len(data) >= whole else None
