"""How many jobs a second the service accepts, each on disk before its 202.

Against a bare loop of single-row SQLite commits as durable (WAL, synchronous=FULL) in the
same directory. Jobs should cost nothing meanwhile, so there is one worker and, once the
service is ready, AWS answers after ten minutes: what is measured is accepting alone.
"""

import json
import sqlite3
import statistics
import time

from emulators import emulators
from instance_metadata import instance_metadata
from latency_proxy import LatencyProxy
from load import accepted
from service import service
from table import Row

ROUNDS = 3
SECONDS = 3
FAR_AWAY = 600
CROWD = 64


def run(binary):
    commits, one, crowd = [], [], []
    with emulators("ministack") as urls, instance_metadata(urls["ministack"]) as metadata:
        with LatencyProxy(urls["ministack"]) as proxy, service(binary, proxy.url, metadata, workers=1, rate_limit=0) as slipway:
            prime(slipway)
            proxy.delay = FAR_AWAY
            for n in range(ROUNDS):
                commits.append(commits_per_second(slipway.directory / f"bare-{n}.db"))
                one.append(accepted(slipway.port, slipway.token, 1, SECONDS, f"one-{n}"))
                crowd.append(accepted(slipway.port, slipway.token, CROWD, SECONDS, f"crowd-{n}"))
            check_kept(slipway, sum(jobs for jobs, _, _ in one + crowd))
    bare = statistics.median(commits)
    used = statistics.median(used / jobs for jobs, _, used in crowd)
    print(f"The load of {CROWD} clients itself used {1e6 * used:.0f} µs of processor a job.\n")
    return [
        Row("jobs accepted by one client, against bare commits", rate(one), "/s", bare, at_least=0.7),
        Row(f"jobs accepted by {CROWD} clients, against bare commits", rate(crowd), "/s", bare, at_least=2.0),
    ]


def rate(rounds):
    return statistics.median(jobs / seconds for jobs, seconds, _ in rounds)


def prime(slipway):
    """One whole app first, so that whatever the service looks up once is looked up."""
    _, _, job = slipway.request("POST", "/v1/apps", {"name": "first"})
    if slipway.ended(job)["state"] != "succeeded":
        raise RuntimeError(f"the first app failed: {slipway.tail()}")


def check_kept(slipway, accepted_jobs):
    """A 202 counts if its job is in the database, so they are counted there too."""
    database = sqlite3.connect(f"file:{slipway.directory}/slipway.db?mode=ro", uri=True)
    kept = database.execute("SELECT count(*) FROM jobs").fetchone()[0]
    database.close()
    if kept < accepted_jobs:
        raise RuntimeError(f"{accepted_jobs} jobs were accepted, {kept} are in the database")


def commits_per_second(path):
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
    body, done, began = json.dumps({"name": "an-app-of-usual-length"}), 0, time.perf_counter()
    while time.perf_counter() < began + SECONDS:
        database.execute("INSERT INTO jobs (body) VALUES (?)", (body,))
        done += 1
    taken = time.perf_counter() - began
    database.close()
    return done / taken
