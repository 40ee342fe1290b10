"""What a person waits for: pages of the console with 10,000 apps behind them, and chat's acknowledgement of a command.

The page of apps is the one that most is read for. The pages come as a browser gets them, on a kept connection, with a session that is
written into the database, as an identity provider is not what is measured. AWS takes five seconds for each call while chat is asked
for a plan.
"""

import contextlib
import hashlib
import hmac
import http.client
import pathlib
import secrets
import sqlite3
import statistics
import struct
import tempfile
import time
import urllib.parse

from emulators import emulators, free_port, stop
from history import ulid, with_history
from instance_metadata import instance_metadata
from latency_proxy import LatencyProxy
from service import await_ready, start
from table import Row

APPS, JOBS = 10_000, 2
PAGES = {
    "50 apps out of 10,000": "/console/apps",
    "the same, searched": "/console/apps?q=template-99",
    "the overview": "/console",
    "an app": "/console/apps/template-7",
    "50 jobs": "/console/jobs",
}
ROUNDS = 60
COMMANDS = 40
ISSUER = "http://127.0.0.1:9"
SIGNING_SECRET = "the-signing-secret-of-the-bench"
SLOW_AWS = 5.0
KB = 1000
SIGN_IN = f"""
public_url = "http://127.0.0.1:PORT"
oidc_allow_http = true

[sign_in]
issuer = "{ISSUER}"
client_id = "slipway"

[[sign_in.groups]]
group = "staff"
role = "admin"
"""


def run(binary):
    return console(binary) + chat(binary)


def console(binary):
    rows, key = [], secrets.token_hex(32)
    with with_history(binary, APPS, JOBS, sign_in, lambda database: add_session(database, key)) as slipway:
        for what, path in PAGES.items():
            size, seconds = page(slipway, path, key)
            rows += [
                Row(f"console, {what}: page", size / KB, "kB", at_most=50),
                Row(f"console, {what}: time", 1000 * seconds, "ms", at_most=30),
            ]
    return rows


def sign_in(directory):
    """Settings by which people could sign in."""
    file = directory / "settings.toml"
    file.write_text(SIGN_IN.replace("PORT", str(free_port())))
    return {"config": str(file), "sign_in_client_secret": "secret"}


def add_session(path, key):
    now = int(1000 * time.time())
    parts = (b"session", key.encode())
    digest = hashlib.sha256(b"".join(struct.pack(">Q", len(part)) + part for part in parts)).hexdigest()
    row = {
        "id": ulid(now, 1), "hash": digest, "issuer": ISSUER, "subject": "bench", "name": "bench", "role": "admin",
        "created_at": now, "authenticated_at": now, "used_at": now, "expires_at": now + 3_600_000,
    }
    insert_row(path, "sessions", row)


def add_chat_link(path):
    now = int(1000 * time.time())
    insert_row(path, "chat_links", {
        "id": ulid(now, 1), "platform": "slack", "team": "T1", "chat_user": "U1", "issuer": ISSUER, "subject": "bench", "name": "bench",
        "role": "admin", "created_at": now, "signed_in_at": now,
    })


def insert_row(path, table, row):
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))


def page(slipway, path, key):
    """The bytes of a page, and the median of the seconds that it takes."""
    connection = http.client.HTTPConnection("127.0.0.1", slipway.port)
    times, size = [], 0
    for _ in range(ROUNDS):
        began = time.perf_counter()
        connection.request("GET", path, headers={"Cookie": f"slipway_session={key}", "Accept": "text/html"})
        response = connection.getresponse()
        body = response.read()
        times.append(time.perf_counter() - began)
        if response.status != 200:
            raise RuntimeError(f"GET {path} answered {response.status}: {body[:500]}")
        size = len(body)
    connection.close()
    return size, statistics.median(times)


def chat(binary):
    with contextlib.ExitStack() as held:
        endpoint = held.enter_context(emulators("ministack"))["ministack"]
        proxy = held.enter_context(LatencyProxy(endpoint, SLOW_AWS))
        metadata = held.enter_context(instance_metadata(endpoint))
        directory = pathlib.Path(held.enter_context(tempfile.TemporaryDirectory(prefix="slipway-")))
        slack = {"slack_signing_secret": SIGNING_SECRET, "slack_bot_token": "xoxb-bench", "slack_url": f"http://127.0.0.1:{free_port()}"}
        settings = {**slack, **sign_in(directory)}
        slipway = start(binary, proxy.url, metadata, directory, **settings)
        try:
            await_ready(slipway)
            add_chat_link(directory / "slipway.db")
            slowest = max(acknowledged(slipway.port, number) for number in range(COMMANDS))
        finally:
            slipway.connection.close()
            stop(slipway.process)
    return [Row(f"chat acknowledges a command, slowest of {COMMANDS}", 1000 * slowest, "ms", at_most=100)]


def acknowledged(port, number):
    """The seconds until Slack has its answer."""
    command = {
        "command": "/slipway", "text": f"plan acme-{number}", "team_id": "T1", "user_id": "U1", "user_name": "ana",
        "channel_id": "C1", "trigger_id": f"trigger-{number}", "response_url": "https://hooks.slack.com/commands/x",
    }
    body, at = urllib.parse.urlencode(command), str(int(time.time()))
    tag = hmac.new(SIGNING_SECRET.encode(), f"v0:{at}:{body}".encode(), hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded", "X-Slack-Request-Timestamp": at, "X-Slack-Signature": f"v0={tag}",
    }
    connection = http.client.HTTPConnection("127.0.0.1", port)
    began = time.perf_counter()
    connection.request("POST", "/hooks/slack/commands", body, headers)
    response = connection.getresponse()
    answer = response.read()
    seconds = time.perf_counter() - began
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"the command was answered {response.status}: {answer[:500]}")
    return seconds
