"""POST /v1/apps as fast as the service takes it, on kept connections, from a process of its own.

A plain loop over sockets that formats and parses as little as it can: on a small machine each
microsecond here is one that the service does not have. It says what it used itself.
"""

import multiprocessing
import os
import re
import select
import socket
import time

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def accepted(port, token, clients, seconds, prefix):
    """Jobs accepted from clients that each wait for their answer, the seconds taken, the load's own CPU seconds."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_drive, (port, token, clients, seconds, prefix))


def _drive(port, token, clients, seconds, prefix):
    crowd = [Client(port, token, f"{prefix}-{n}") for n in range(clients)]
    began, used = time.perf_counter(), time.process_time()
    (_alternate if clients == 1 else _multiplex)(crowd, began + seconds)
    taken, used = time.perf_counter() - began, time.process_time() - used
    return sum(client.accepted for client in crowd), taken, used


def _alternate(crowd, end):
    """One client asks again and again for its answer: waking up from a sleep would be most of what it takes."""
    (client,) = crowd
    client.connection.setblocking(os.cpu_count() == 1)
    while time.perf_counter() < end:
        client.send()
        while not client.receive():
            pass


def _multiplex(crowd, end):
    ready, by_number = select.epoll(), {client.number: client for client in crowd}
    for client in crowd:
        ready.register(client.number, select.EPOLLIN)
        client.send()
    while time.perf_counter() < end:
        for number, _ in ready.poll(1):
            if by_number[number].receive():
                by_number[number].send()


class Client:
    """One connection with one request in flight, a new app each time."""

    def __init__(self, port, token, prefix):
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number, self.accepted, self.pending = self.connection.fileno(), 0, b""
        body = f'{{"name":"{prefix}-%07d"}}'
        self.request = (
            "POST /v1/apps HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: {len(body % 0)}\r\n\r\n{body}"
        ).encode()

    def send(self):
        self.connection.sendall(self.request % self.accepted)

    def receive(self):
        """Takes in what is there; whether the answer is now whole."""
        try:
            arrived = self.connection.recv(65536)
        except BlockingIOError:
            return False
        if not arrived:
            raise RuntimeError("the service closed the connection")
        self.pending += arrived
        end = self.pending.find(b"\r\n\r\n")
        if end < 0 or len(self.pending) < end + 4 + int(LENGTH.search(self.pending)[1]):
            return False
        if not self.pending.startswith(b"HTTP/1.1 202 "):
            raise RuntimeError(f"not accepted: {self.pending.decode()[:500]}")
        self.accepted, self.pending = self.accepted + 1, b""
        return True
