"""Whether a million jobs of history slow down lists and claims.

One service has 10,000 apps of a hundred jobs each behind it, the other 50 apps of fifty, and both are
asked in turns. The rows are copies of what the service itself wrote for one app that it onboarded.
"""

import contextlib
import itertools
import json
import pathlib
import re
import sqlite3
import statistics
import tempfile
import time

from emulators import emulators, stop
from instance_metadata import instance_metadata
from service import await_ready, encryption_key, start
from table import Row

LARGE, SMALL = (10_000, 100), (50, 50)
# Jobs with steps and events: all of the first apps', and of every app the newest.
DETAILED_APPS, DETAILED_ROUNDS = 50, 2
FAILS = 20
TEMPLATE = "template"
TABLES = "apps", "jobs", "steps", "events", "resources", "credentials", "audit"
QUERIES = {
    "jobs": "/v1/jobs?limit=50",
    "failed jobs": "/v1/jobs?limit=50&state=failed",
    "an app's jobs": "/v1/jobs?limit=50&app=template-7",
    "repairs": "/v1/jobs?limit=50&kind=repair",
    "apps": "/v1/apps?limit=50",
    "the audit": "/v1/audit?limit=50",
    "an app's audit": "/v1/audit?limit=50&app=template-7",
    "calls of an operation": "/v1/audit?limit=50&operation=CreateUser",
    "changes of users": "/v1/audit?limit=50&resource=iam:user/",
}
TURNS = 300
CLAIMS = 60
DAY = 24 * 3600 * 1000
TROUBLE = {"code": "rejected", "detail": "a made-up refusal", "remedy": None, "retryable": False, "aws": None}
ULID_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def run(binary):
    with contextlib.ExitStack() as held:
        small, large = (held.enter_context(with_history(binary, *size)) for size in (SMALL, LARGE))
        # The server closes what is idle, as the first one's is while the second's history is written.
        small.connection.close()
        rows = [row(f"list of {what}", *lists(small, large, path), "ms") for what, path in QUERIES.items()]
        rows.append(row("claim of a job", *claims(small, large), "ms"))
    return rows


def row(what, small, large, unit):
    return Row(f"{what}, a million jobs against a few", large, unit, small, at_most=1.5)


@contextlib.contextmanager
def with_history(binary, apps, jobs, settings_in=lambda directory: {}, then=lambda database: None):
    """A service with this many ended jobs of each of this many apps behind it, and an AWS of its own.

    `settings_in` makes more settings, with files in the directory; `then` writes more into the database.
    """
    with contextlib.ExitStack() as held:
        endpoint = held.enter_context(emulators("ministack"))["ministack"]
        metadata = held.enter_context(instance_metadata(endpoint))
        directory = pathlib.Path(held.enter_context(tempfile.TemporaryDirectory(prefix="slipway-")))
        settings = {"retention": "36500days", "encryption_key": encryption_key(binary), **settings_in(directory)}
        slipway = start(binary, endpoint, metadata, directory, **settings)
        try:
            await_ready(slipway)
            onboard(slipway, TEMPLATE)
            stop(slipway.process)
            began = time.monotonic()
            fill(directory / "slipway.db", apps, jobs)
            then(directory / "slipway.db")
            print(f"{apps * jobs:,} jobs were written in {time.monotonic() - began:.0f} s\n", flush=True)
            slipway.become(start(binary, endpoint, metadata, directory, **settings))
            await_ready(slipway)
            onboard(slipway, "first")
            yield slipway
        finally:
            slipway.connection.close()
            stop(slipway.process)


def onboard(slipway, app):
    _, _, job = slipway.request("POST", "/v1/apps", {"name": app})
    job = slipway.ended(job)
    if job["state"] != "succeeded":
        raise RuntimeError(f"the job of {app} ended as {job['state']}: {job}")


def lists(small, large, path):
    """Median milliseconds of a list, of the one and of the other."""
    taken = [], []
    for slipway, times in itertools.islice(itertools.cycle(zip((small, large), taken)), 2 * TURNS):
        began = time.perf_counter()
        status, _, page = slipway.request("GET", path)
        times.append(1000 * (time.perf_counter() - began))
        if status != 200 or len(page["items"]) != 50:
            raise RuntimeError(f"GET {path} answered {status}: {str(page)[:500]}")
    return map(statistics.median, taken)


def claims(small, large):
    """Median milliseconds of the claims that one new app leads to, of the one and of the other."""
    taken = [], []
    for n in range(CLAIMS):
        for slipway, times in zip((small, large), taken):
            before = claimed(slipway)
            onboard(slipway, f"claimed-{n}")
            seconds, count = (after - was for after, was in zip(claimed(slipway), before))
            times.append(1000 * seconds / count)
    return map(statistics.median, taken)


def claimed(slipway):
    """What all claims so far took together, and how many they were."""
    _, _, text = slipway.request("GET", "/metrics")
    figure = r"^slipway_claim_seconds_%s (\S+)$"
    return [float(re.search(figure % what, text, re.MULTILINE)[1]) for what in ("sum", "count")]


def fill(path, apps, jobs):
    """Copies the template's rows for each app and job, oldest first, as time would have."""
    database = sqlite3.connect(path, isolation_level=None)
    database.row_factory = sqlite3.Row
    for pragma in ("journal_mode = MEMORY", "synchronous = OFF", "cache_size = -400000", "temp_store = MEMORY"):
        database.execute(f"PRAGMA {pragma}")
    template = {table: rows(database, table) for table in TABLES}
    ids = Ids(template["jobs"][0]["created_at"] - jobs * DAY)
    database.execute("BEGIN")
    owners = [(f"{TEMPLATE}-{n}", ids.next(0)) for n in range(apps)]
    insert(database, "apps", (app_row(template["apps"][0], *owner) for owner in owners))
    newest = []
    for turn in range(jobs):
        newest = [(name, app, ids.next(turn * DAY)) for name, app in owners]
        at = ids.began + turn * DAY
        insert(database, "jobs", (
            job_row(template["jobs"][0], *job, at, turn > 0, (n + turn) % FAILS == 0) for n, job in enumerate(newest)
        ))
        detailed = newest if turn >= jobs - DETAILED_ROUNDS else newest[:DETAILED_APPS]
        for table in ("steps", "events"):
            insert(database, table, copies(template[table], detailed))
        insert(database, "audit", audit_rows(template["audit"], newest, at, turn))
    insert(database, "resources", copies(template["resources"], newest))
    insert(database, "credentials", map(claimed_key, copies(template["credentials"], newest), itertools.count()))
    database.execute("COMMIT")
    database.execute("PRAGMA journal_mode = WAL")
    database.close()


def rows(database, table):
    """A table as dictionaries; what the database numbers itself is left out."""
    return [{key: row[key] for key in row.keys() if key != "seq"} for row in database.execute(f"SELECT * FROM {table}")]


def insert(database, table, new):
    """Inserts rows that all have the first one's columns."""
    new = iter(new)
    if (first := next(new, None)) is None:
        return
    columns = ", ".join(first)
    values = ", ".join("?" * len(first))
    values_of = (tuple(row.values()) for row in itertools.chain([first], new))
    database.executemany(f"INSERT INTO {table} ({columns}) VALUES ({values})", values_of)


def app_row(template, name, app):
    spec = template["spec"].replace(f'"{TEMPLATE}', f'"{name}')
    return {**template, "id": app, "name": name, "name_key": name, "spec": spec}


def job_row(template, name, app, job, at, repair, failed):
    kind = "repair" if repair else "onboard"
    times = {"created_at": at, "started_at": at, "finished_at": at + 200, "deadline_at": at + DAY}
    new = {**template, "id": job, "app_id": app, "kind": kind, **times}
    return {**new, "state": "failed", "result": None, "error": json.dumps(TROUBLE)} if failed else new


def copies(templates, jobs):
    """The template's rows for each job, with its ids."""
    for _, app, job in jobs:
        for template in templates:
            yield {**template, **{key: value for key, value in (("app_id", app), ("job_id", job)) if key in template}}


def audit_rows(templates, jobs, at, turn):
    """Of every job that it was asked for and ended; of an app's first also what it changed."""
    for name, app, job in jobs:
        for number, template in enumerate(templates):
            if turn == 0 or template["action"] != "change_applied":
                of = {"app": name, "app_id": app, "job_id": job} if template["app_id"] else {}
                yield {**template, **of, "at": at + number}


def claimed_key(row, number):
    """A key of an app that took its secret long ago."""
    return {
        **row, "id": ulid(row["created_at"] - DAY, number), "access_key_id": f"AKIAPAST{number:012d}",
        "sealed": None, "secret": "claimed", "readiness": "ready", "claimed_at": row["created_at"],
    }


class Ids:
    """ULIDs that rise."""

    def __init__(self, began):
        self.began, self.made = began, 0

    def next(self, after):
        self.made += 1
        return ulid(self.began + after, self.made)


def ulid(millis, number):
    return encoded(millis, 10) + encoded(number, 16)


def encoded(number, digits):
    return "".join(ULID_DIGITS[number >> 5 * place & 31] for place in reversed(range(digits)))
